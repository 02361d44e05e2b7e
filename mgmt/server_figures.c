/* Figures of the server itself: how full it is, whom it refused, and how long requests took. */
#include "mgmt/server_internal.h"

#include "hv/owner.h"

struct figure {
	const char *name;
	size_t offset;
	bool wide; /* a uint64_t, else a uint32_t */
};

/* clang-format off: a table of rows */
#define SERVER(name, field, is_wide) {name, offsetof(struct server, field), is_wide}
static const struct figure server_figures[] = {
	SERVER("connections", connections, false),
	SERVER("strangers", strangers, false),
	SERVER("requests", request_pool.used, false),
	SERVER("queued", tickets.used, false),
	SERVER("connections_accepted", accepted, true),
	SERVER("connections_refused", refused, true),
	SERVER("connections_timed_out", timed_out, true),
	SERVER("connections_broken", broken, true),
	SERVER("uploads_kept", kept_pool.used, false),
	SERVER("uploads_kept_bytes", kept_bytes, true),
	SERVER("handshakes", handshakes, true),
	SERVER("handshakes_slowed", handshakes_slowed, true),
	SERVER("requests_begun", requests_begun, true),
	SERVER("requests_refused", requests_refused, true),
};

#define PARTY(name, field, is_wide) {name, offsetof(struct party, field), is_wide}
static const struct figure client_figures[] = {
	PARTY("client_connections", conns, false),
	PARTY("client_requests", requests, false),
	PARTY("client_queued", queued, false),
	PARTY("client_requests_begun", begun, true),
	PARTY("client_requests_refused", refused, true),
};
/* clang-format on */

static const char *const work_names[WORK_KINDS] = {
	[WORK_RUN] = "run",
	[WORK_FORK] = "fork",
	[WORK_SNAPSHOT] = "snapshot",
	[WORK_ROLLBACK] = "rollback",
	[WORK_KILL] = "kill",
	[WORK_LIST] = "list",
	[WORK_OTHER] = "other",
};

#define OF_CLIENT ARRAY_SIZE(client_figures)
#define OF_WORK   (SERVER_BUCKETS + 1) /* the buckets, and the sum */

static uint64_t value_of(const void *from, const struct figure *f)
{
	const uint8_t *at = (const uint8_t *)from + f->offset;

	return f->wide ? *(const uint64_t *)at : *(const uint32_t *)at;
}

static void name_figure(struct proto_figure *m, const char *name, const char *of)
{
	fmt(m->name, sizeof(m->name), "%s", name);
	fmt(m->of, sizeof(m->of), "%s", of);
}

/* Figure number `i`; false: there are no more. */
static bool figure_get(const struct server *s, uint64_t i, struct proto_figure *m)
{
	*m = (struct proto_figure){0};
	if (i < ARRAY_SIZE(server_figures)) {
		name_figure(m, server_figures[i].name, "");
		m->value = value_of(s, &server_figures[i]);
		return true;
	}
	i -= ARRAY_SIZE(server_figures);
	if (i < OF_CLIENT * (s->party_count - 1)) {
		uint64_t client = i / OF_CLIENT;
		const struct figure *f = &client_figures[i % OF_CLIENT];

		name_figure(m, f->name, owner_name(s->config.host->clients[client].owner));
		m->value = value_of(&s->parties[1 + client], f);
		return true;
	}
	i -= OF_CLIENT * (s->party_count - 1);
	if (i < WORK_KINDS * OF_WORK) {
		const struct server_histogram *h = &s->latency[i / OF_WORK];
		uint64_t bucket = i % OF_WORK;

		name_figure(m, bucket < SERVER_BUCKETS ? "latency" : "latency_us",
			work_names[i / OF_WORK]);
		m->value = bucket < SERVER_BUCKETS ? h->bucket[bucket] : h->sum_us;
		if (bucket < SERVER_BUCKETS - 1)
			m->below_us = 1ull << bucket;
		return true;
	}
	return false;
}

static enum step figures_step(struct request *r)
{
	struct list_state *l = &r->list;
	struct proto_figure m;

	for (int i = 0; i < 4 * SERVER_ITEMS_PER_STEP; i++, l->ask.after++) {
		if (!conn_room(r->conn, CONN_ROOM))
			return STEP_MORE;
		if (!figure_get(r->conn->server, l->ask.after, &m)) {
			struct proto_done done = {.count = l->count};

			conn_send(r->conn, PROTO_DONE, PROTO_FINAL, r->number, &done);
			return STEP_OVER;
		}
		/* Buckets with nothing in them go without saying. */
		if (m.below_us && !m.value)
			continue;
		conn_send(r->conn, PROTO_FIGURE, 0, r->number, &m);
		l->count++;
	}
	return STEP_MORE;
}

void figures_start(struct conn *c, uint64_t number)
{
	struct request *r = request_new(c, number);

	if (!r)
		return;
	r->list = (struct list_state){0};
	r->step = figures_step;
	request_wake(r);
}
