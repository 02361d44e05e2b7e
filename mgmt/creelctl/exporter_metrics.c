/* The metrics: their names, and where they come from. */
#include "mgmt/creelctl/exporter.h"
#include "mgmt/creelctl/top.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PAGE    4096.0
#define BUCKETS 24 /* of latencies: up to 2^22 microseconds, and the rest */

enum family {
	UP,
	SCRAPE_SECONDS,
	HOST_INFO,
	HOST_UPTIME,
	HOST_CORES,
	HOST_MEMORY,
	HOST_GUESTS,
	HOST_SNAPSHOTS,
	HOST_IMAGES,
	HOST_OPERATIONS,
	HOST_OPERATION_SECONDS,
	HOST_EXITS,
	HOST_FAULTS,
	HOST_FLUSHES,
	HOST_MANAGEMENT_SECONDS,
	CONNECTIONS,
	STRANGERS,
	REQUESTS,
	QUEUE,
	UPLOADS_KEPT,
	CONNECTIONS_TOTAL,
	HANDSHAKES,
	HANDSHAKES_SLOWED,
	REQUESTS_TOTAL,
	REQUEST_SECONDS,
	CLIENT_CONNECTIONS,
	CLIENT_REQUESTS,
	CLIENT_QUEUE,
	CLIENT_REQUESTS_TOTAL,
	GUEST_INFO,
	GUEST_PRIVATE,
	GUEST_SHARED,
	GUEST_SIZE,
	GUEST_CPU,
	GUEST_EXITS,
	GUEST_FORKS,
	GUEST_CHILDREN,
	GUEST_STREAM_BYTES,
	FAMILIES,
};

static const struct {
	const char *name, *type, *help;
} families[FAMILIES] = {
	[UP] = {"creel_up", "gauge", "1 if the host has answered this scrape."},
	[SCRAPE_SECONDS] = {"creel_scrape_duration_seconds", "gauge", "How long the host took to tell."},
	[HOST_INFO] = {"creel_host_info", "gauge", "What the host is; always 1."},
	[HOST_UPTIME] = {"creel_host_uptime_seconds", "gauge", "Since the host has booted."},
	[HOST_CORES] = {"creel_host_cores", "gauge", "Cores of the host."},
	[HOST_MEMORY] = {"creel_host_memory_bytes", "gauge", "Memory of the host by what it is for."},
	[HOST_GUESTS] = {"creel_host_guests", "gauge", "Guests by state."},
	[HOST_SNAPSHOTS] = {"creel_host_snapshots", "gauge", "Snapshots."},
	[HOST_IMAGES] = {"creel_host_images", "gauge", "Images."},
	[HOST_OPERATIONS] = {"creel_host_operations_total", "counter",
		"Operations on guests, by clients and by guests themselves."},
	[HOST_OPERATION_SECONDS] = {"creel_host_operation_seconds_total", "counter",
		"Time that operations on guests took, without waiting."},
	[HOST_EXITS] = {"creel_host_exits_total", "counter",
		"Exits from guests by kind, memory faults apart."},
	[HOST_FAULTS] = {"creel_host_faults_total", "counter", "Memory faults of guests by kind."},
	[HOST_FLUSHES] = {"creel_host_flushes_total", "counter",
		"Entries that flushed translations, of one guest or of all."},
	[HOST_MANAGEMENT_SECONDS] = {"creel_host_management_seconds_total", "counter",
		"Time that the network and management took."},
	[CONNECTIONS] = {"creel_management_connections", "gauge", "Open management connections."},
	[STRANGERS] = {"creel_management_strangers", "gauge",
		"Of the connections, those that have not said who they are."},
	[REQUESTS] = {"creel_management_requests", "gauge", "Requests in progress."},
	[UPLOADS_KEPT] = {"creel_uploads_kept_bytes", "gauge", "Of uploads that were cut off."},
	[QUEUE] = {"creel_management_queue_depth", "gauge", "Requests that wait to begin."},
	[CONNECTIONS_TOTAL] = {"creel_management_connections_total", "counter",
		"Connections by what became of them."},
	[HANDSHAKES] = {"creel_management_handshakes_total", "counter", "Handshakes answered."},
	[HANDSHAKES_SLOWED] = {"creel_management_handshakes_slowed_total", "counter",
		"Handshakes that had to wait for the rate of their address."},
	[REQUESTS_TOTAL] = {"creel_management_requests_total", "counter",
		"Requests begun, and refused because a queue was full."},
	[REQUEST_SECONDS] = {"creel_request_duration_seconds", "histogram",
		"From a request's frame to the end of its answer, with the time in the queue."},
	[CLIENT_CONNECTIONS] = {"creel_client_connections", "gauge", "Open connections of a client."},
	[CLIENT_REQUESTS] = {"creel_client_requests", "gauge", "Requests of a client in progress."},
	[CLIENT_QUEUE] = {"creel_client_queue_depth", "gauge", "Requests of a client that wait."},
	[CLIENT_REQUESTS_TOTAL] = {"creel_client_requests_total", "counter",
		"Requests of a client begun, and refused because a queue was full."},
	[GUEST_INFO] = {"creel_guest_info", "gauge", "Name, owner, image and state; always 1."},
	[GUEST_PRIVATE] = {"creel_guest_private_bytes", "gauge",
		"What would be free if the guest were gone."},
	[GUEST_SHARED] = {"creel_guest_shared_bytes", "gauge",
		"What the guest shares with those that it descends from, at most."},
	[GUEST_SIZE] = {"creel_guest_memory_bytes", "gauge", "Memory that the guest sees."},
	[GUEST_CPU] = {"creel_guest_cpu_seconds_total", "counter", "Time on a core."},
	[GUEST_EXITS] = {"creel_guest_exits_total", "counter", "Exits by kind."},
	[GUEST_FORKS] = {"creel_guest_forks_total", "counter", "Forks that were made of it."},
	[GUEST_CHILDREN] = {"creel_guest_children", "gauge", "Forks of it that are there."},
	[GUEST_STREAM_BYTES] = {"creel_guest_stream_bytes_total", "counter",
		"Bytes read from stdin, written to stdout and stderr."},
};

/* ---- samples ---- */

/* A label's value: RFC-less, but the format says what is escaped. */
static void append_escaped(char **to, const char *end, const char *value)
{
	for (; *value && *to + 2 < end; value++) {
		if (*value == '\\' || *value == '"')
			*(*to)++ = '\\';
		*(*to)++ = *value == '\n' ? ' ' : *value;
	}
}

/* Adds one of the family set last; then labels, names and values in turn, NULL at the end. */
static void add(struct samples *s, const char *suffix, double value, ...)
{
	char labels[1024], *at = labels;
	const char *name;
	va_list ap;

	va_start(ap, value);
	while ((name = va_arg(ap, const char *))) {
		at += snprintf(at, 64, ",%s=\"", name);
		append_escaped(&at, labels + sizeof(labels) - 80, va_arg(ap, const char *));
		*at++ = '"';
	}
	va_end(ap);
	*at = 0;
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 256;
		s->list = realloc(s->list, s->room * sizeof(*s->list));
		if (!s->list)
			abort();
	}
	s->list[s->count++] = (struct sample){s->family, suffix, strdup(labels), value};
}

static void plain(struct samples *s, enum family f, double value)
{
	s->family = f;
	add(s, "", value, NULL);
}

static void labelled(
	struct samples *s, enum family f, const char *name, const char *label, double value)
{
	s->family = f;
	add(s, "", value, name, label, NULL);
}

void exporter_forget(struct samples *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->list[i].labels);
	free(s->list);
	*s = (struct samples){0};
}

/* ---- the host ---- */

static void collect_info(struct samples *s, const struct creel_info *i)
{
	const struct {
		const char *kind;
		uint64_t frames;
	} memory[] = {
		{"free", i->frames_free},
		{"quarantined", i->frames_quarantined},
		{"guest_tables", i->frames_table},
		{"guest_data", i->frames_data},
		{"guest_state", i->frames_state},
		{"streams", i->frames_stream},
		{"images", i->frames_image},
		{"host", i->frames_host},
	};

	s->family = HOST_INFO;
	add(s, "", 1, "version", i->version, "backend", i->backend, "cpu", i->cpu, NULL);
	plain(s, HOST_UPTIME, (double)i->uptime_ns / 1e9);
	plain(s, HOST_CORES, i->cores);
	for (size_t k = 0; k < sizeof(memory) / sizeof(memory[0]); k++)
		labelled(s, HOST_MEMORY, "kind", memory[k].kind, (double)memory[k].frames * PAGE);
	labelled(s, HOST_GUESTS, "state", "running", (double)i->guests_runnable);
	labelled(s, HOST_GUESTS, "state", "waiting", (double)i->guests_waiting);
	labelled(s, HOST_GUESTS, "state", "paused", (double)i->guests_paused);
	labelled(s, HOST_GUESTS, "state", "stopped", (double)i->guests_stopped);
	plain(s, HOST_SNAPSHOTS, (double)i->snapshots);
	plain(s, HOST_IMAGES, (double)i->images);
}

/* Which meters are what; those that are not here are for benchmarks. */
static const struct {
	const char *meter;
	enum family family;
	const char *label, *value;
} meters[] = {
	{"fork", HOST_OPERATIONS, "operation", "fork"},
	{"snapshot", HOST_OPERATIONS, "operation", "snapshot"},
	{"rollback", HOST_OPERATIONS, "operation", "rollback"},
	{"kill", HOST_OPERATIONS, "operation", "kill"},
	{"run", HOST_OPERATIONS, "operation", "run"},
	{"hypercall", HOST_EXITS, "kind", "hypercall"},
	{"io", HOST_EXITS, "kind", "io"},
	{"cpuid", HOST_EXITS, "kind", "cpuid"},
	{"msr", HOST_EXITS, "kind", "msr"},
	{"interrupt", HOST_EXITS, "kind", "interrupt"},
	{"hlt", HOST_EXITS, "kind", "hlt"},
	{"other_exit", HOST_EXITS, "kind", "other"},
	{"cow_fault", HOST_FAULTS, "kind", "cow"},
	{"zero_fault", HOST_FAULTS, "kind", "zero"},
	{"table_walk_fault", HOST_FAULTS, "kind", "table_walk"},
	{"raise_fault", HOST_FAULTS, "kind", "raise"},
	{"flush_guest", HOST_FLUSHES, "of", "guest"},
	{"flush_all", HOST_FLUSHES, "of", "all"},
};

struct collecting {
	struct samples *samples;
	double seconds_a_tick;
	double bucket[BUCKETS]; /* of the kind of request that comes now */
	char kind[CREEL_NAME_SIZE];
	double sum;
};

static int take_meter(void *arg, const struct creel_meter *m)
{
	struct collecting *k = arg;

	if (!strcmp(m->name, "manage"))
		plain(k->samples, HOST_MANAGEMENT_SECONDS, (double)m->ticks * k->seconds_a_tick);
	for (size_t i = 0; i < sizeof(meters) / sizeof(meters[0]); i++) {
		if (strcmp(m->name, meters[i].meter))
			continue;
		labelled(k->samples, meters[i].family, meters[i].label, meters[i].value,
			(double)m->count);
		if (meters[i].family == HOST_OPERATIONS)
			labelled(k->samples, HOST_OPERATION_SECONDS, meters[i].label,
				meters[i].value, (double)m->ticks * k->seconds_a_tick);
	}
	return 0;
}

/* ---- management ---- */

static const struct {
	const char *figure;
	enum family family;
	const char *result; /* NULL: without that label */
	bool of_client;
} figures[] = {
	{"connections", CONNECTIONS, NULL, false},
	{"strangers", STRANGERS, NULL, false},
	{"requests", REQUESTS, NULL, false},
	{"queued", QUEUE, NULL, false},
	{"uploads_kept_bytes", UPLOADS_KEPT, NULL, false},
	{"connections_accepted", CONNECTIONS_TOTAL, "accepted", false},
	{"connections_refused", CONNECTIONS_TOTAL, "refused", false},
	{"connections_timed_out", CONNECTIONS_TOTAL, "timed_out", false},
	{"connections_broken", CONNECTIONS_TOTAL, "broken", false},
	{"handshakes", HANDSHAKES, NULL, false},
	{"handshakes_slowed", HANDSHAKES_SLOWED, NULL, false},
	{"requests_begun", REQUESTS_TOTAL, "begun", false},
	{"requests_refused", REQUESTS_TOTAL, "refused", false},
	{"client_connections", CLIENT_CONNECTIONS, NULL, true},
	{"client_requests", CLIENT_REQUESTS, NULL, true},
	{"client_queued", CLIENT_QUEUE, NULL, true},
	{"client_requests_begun", CLIENT_REQUESTS_TOTAL, "begun", true},
	{"client_requests_refused", CLIENT_REQUESTS_TOTAL, "refused", true},
};

/* Clients that have one name, and several keys, are one. */
static bool add_to_last(struct samples *s, const char *client, enum family family, double value,
	const char *result)
{
	char labels[128];

	snprintf(labels, sizeof(labels), result ? ",client=\"%s\",result=\"%s\"" : ",client=\"%s\"",
		client, result);
	for (size_t i = 0; i < s->count; i++) {
		if (s->list[i].family == family && !strcmp(s->list[i].labels, labels)) {
			s->list[i].value += value;
			return true;
		}
	}
	return false;
}

/* All of one kind of request has come. */
static void end_latency(struct collecting *k)
{
	double sum = 0;

	if (!k->kind[0])
		return;
	k->samples->family = REQUEST_SECONDS;
	for (unsigned i = 0; i < BUCKETS; i++) {
		char le[32];

		sum += k->bucket[i];
		if (i < BUCKETS - 1)
			snprintf(le, sizeof(le), "%.9g", (double)(1u << i) / 1e6);
		else
			strcpy(le, "+Inf");
		add(k->samples, "_bucket", sum, "request", k->kind, "le", le, NULL);
	}
	add(k->samples, "_sum", k->sum, "request", k->kind, NULL);
	add(k->samples, "_count", sum, "request", k->kind, NULL);
	memset(k->bucket, 0, sizeof(k->bucket));
	k->kind[0] = 0;
}

/* The buckets of a kind come one after the other, and then their sum. */
static void take_latency(struct collecting *k, const struct creel_figure *f)
{
	unsigned bucket = f->below_us ? 63u - (unsigned)__builtin_clzll(f->below_us) : BUCKETS - 1;

	if (strcmp(k->kind, f->of))
		end_latency(k);
	snprintf(k->kind, sizeof(k->kind), "%s", f->of);
	if (!strcmp(f->name, "latency")) {
		k->bucket[bucket < BUCKETS ? bucket : BUCKETS - 1] += (double)f->value;
	} else {
		k->sum = (double)f->value / 1e6;
		end_latency(k);
	}
}

static int take_figure(void *arg, const struct creel_figure *f)
{
	struct collecting *k = arg;
	struct samples *s = k->samples;

	if (!strncmp(f->name, "latency", 7)) {
		take_latency(k, f);
		return 0;
	}
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
		double value = (double)f->value;
		const char *result = figures[i].result;

		if (strcmp(f->name, figures[i].figure))
			continue;
		s->family = figures[i].family;
		if (!figures[i].of_client && result)
			add(s, "", value, "result", result, NULL);
		else if (!figures[i].of_client)
			add(s, "", value, NULL);
		else if (add_to_last(s, f->of, figures[i].family, value, result))
			continue;
		else if (result)
			add(s, "", value, "client", f->of, "result", result, NULL);
		else
			add(s, "", value, "client", f->of, NULL);
	}
	return 0;
}

/* ---- guests ---- */

static int by_private(const void *a, const void *b)
{
	const struct creel_guest *x = &((const struct top_row *)a)->guest;
	const struct creel_guest *y = &((const struct top_row *)b)->guest;

	if (x->private_pages != y->private_pages)
		return x->private_pages < y->private_pages ? 1 : -1;
	return x->id < y->id ? -1 : 1;
}

static void guest_samples(struct samples *s, const char *id, const struct top_row *r)
{
	const struct creel_guest *g = &r->guest;
	const char *label = "guest";

	labelled(s, GUEST_PRIVATE, label, id, (double)g->private_pages * PAGE);
	labelled(s, GUEST_SHARED, label, id, (double)r->shared_pages * PAGE);
	labelled(s, GUEST_SIZE, label, id, (double)g->memory);
	labelled(s, GUEST_CPU, label, id, (double)g->cpu_ns / 1e9);
	labelled(s, GUEST_FORKS, label, id, (double)g->forks);
	labelled(s, GUEST_CHILDREN, label, id, (double)g->children);
	s->family = GUEST_EXITS;
	add(s, "", (double)g->faults, label, id, "kind", "fault", NULL);
	add(s, "", (double)(g->exits > g->faults ? g->exits - g->faults : 0), label, id, "kind",
		"other", NULL);
	s->family = GUEST_STREAM_BYTES;
	add(s, "", (double)g->bytes_in, label, id, "stream", "stdin", NULL);
	add(s, "", (double)g->bytes_out, label, id, "stream", "stdout", NULL);
	add(s, "", (double)g->bytes_err, label, id, "stream", "stderr", NULL);
}

static void collect_guests(struct samples *s, struct top_measurement *m, size_t most)
{
	struct top_row other = {0};

	if (m->count)
		qsort(m->rows, m->count, sizeof(*m->rows), by_private);
	for (size_t i = 0; i < m->count; i++) {
		const struct creel_guest *g = &m->rows[i].guest;
		char id[24];

		if (i >= most) {
			other.shared_pages += m->rows[i].shared_pages;
			other.guest.private_pages += g->private_pages;
			other.guest.memory += g->memory;
			other.guest.cpu_ns += g->cpu_ns;
			other.guest.forks += g->forks;
			other.guest.children += g->children;
			other.guest.exits += g->exits;
			other.guest.faults += g->faults;
			other.guest.bytes_in += g->bytes_in;
			other.guest.bytes_out += g->bytes_out;
			other.guest.bytes_err += g->bytes_err;
			continue;
		}
		snprintf(id, sizeof(id), "%llu", (unsigned long long)g->id);
		s->family = GUEST_INFO;
		add(s, "", 1, "guest", id, "name", g->name, "owner", g->owner, "image",
			m->rows[i].image, "state", state_word(g->state), NULL);
		guest_samples(s, id, &m->rows[i]);
	}
	if (m->count > most)
		guest_samples(s, "other", &other);
}

/* As creelctl top does it. */
static int measure(struct creel *c, struct top_measurement *m)
{
	const struct top_measurement none = {0};
	int code = creel_get_info(c, &m->info);

	if (code == CREEL_OK)
		code = creel_snapshots(c, 0, top_take_snapshot, m);
	if (code == CREEL_OK)
		code = creel_images(c, top_take_image, m);
	if (code == CREEL_OK)
		code = creel_guests(c, false, 0, top_take_guest, m);
	if (code == CREEL_OK)
		top_compare(m, &none);
	return code;
}

int exporter_collect(struct creel *c, size_t guests, struct samples *out)
{
	struct top_measurement m = {0};
	struct collecting k = {.samples = out};
	int code = measure(c, &m);

	if (code == CREEL_OK) {
		k.seconds_a_tick = m.info.tsc_khz ? 1 / ((double)m.info.tsc_khz * 1000) : 0;
		collect_info(out, &m.info);
		collect_guests(out, &m, guests);
		code = creel_meters(c, false, take_meter, &k);
	}
	if (code == CREEL_OK)
		code = creel_figures(c, take_figure, &k);
	if (code == CREEL_OK)
		end_latency(&k);
	top_forget(&m);
	return code;
}

/* ---- text ---- */

static void print_sample(FILE *f, const char *host, const struct sample *s)
{
	char name[256], *at = name;

	append_escaped(&at, name + sizeof(name), host);
	*at = 0;
	fprintf(f, "%s%s{host=\"%s\"%s} %.15g\n", families[s->family].name, s->suffix, name, s->labels,
		s->value);
}

char *exporter_text(const struct exporter_host *hosts, size_t count, size_t *size)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, size);

	if (!f)
		abort();
	for (unsigned family = 0; family < FAMILIES; family++) {
		bool begun = false;

		for (size_t h = 0; h < count; h++) {
			struct sample own[] = {
				{UP, "", "", hosts[h].up},
				{SCRAPE_SECONDS, "", "", hosts[h].seconds},
			};
			bool is_own = family == UP || family == SCRAPE_SECONDS;
			const struct samples *s = &hosts[h].samples;

			for (size_t i = 0; i < (is_own ? 2 : s->count); i++) {
				const struct sample *one = is_own ? &own[i] : &s->list[i];

				if (one->family != family)
					continue;
				if (!begun)
					fprintf(f, "# HELP %s %s\n# TYPE %s %s\n",
						families[family].name, families[family].help,
						families[family].name, families[family].type);
				begun = true;
				print_sample(f, hosts[h].name, one);
			}
		}
	}
	fclose(f);
	return text;
}
