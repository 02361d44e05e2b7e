/* Commands that look: info, stats, log, images, ps, snapshots, inspect. */
#include "mgmt/creelctl/creelctl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

/* ---- one thing as JSON ---- */

static void image_json(const struct creel_image *i)
{
	json_begin_object(NULL);
	json_text("kind", i->is_upload ? "upload" : "image");
	json_number("id", i->id);
	json_text("name", i->name);
	json_text("owner", i->owner);
	json_bool("public", i->is_public);
	json_number("size", i->size);
	if (i->is_upload)
		json_number("received", i->received);
	json_number("memory", i->memory);
	json_number("pages", i->pages);
	json_number("created_ns", i->created_ns);
	json_end_object();
}

static void snapshot_json(const struct creel_snapshot *s)
{
	json_begin_object(NULL);
	json_text("kind", "snapshot");
	json_number("id", s->id);
	json_text("name", s->name);
	json_text("owner", s->owner);
	json_bool("public", s->is_public);
	json_text("labels", s->labels);
	json_number("parent", s->parent);
	json_number("lineage", s->lineage);
	json_number("image", s->image);
	json_number("pages", s->pages);
	json_number("forks", s->forks);
	json_number("created_ns", s->created_ns);
	json_end_object();
}

static void guest_json(const struct creel_guest *g)
{
	json_begin_object(NULL);
	json_text("kind", "guest");
	json_number("id", g->id);
	json_text("name", g->name);
	json_text("owner", g->owner);
	json_number("parent", g->parent);
	json_number("lineage", g->lineage);
	json_number("image", g->image);
	json_text("state", state_word(g->state));
	json_text("stop", stop_word(g->stop));
	json_signed("exit_status", g->exit_status);
	json_text("reason", g->reason);
	json_number("generation", g->generation);
	json_number("memory", g->memory);
	json_number("private_pages", g->private_pages);
	json_number("max_pages", g->max_pages);
	json_number("budget_pages", g->budget_pages);
	json_number("weight", g->weight);
	json_number("cpu_ns", g->cpu_ns);
	json_number("created_ns", g->created_ns);
	json_number("exits", g->exits);
	json_number("faults", g->faults);
	json_number("forks", g->forks);
	json_number("children", g->children);
	json_number("bytes_in", g->bytes_in);
	json_number("bytes_out", g->bytes_out);
	json_number("bytes_err", g->bytes_err);
	json_number("timeout_ns", g->timeout_ns);
	json_number("deadline_ns", g->deadline_ns);
	json_bool("timeout_running", g->timeout_running);
	json_text("labels", g->labels);
	json_end_object();
}

/* ---- lists ---- */

struct listing {
	const struct settings *s;
	struct table table;
	struct creel_image *images; /* for their names */
	size_t image_count;
};

static int keep_image(void *arg, const struct creel_image *i)
{
	struct listing *l = arg;

	l->images = realloc(l->images, (l->image_count + 1) * sizeof(*l->images));
	if (!l->images)
		abort();
	l->images[l->image_count++] = *i;
	return 0;
}

static const char *image_name(const struct listing *l, uint64_t id)
{
	for (size_t i = 0; i < l->image_count; i++) {
		if (l->images[i].id == id)
			return l->images[i].name;
	}
	return "(replaced)";
}

static void listing_begin(
	struct listing *l, const char *right, size_t columns, const char *const *titles)
{
	if (l->s->json)
		json_begin_array(NULL);
	else if (!l->s->quiet)
		table_begin(&l->table, right, columns, titles);
}

static int listing_end(struct listing *l, int code)
{
	/* Titles over nothing would say that there is nothing. */
	if (code != CREEL_OK && l->table.count <= l->table.columns)
		table_drop(&l->table);
	if (l->s->json) {
		json_end_array();
		json_end();
	} else if (!l->s->quiet) {
		table_end(&l->table);
	}
	free(l->images);
	return code == CREEL_OK ? EXIT_DONE : failed(l->s, code);
}

static int show_image(void *arg, const struct creel_image *i)
{
	struct listing *l = arg;
	char buf[32];

	if (l->s->json) {
		image_json(i);
	} else if (l->s->quiet) {
		printf("%" PRIu64 "\n", i->id);
	} else {
		table_add(&l->table, "%" PRIu64, i->id);
		table_add(&l->table, "%s", i->name);
		table_add(&l->table, "%s%s", i->owner[0] ? i->owner : "-",
			i->is_public ? " (public)" : "");
		table_add(&l->table, "%s", human_size(buf, i->size));
		if (i->is_upload)
			table_add(&l->table, "upload, %u%%", (unsigned)(100 * i->received / i->size));
		else
			table_add(&l->table, "%s", human_size(buf, i->memory));
		table_add(&l->table, "%s", human_size(buf, i->pages * PAGE));
		table_add(&l->table, "%s", human_age(buf, i->created_ns));
	}
	return 0;
}

int run_images(struct settings *s, int argc, char **argv)
{
	static const char *const titles[] = {
		"ID", "NAME", "OWNER", "FILE", "MEMORY", "HELD", "CREATED"};
	struct listing l = {.s = s};
	int code;

	(void)argc, (void)argv;
	listing_begin(&l, "rllrrrl", 7, titles);
	code = creel_images(s->host_connection, show_image, &l);
	if (code == CREEL_OK && s->all)
		code = creel_uploads(s->host_connection, show_image, &l);
	return listing_end(&l, code);
}

static void parent_cell(struct table *t, uint64_t parent)
{
	if (parent)
		table_add(t, "%" PRIu64, parent);
	else
		table_add(t, "-");
}

static int show_guest(void *arg, const struct creel_guest *g)
{
	struct listing *l = arg;
	char buf[64], span[32];

	if (l->s->json) {
		guest_json(g);
	} else if (l->s->quiet) {
		printf("%" PRIu64 "\n", g->id);
	} else {
		table_add(&l->table, "%" PRIu64, g->id);
		table_add(&l->table, "%s", g->name[0] ? g->name : "-");
		table_add(&l->table, "%s", g->owner[0] ? g->owner : "-");
		table_add(&l->table, "%s", image_name(l, g->image));
		parent_cell(&l->table, g->parent);
		human_state(buf, g->state, g->stop, g->exit_status);
		if (g->deadline_ns)
			table_add(&l->table, "%s, %s left", buf, human_span(span, g->deadline_ns));
		else
			table_add(&l->table, "%s", buf);
		table_add(&l->table, "%s", human_size(buf, g->private_pages * PAGE));
		table_add(&l->table, "%s", human_size(buf, g->memory));
		table_add(&l->table, "%s", human_span(buf, g->cpu_ns));
		table_add(&l->table, "%s", human_age(buf, g->created_ns));
	}
	return 0;
}

int run_ps(struct settings *s, int argc, char **argv)
{
	static const char *const titles[] = {
		"ID", "NAME", "OWNER", "IMAGE", "PARENT", "STATE", "PRIVATE", "MEMORY", "CPU", "CREATED"};
	struct listing l = {.s = s};
	int code = CREEL_OK;

	(void)argc, (void)argv;
	if (!s->json && !s->quiet)
		code = creel_images(s->host_connection, keep_image, &l);
	listing_begin(&l, "rlllrlrrrl", 10, titles);
	if (code == CREEL_OK)
		code = creel_select_guests(
			s->host_connection, s->all, s->selector, show_guest, &l);
	return listing_end(&l, code);
}

static int show_snapshot(void *arg, const struct creel_snapshot *s)
{
	struct listing *l = arg;
	char buf[32];

	if (l->s->json) {
		snapshot_json(s);
	} else if (l->s->quiet) {
		printf("%" PRIu64 "\n", s->id);
	} else {
		table_add(&l->table, "%" PRIu64, s->id);
		table_add(&l->table, "%s", s->name[0] ? s->name : "-");
		table_add(&l->table, "%s%s", s->owner[0] ? s->owner : "-",
			s->is_public ? " (public)" : "");
		table_add(&l->table, "%" PRIu64, s->parent);
		table_add(&l->table, "%s", image_name(l, s->image));
		table_add(&l->table, "%s", human_size(buf, s->pages * PAGE));
		table_add(&l->table, "%" PRIu64, s->forks);
		table_add(&l->table, "%s", human_age(buf, s->created_ns));
	}
	return 0;
}

int run_snapshots(struct settings *s, int argc, char **argv)
{
	static const char *const titles[] = {
		"ID", "NAME", "OWNER", "GUEST", "IMAGE", "HELD", "FORKS", "CREATED"};
	struct creel_item guest;
	struct listing l = {.s = s};
	uint64_t lineage = 0;
	int code = CREEL_OK;

	if (argc) {
		code = creel_get(s->host_connection, CREEL_GUEST, argv[0], &guest);
		if (code != CREEL_OK)
			return failed(s, code);
		lineage = guest.guest.lineage;
	}
	if (!s->json && !s->quiet)
		code = creel_images(s->host_connection, keep_image, &l);
	listing_begin(&l, "rllrlrrl", 8, titles);
	if (code == CREEL_OK && lineage)
		code = creel_snapshots(s->host_connection, lineage, show_snapshot, &l);
	else if (code == CREEL_OK)
		code = creel_select_snapshots(s->host_connection, s->selector, show_snapshot, &l);
	return listing_end(&l, code);
}

/* ---- inspect ---- */

static const char *owner_text(const char *owner)
{
	return owner[0] ? owner : "the host";
}

static void line(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line(const char *name, const char *format, ...)
{
	va_list ap;

	printf("  %-12s ", name);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

static void guest_lines(const struct creel_guest *g)
{
	char a[64], b[32];

	printf("guest %" PRIu64 "%s%s\n", g->id, g->name[0] ? " " : "", g->name);
	line("owner", "%s", owner_text(g->owner));
	line("state", "%s", human_state(a, g->state, g->stop, g->exit_status));
	if (g->reason[0])
		line("reason", "%s", g->reason);
	line("image", "%" PRIu64, g->image);
	if (g->parent)
		line("parent", "%" PRIu64, g->parent);
	line("lineage", "%" PRIu64, g->lineage);
	line("generation", "%" PRIu64, g->generation);
	line("memory", "%s, %s private", human_size(a, g->memory),
		human_size(b, g->private_pages * PAGE));
	line("budget", "%" PRIu64 " of %" PRIu64 " pages", g->budget_pages, g->max_pages);
	line("weight", "%u", g->weight);
	if (g->labels[0])
		line("labels", "%s", g->labels);
	if (g->timeout_ns)
		line("timeout", "%s%s, %s left", human_span(a, g->timeout_ns),
			g->timeout_running ? " not counting pauses" : "",
			human_span(b, g->deadline_ns));
	line("cpu", "%s", human_span(a, g->cpu_ns));
	line("created", "%s", human_age(a, g->created_ns));
	line("counts",
		"%" PRIu64 " exits, %" PRIu64 " faults, %" PRIu64 " forks, %" PRIu64 " alive",
		g->exits, g->faults, g->forks, g->children);
	line("streams", "%" PRIu64 " in, %" PRIu64 " out, %" PRIu64 " err (bytes)", g->bytes_in,
		g->bytes_out, g->bytes_err);
}

static void snapshot_lines(const struct creel_snapshot *s)
{
	char a[32];

	printf("snapshot %" PRIu64 "%s%s\n", s->id, s->name[0] ? " " : "", s->name);
	line("owner", "%s%s", owner_text(s->owner), s->is_public ? ", public" : "");
	line("guest", "%" PRIu64, s->parent);
	line("lineage", "%" PRIu64, s->lineage);
	line("image", "%" PRIu64, s->image);
	line("holds", "%s", human_size(a, s->pages * PAGE));
	if (s->labels[0])
		line("labels", "%s", s->labels);
	line("forks", "%" PRIu64, s->forks);
	line("created", "%s", human_age(a, s->created_ns));
}

static void image_lines(const struct creel_image *i)
{
	char a[32];

	printf("image %" PRIu64 " %s\n", i->id, i->name);
	line("owner", "%s%s", owner_text(i->owner), i->is_public ? ", public" : "");
	line("file", "%s", human_size(a, i->size));
	line("memory", "%s", human_size(a, i->memory));
	line("holds", "%s", human_size(a, i->pages * PAGE));
	line("created", "%s", human_age(a, i->created_ns));
}

static void show_item(const struct settings *s, const struct creel_item *item)
{
	switch (item->kind) {
	case CREEL_GUEST:
		(s->json ? guest_json : guest_lines)(&item->guest);
		break;
	case CREEL_SNAPSHOT:
		(s->json ? snapshot_json : snapshot_lines)(&item->snapshot);
		break;
	default:
		(s->json ? image_json : image_lines)(&item->image);
		break;
	}
}

int run_inspect(struct settings *s, int argc, char **argv)
{
	int status = EXIT_DONE;

	if (s->json)
		json_begin_array(NULL);
	for (int i = 0; i < argc; i++) {
		struct creel_item item;
		int code = creel_get(s->host_connection, CREEL_ANY, argv[i], &item);

		if (code == CREEL_OK)
			show_item(s, &item);
		else
			status = failed(s, code);
	}
	if (s->json) {
		json_end_array();
		json_end();
	}
	return status;
}

/* ---- the host ---- */

static void frames_json(const struct creel_info *i)
{
	json_begin_object("frames");
	json_number("total", i->frames_total);
	json_number("free", i->frames_free);
	json_number("quarantined", i->frames_quarantined);
	json_number("reserve", i->frames_reserve);
	json_number("table", i->frames_table);
	json_number("data", i->frames_data);
	json_number("state", i->frames_state);
	json_number("stream", i->frames_stream);
	json_number("image", i->frames_image);
	json_number("host", i->frames_host);
	json_end_object();
}

static void info_json(const struct creel_info *i)
{
	char text[40];

	json_text("version", i->version);
	json_text("backend", i->backend);
	json_text("cpu", i->cpu);
	snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64, i->boot_id[0], i->boot_id[1]);
	json_text("boot_id", text);
	snprintf(text, sizeof(text), "%u.%u.%u.%u", i->address >> 24, i->address >> 16 & 255,
		i->address >> 8 & 255, i->address & 255);
	json_text("address", text);
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", i->mac[0], i->mac[1],
		i->mac[2], i->mac[3], i->mac[4], i->mac[5]);
	json_text("mac", text);
	json_number("cores", i->cores);
	json_number("tsc_khz", i->tsc_khz);
	json_number("uptime_ns", i->uptime_ns);
	json_number("wall_ns", i->wall_ns);
	frames_json(i);
	json_begin_object("guests");
	json_number("all", i->guests);
	json_number("running", i->guests_runnable);
	json_number("waiting", i->guests_waiting);
	json_number("paused", i->guests_paused);
	json_number("stopped", i->guests_stopped);
	json_end_object();
	json_number("snapshots", i->snapshots);
	json_number("images", i->images);
	json_number("connections", i->connections);
	json_number("requests", i->requests);
}

static void info_lines(const struct creel_info *i, const char *me, enum creel_role role)
{
	char a[32], b[32], c[32];

	printf("Creel %s on %s, %u core%s of %s\n", i->version, i->backend, i->cores,
		i->cores == 1 ? "" : "s", i->cpu);
	line("boot id", "%016" PRIx64 "%016" PRIx64, i->boot_id[0], i->boot_id[1]);
	line("address", "%u.%u.%u.%u, %02x:%02x:%02x:%02x:%02x:%02x", i->address >> 24,
		i->address >> 16 & 255, i->address >> 8 & 255, i->address & 255, i->mac[0],
		i->mac[1], i->mac[2], i->mac[3], i->mac[4], i->mac[5]);
	line("up", "%s", human_span(a, i->uptime_ns));
	line("memory", "%s, %s free, %s kept in reserve", human_size(a, i->frames_total * PAGE),
		human_size(b, i->frames_free * PAGE), human_size(c, i->frames_reserve * PAGE));
	line("guests",
		"%" PRIu64 " (%" PRIu64 " running, %" PRIu64 " waiting, %" PRIu64
		" paused, %" PRIu64 " stopped)",
		i->guests, i->guests_runnable, i->guests_waiting, i->guests_paused,
		i->guests_stopped);
	line("snapshots", "%" PRIu64, i->snapshots);
	line("images", "%" PRIu64, i->images);
	line("you", "%s (%s)", me[0] ? me : "-", role_word(role));
	line("clients", "%u, with %u request%s in progress", i->connections, i->requests,
		i->requests == 1 ? "" : "s");
}

int run_info(struct settings *s, int argc, char **argv)
{
	struct creel_info i;
	int code = creel_get_info(s->host_connection, &i);

	(void)argc, (void)argv;
	if (code != CREEL_OK)
		return failed(s, code);
	if (s->json) {
		json_begin_object(NULL);
		info_json(&i);
		json_text("client", creel_client(s->host_connection));
		json_text("role", role_word(creel_role(s->host_connection)));
		json_end_object();
		json_end();
	} else {
		info_lines(&i, creel_client(s->host_connection), creel_role(s->host_connection));
	}
	return EXIT_DONE;
}

/* Some are only counted. */
static void meter_cell(struct table *t, const struct creel_meter *m, uint64_t ticks)
{
	if (m->ticks)
		table_add(t, "%" PRIu64, ticks);
	else
		table_add(t, "-");
}

static int show_meter(void *arg, const struct creel_meter *m)
{
	struct listing *l = arg;

	if (l->s->json) {
		json_begin_object(m->name);
		json_number("count", m->count);
		json_number("ticks", m->ticks);
		json_number("last", m->last);
		json_number("min", m->min);
		json_number("max", m->max);
		json_end_object();
	} else if (m->count) {
		table_add(&l->table, "%s", m->name);
		table_add(&l->table, "%" PRIu64, m->count);
		meter_cell(&l->table, m, m->ticks / m->count);
		meter_cell(&l->table, m, m->min);
		meter_cell(&l->table, m, m->max);
	}
	return 0;
}

static void frames_table(const struct creel_info *i)
{
	static const char *const titles[] = {"FRAMES", "COUNT", "SIZE"};
	const struct {
		const char *name;
		uint64_t count;
	} rows[] = {
		{"free", i->frames_free},
		{"quarantined", i->frames_quarantined},
		{"guest tables", i->frames_table},
		{"guest data", i->frames_data},
		{"guest state", i->frames_state},
		{"streams", i->frames_stream},
		{"images", i->frames_image},
		{"host", i->frames_host},
		{"total", i->frames_total},
	};
	struct table t;
	char buf[32];

	table_begin(&t, "lrr", 3, titles);
	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		table_add(&t, "%s", rows[r].name);
		table_add(&t, "%" PRIu64, rows[r].count);
		table_add(&t, "%s", human_size(buf, rows[r].count * PAGE));
	}
	table_end(&t);
}

int run_stats(struct settings *s, int argc, char **argv)
{
	static const char *const titles[] = {"OPERATION", "COUNT", "TICKS EACH", "LEAST", "MOST"};
	struct listing l = {.s = s};
	struct creel_info i;
	int code = creel_get_info(s->host_connection, &i);

	(void)argc, (void)argv;
	if (code != CREEL_OK)
		return failed(s, code);
	if (s->json) {
		json_begin_object(NULL);
		info_json(&i);
		json_begin_object("meters");
	} else {
		frames_table(&i);
		putchar('\n');
		table_begin(&l.table, "lrrrr", 5, titles);
	}
	code = creel_meters(s->host_connection, s->reset, show_meter, &l);
	if (s->json) {
		json_end_object();
		json_end_object();
		json_end();
	} else {
		table_end(&l.table);
	}
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

static int show_log(void *arg, const char *data, size_t size)
{
	const struct settings *s = arg;

	if (!s->json) {
		fwrite(data, 1, size, stdout);
		fflush(stdout);
		return ferror(stdout);
	}
	while (size) {
		const char *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) : size;

		/* With -f there is no end at which an array could be closed: a document a line. */
		if (s->follow)
			json_begin_object(NULL);
		json_bytes(s->follow ? "line" : NULL, data, n);
		if (s->follow) {
			json_end_object();
			json_end();
		}
		n += end != NULL;
		data += n;
		size -= n;
	}
	return 0;
}

int run_log(struct settings *s, int argc, char **argv)
{
	uint64_t position = 0;
	int code;

	(void)argc, (void)argv;
	if (s->json && !s->follow)
		json_begin_array(NULL);
	code = creel_log(s->host_connection, &position, s->follow, NULL, show_log, s);
	if (s->json && !s->follow) {
		json_end_array();
		json_end();
	}
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}
