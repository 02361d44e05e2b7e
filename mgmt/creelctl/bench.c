/*
 * creelctl bench: a load generator. Each of a number of clients, a thread with a connection of its own,
 * sends one request after the other, of kinds drawn from a mix; how long each took is counted. What the
 * host refuses for now is counted apart, and its client comes back when it was told to.
 */
#include "mgmt/creelctl/creelctl.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLIENTS_MAX 4096
#define KEPT_MAX    256 /* guests that a client keeps; with more of them, it kills one first */

enum kind { INFO, PS, FORK, RUN, KILL, SNAPSHOT, KINDS };

static const char *const kind_name[KINDS] = {"info", "ps", "fork", "run", "kill", "snapshot"};

/* Latencies in microseconds, in 32 steps an octave: read back, they are right to 3 %. */
#define STEP_BITS 5
#define STEPS     (1u << STEP_BITS)
#define BUCKETS   (40 * STEPS)

struct latencies {
	uint64_t count, refused, failed, sum_us, max_us;
	uint32_t bucket[BUCKETS];
};

struct client {
	struct creel *host;
	pthread_t thread;
	uint64_t random;
	uint64_t kept[KEPT_MAX];
	size_t kept_count;
	struct latencies done[KINDS];
	char error[256]; /* of the first failure */
};

static struct {
	uint64_t concurrency, requests, seconds, idle, batch;
	const char *mix, *image;
} asked;

/* Shared by the clients. */
static struct {
	unsigned weight[KINDS], weights;
	const char *source;
	uint64_t left; /* requests, if their number is given */
	uint64_t end_ns;
} plan;

static volatile sig_atomic_t stop;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- latencies ---- */

static unsigned bucket_of(uint64_t us)
{
	unsigned octave = 0;

	if (us < STEPS)
		return (unsigned)us;
	octave = 63 - (unsigned)__builtin_clzll(us) - STEP_BITS;
	unsigned bucket = (octave + 1) * STEPS + ((unsigned)(us >> octave) & (STEPS - 1));

	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The least value that is in a bucket. */
static uint64_t bucket_floor(unsigned bucket)
{
	unsigned octave = bucket / STEPS;

	if (!octave)
		return bucket;
	return (uint64_t)(STEPS + bucket % STEPS) << (octave - 1);
}

static void count(struct latencies *l, uint64_t us)
{
	l->count++;
	l->sum_us += us;
	l->max_us = us > l->max_us ? us : l->max_us;
	l->bucket[bucket_of(us)]++;
}

static void add(struct latencies *to, const struct latencies *from)
{
	to->count += from->count;
	to->refused += from->refused;
	to->failed += from->failed;
	to->sum_us += from->sum_us;
	to->max_us = from->max_us > to->max_us ? from->max_us : to->max_us;
	for (unsigned i = 0; i < BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

static uint64_t percentile(const struct latencies *l, double part)
{
	uint64_t wanted = (uint64_t)((double)l->count * part), seen = 0;

	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += l->bucket[i];
		if (seen > wanted)
			return bucket_floor(i);
	}
	return l->max_us;
}

/* ---- a client ---- */

static uint64_t draw(struct client *c)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return c->random;
}

static enum kind draw_kind(struct client *c)
{
	uint64_t at = draw(c) % plan.weights;
	unsigned kind = 0;

	while (at >= plan.weight[kind])
		at -= plan.weight[kind++];
	return (enum kind)kind;
}

static int no_guest(void *arg, const struct creel_guest *g)
{
	(void)arg, (void)g;
	return 0;
}

static int keep(void *arg, const struct creel_result *r)
{
	struct client *c = arg;

	if (r->id && c->kept_count < KEPT_MAX)
		c->kept[c->kept_count++] = r->id;
	return 0;
}

/* Kills the client's last guest, which is one request, and removes it, which is not counted. */
static int kill_one(struct client *c, uint64_t *us)
{
	char id[24];
	uint64_t start = now_ns();
	int code;

	snprintf(id, sizeof(id), "%llu", (unsigned long long)c->kept[c->kept_count - 1]);
	code = creel_kill(c->host, id);
	*us = (now_ns() - start) / 1000;
	if (code != CREEL_OK)
		return code;
	c->kept_count--;
	/* One that is refused is removed at the end, with what is left. */
	while (creel_remove(c->host, id) == CREEL_RETRY) {
		const struct timespec pause = {.tv_nsec = creel_retry_ms(c->host) % 1000 * 1000000};

		nanosleep(&pause, NULL);
	}
	return CREEL_OK;
}

static int perform(struct client *c, enum kind kind, uint64_t *us)
{
	const struct creel_options paused = {.paused = true};
	uint64_t start = now_ns(), id = 0;
	struct creel_info info;
	int code;

	switch (kind) {
	case INFO:
		code = creel_get_info(c->host, &info);
		break;
	case PS:
		code = creel_guests(c->host, false, 0, no_guest, NULL);
		break;
	case FORK:
		code = creel_fork(c->host, plan.source, &paused, (uint32_t)asked.batch, keep, c, NULL);
		break;
	case RUN:
		code = creel_run(c->host, asked.image, &paused, &id);
		if (id && c->kept_count < KEPT_MAX)
			c->kept[c->kept_count++] = id;
		break;
	case SNAPSHOT:
		code = creel_take_snapshot(c->host, plan.source, NULL, false, &id);
		break;
	default:
		return kill_one(c, us);
	}
	*us = (now_ns() - start) / 1000;
	if (kind == SNAPSHOT && code == CREEL_OK) {
		char text[24];

		snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
		creel_remove(c->host, text);
	}
	return code;
}

/* False: the connection is gone. */
static bool one_request(struct client *c)
{
	enum kind kind = draw_kind(c);
	uint64_t us = 0;
	int code;

	if ((kind == FORK || kind == RUN) && c->kept_count + asked.batch > KEPT_MAX)
		kind = KILL;
	if (kind == KILL && !c->kept_count)
		kind = plan.weight[RUN] ? RUN : plan.source ? FORK : INFO;
	code = perform(c, kind, &us);
	if (code == CREEL_OK) {
		count(&c->done[kind], us);
	} else if (code == CREEL_RETRY) {
		uint32_t ms = creel_retry_ms(c->host);
		const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

		c->done[kind].refused++;
		nanosleep(&pause, NULL);
	} else {
		c->done[kind].failed++;
		if (!c->error[0])
			snprintf(c->error, sizeof(c->error), "%s", creel_error_text(c->host));
	}
	return code != CREEL_CONNECTION && code != CREEL_PROTOCOL;
}

/* Takes one of the requests that are to be made. */
static bool take_request(void)
{
	uint64_t left = __atomic_load_n(&plan.left, __ATOMIC_RELAXED);

	if (stop || (plan.end_ns && now_ns() >= plan.end_ns))
		return false;
	if (!asked.requests)
		return true;
	do {
		if (!left)
			return false;
	} while (!__atomic_compare_exchange_n(
		&plan.left, &left, left - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
}

static void *client_main(void *arg)
{
	struct client *c = arg;

	while (take_request()) {
		if (!one_request(c))
			break;
	}
	return NULL;
}

/* What it made goes. */
static void clean_up(struct client *c)
{
	uint64_t us;

	while (c->kept_count) {
		int code = kill_one(c, &us);

		if (code == CREEL_RETRY) {
			const struct timespec pause = {.tv_nsec = 20000000};

			nanosleep(&pause, NULL);
		} else if (code != CREEL_OK) {
			return;
		}
	}
}

/* ---- what was asked for ---- */

static bool parse_mix(const char *text)
{
	char copy[256], *rest = copy;

	if (strlen(text) >= sizeof(copy))
		return false;
	strcpy(copy, text);
	for (char *word; (word = strsep(&rest, ","));) {
		char *number = strchr(word, '='), *end = NULL;
		unsigned long weight = 1;
		int kind = 0;

		if (number) {
			*number++ = 0;
			weight = strtoul(number, &end, 10);
			if (end == number || *end || weight > 1000000)
				return false;
		}
		while (kind < KINDS && strcmp(word, kind_name[kind]))
			kind++;
		if (kind == KINDS)
			return false;
		plan.weight[kind] += (unsigned)weight;
		plan.weights += (unsigned)weight;
	}
	return plan.weights > 0;
}

static int make_plan(int argc, char **argv)
{
	const char *mix = asked.mix;

	if (!asked.concurrency)
		asked.concurrency = 8;
	if (!asked.batch)
		asked.batch = 1;
	if (!asked.requests && !asked.seconds)
		asked.seconds = 10;
	plan.source = argc ? argv[0] : NULL;
	if (!mix)
		mix = plan.source ? "fork=4,kill=4,info=2" : "info";
	if (asked.concurrency > CLIENTS_MAX || asked.idle > CLIENTS_MAX - asked.concurrency) {
		complain("--concurrency and --idle are at most %u together, not %" PRIu64 " and %" PRIu64,
			CLIENTS_MAX, asked.concurrency, asked.idle);
		return EXIT_USAGE;
	}
	if (asked.batch > KEPT_MAX) {
		complain("--batch takes 1 to %u, not %" PRIu64, KEPT_MAX, asked.batch);
		return EXIT_USAGE;
	}
	if (!parse_mix(mix)) {
		complain("\"%s\" is no mix: give some of info, ps, fork, run, kill and snapshot, as in "
			 "fork=4,kill=4,info=2",
			mix);
		return EXIT_USAGE;
	}
	if ((plan.weight[FORK] || plan.weight[SNAPSHOT]) && !plan.source) {
		complain("to fork or to take snapshots, name a guest");
		return EXIT_USAGE;
	}
	if (plan.weight[RUN] && !asked.image) {
		complain("to run guests, name an image with --image");
		return EXIT_USAGE;
	}
	plan.left = asked.requests;
	return EXIT_DONE;
}

/* ---- what came of it ---- */

static const struct {
	const char *key, *title;
	double part;
} parts[] = {
	{"p50_us", "p50 ms", 0.50},
	{"p90_us", "p90 ms", 0.90},
	{"p99_us", "p99 ms", 0.99},
	{"p999_us", "p99.9 ms", 0.999},
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static void print_json(const struct latencies *l, double seconds)
{
	json_begin_object(NULL);
	json_number("clients", asked.concurrency);
	json_number("idle_connections", asked.idle);
	json_number("elapsed_us", (uint64_t)(seconds * 1e6));
	json_begin_array("operations");
	for (int i = 0; i <= KINDS; i++) {
		if (!l[i].count && !l[i].refused && !l[i].failed)
			continue;
		json_begin_object(NULL);
		json_text("operation", i < KINDS ? kind_name[i] : "all");
		json_number("requests", l[i].count);
		json_number("refused", l[i].refused);
		json_number("failed", l[i].failed);
		json_number("per_second", (uint64_t)((double)l[i].count / seconds));
		json_number("mean_us", l[i].count ? l[i].sum_us / l[i].count : 0);
		for (size_t j = 0; j < PARTS; j++)
			json_number(parts[j].key, percentile(&l[i], parts[j].part));
		json_number("max_us", l[i].max_us);
		json_end_object();
	}
	json_end_array();
	json_end_object();
	json_end();
}

static void print_table(const struct latencies *l, double seconds)
{
	const char *titles[] = {"OPERATION", "REQUESTS", "REFUSED", "FAILED", "PER SECOND", "P50 MS",
		"P90 MS", "P99 MS", "P99.9 MS", "MAX MS"};
	struct table t;

	table_begin(&t, "-rrrrrrrrr", sizeof(titles) / sizeof(titles[0]), titles);
	for (int i = 0; i <= KINDS; i++) {
		if (!l[i].count && !l[i].refused && !l[i].failed)
			continue;
		table_add(&t, "%s", i < KINDS ? kind_name[i] : "all");
		table_add(&t, "%llu", (unsigned long long)l[i].count);
		table_add(&t, "%llu", (unsigned long long)l[i].refused);
		table_add(&t, "%llu", (unsigned long long)l[i].failed);
		table_add(&t, "%.1f", (double)l[i].count / seconds);
		for (size_t j = 0; j < PARTS; j++)
			table_add(&t, "%.2f", (double)percentile(&l[i], parts[j].part) / 1000);
		table_add(&t, "%.2f", (double)l[i].max_us / 1000);
	}
	table_end(&t);
}

static int report(const struct settings *s, const struct client *clients, double seconds)
{
	static struct latencies sums[KINDS + 1];
	const char *error = NULL;

	for (uint64_t i = 0; i < asked.concurrency; i++) {
		for (int k = 0; k < KINDS; k++) {
			add(&sums[k], &clients[i].done[k]);
			add(&sums[KINDS], &clients[i].done[k]);
		}
		if (clients[i].error[0])
			error = clients[i].error;
	}
	if (s->json)
		print_json(sums, seconds);
	else
		print_table(sums, seconds);
	if (!error)
		return EXIT_DONE;
	complain("%s", error);
	return EXIT_REFUSED;
}

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	stop = 1;
}

/* `n` connections more; false after it has said what is wrong. */
static bool connect_all(struct settings *s, struct client *clients, uint64_t n)
{
	for (uint64_t i = 0; i < n && !stop; i++) {
		struct settings own = *s;
		int status;

		own.host_connection = clients[i].host = creel_new();
		if (!clients[i].host)
			abort();
		status = connect_host(&own);
		clients[i].random = 0x9e3779b97f4a7c15u * (i + 1);
		if (status != EXIT_DONE)
			return false;
	}
	return !stop;
}

static double run_clients(struct client *clients)
{
	uint64_t start = now_ns();
	uint64_t i, started = 0;

	plan.end_ns = asked.seconds ? start + asked.seconds * 1000000000u : 0;
	for (; started < asked.concurrency; started++) {
		if (pthread_create(&clients[started].thread, NULL, client_main, &clients[started]))
			break;
	}
	for (i = 0; i < started; i++)
		pthread_join(clients[i].thread, NULL);
	return (double)(now_ns() - start) / 1e9;
}

/* There is no use in asking for what isn't there ten thousand times a second. */
static int check_names(struct settings *s)
{
	struct creel_item item;
	int code = CREEL_OK;

	if (plan.source) {
		code = creel_get(s->host_connection, CREEL_GUEST, plan.source, &item);
		if (code == CREEL_NOENT)
			code = creel_get(s->host_connection, CREEL_SNAPSHOT, plan.source, &item);
		if (code == CREEL_NOENT) {
			complain("there is no guest or snapshot named %s", plan.source);
			return EXIT_REFUSED;
		}
	}
	if (code == CREEL_OK && plan.weight[RUN])
		code = creel_get(s->host_connection, CREEL_IMAGE, asked.image, &item);
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

static int run_bench(struct settings *s, int argc, char **argv)
{
	const struct sigaction interrupt = {.sa_handler = on_interrupt};
	int status = make_plan(argc, argv);
	uint64_t n = asked.concurrency + asked.idle;
	struct client *clients;

	if (status == EXIT_DONE)
		status = check_names(s);
	if (status != EXIT_DONE)
		return status;
	clients = calloc(n, sizeof(*clients));
	if (!clients)
		abort();
	sigaction(SIGINT, &interrupt, NULL);
	if (connect_all(s, clients, n)) {
		double seconds = run_clients(clients);

		for (uint64_t i = 0; i < asked.concurrency; i++)
			clean_up(&clients[i]);
		status = report(s, clients, seconds);
	} else {
		status = stop ? EXIT_INTERRUPTED : EXIT_CONNECTION;
	}
	for (uint64_t i = 0; i < n; i++)
		creel_free(clients[i].host);
	free(clients);
	return status;
}

/* clang-format off: rows of tables */
static const struct option bench_options[] = {
	VALUE('c', "concurrency", NUMBER, &asked.concurrency, "N", "clients at once (8)"),
	VALUE('n', "requests", NUMBER, &asked.requests, "N", "end after so many"),
	VALUE('t', "seconds", NUMBER, &asked.seconds, "N", "end after so long (10)"),
	VALUE(0, "mix", TEXT, &asked.mix, "MIX", "what they ask for (fork=4,kill=4,info=2)"),
	VALUE(0, "image", TEXT, &asked.image, "IMAGE", "what \"run\" in the mix runs"),
	VALUE(0, "batch", NUMBER, &asked.batch, "N", "guests of each fork (1)"),
	VALUE(0, "idle", NUMBER, &asked.idle, "N", "connections more that say nothing"),
	END_OPTIONS,
};
/* clang-format on */

const struct command bench_commands[] = {
	{
		.name = "bench",
		.synopsis = "[OPTION...] [GUEST]",
		.summary = "put the host under load, and tell how fast it answers",
		.text = "Each client sends one request after the other: info, ps, fork and snapshot of\n"
			"GUEST, run of an image, or kill of a guest that it made. MIX gives each a weight.\n"
			"Guests are made paused, and are killed and removed in the end. What the host\n"
			"refuses for now is counted as refused, and asked for again when the host said.",
		.options = bench_options,
		.most = 1,
		.arguments = NAMES_SOURCE,
		.run = run_bench,
	},
	END_COMMANDS,
};
