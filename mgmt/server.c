/* The server as a whole: memory, connections, timers, and whose turn it is. */
#include "mgmt/server_internal.h"

static const uint32_t timer_us[TIMER_COUNT] = {
	[TIMER_HELLO] = SERVER_HELLO_US,
	[TIMER_FRAME] = SERVER_FRAME_US,
	[TIMER_SEND] = SERVER_SEND_US,
	[TIMER_UPLOAD] = SERVER_UPLOAD_US,
};

#define ARGS_BLOCKS 32 /* batches, but those of creation without arguments, that go on at once */

struct arena {
	uint8_t *at;
	size_t left;
};

static size_t watch_lists(const struct server_config *config)
{
	size_t n = 1;

	while (n < config->requests)
		n *= 2;
	return n;
}

static void *arena_take(struct arena *a, size_t size)
{
	void *p = a->at;

	size = align_up(size, 16);
	if (size > a->left)
		return NULL;
	a->at += size;
	a->left -= size;
	return p;
}

/* So many that each client can have those that it has for sure. */
static uint32_t tickets(const struct server_config *config)
{
	return MIN(config->requests, SERVER_QUEUE_PER_ROLE * (SERVER_ROLES - 1u)) +
	       SERVER_QUEUE_SURE * admit_parties(config);
}

size_t server_memory(const struct server_config *config)
{
	return align_up(sizeof(struct audit_ring), 16) +
	       align_up(sizeof(struct conn) * config->connections, 16) +
	       align_up(sizeof(struct list) * watch_lists(config), 16) +
	       align_up(sizeof(struct request), 16) * config->requests + admit_memory(config) +
	       align_up(sizeof(struct ticket), 16) * tickets(config) +
	       (size_t)BLOCK_SIZE * SERVER_TICKET_BLOCKS + keys_memory(config) +
	       (size_t)SERVER_AGENT_WINDOW * SERVER_LATE_BLOCKS +
	       (size_t)KEY_BLOCK_SIZE * SERVER_KEY_BLOCKS +
	       (size_t)SERVER_EVENT_QUEUE * SERVER_EVENT_QUEUES + uploads_memory(config) +
	       (size_t)RX_SIZE * config->buffers +
	       (size_t)BLOCK_SIZE * ((size_t)config->buffers + ARGS_BLOCKS) +
	       align_up(sizeof(struct agent_link), 16) * config->inputs +
	       (size_t)SERVER_INPUT_CREDIT * config->inputs;
}

static int pool_init(struct server_pool *p, struct arena *a, uint32_t count, size_t size)
{
	size = align_up(size, 16);
	*p = (struct server_pool){.count = count, .size = size};
	for (uint32_t i = 0; i < count; i++) {
		void **block = arena_take(a, size);

		if (!block)
			return ERR_NOMEM;
		*block = p->free;
		p->free = block;
	}
	return OK;
}

void *pool_take(struct server_pool *p)
{
	void **block = p->free;

	if (block) {
		p->free = *block;
		p->used++;
	}
	return block;
}

void block_free(struct server *s, struct server_pool *p, void *block)
{
	if (!block)
		return;
	*(void **)block = p->free;
	p->free = block;
	p->used--;
	while (!list_empty(&s->starved))
		conn_wake(LIST_ENTRY(s->starved.next, struct conn, link));
}

int server_init(struct server *s, const struct server_config *config, void *memory, size_t size)
{
	struct arena arena = {memory, size};

	memset(s, 0, sizeof(*s)); /* (a literal of this size would stand on the stack first) */
	s->config = *config;
	s->watch_mask = watch_lists(config) - 1;
	s->audit = arena_take(&arena, sizeof(struct audit_ring));
	s->conns = arena_take(&arena, sizeof(struct conn) * config->connections);
	s->watchers = arena_take(&arena, sizeof(struct list) * watch_lists(config));
	s->parties = arena_take(&arena, sizeof(struct party) * admit_parties(config));
	s->rings = arena_take(&arena, keys_memory(config));
	if (!s->audit || !s->conns || !s->rings || !s->watchers || !s->parties ||
		pool_init(&s->request_pool, &arena, config->requests, sizeof(struct request)) < 0 ||
		pool_init(&s->receive, &arena, config->buffers, RX_SIZE) < 0 ||
		pool_init(&s->send, &arena, config->buffers, BLOCK_SIZE) < 0 ||
		pool_init(&s->args, &arena, ARGS_BLOCKS, BLOCK_SIZE) < 0 ||
		pool_init(&s->input, &arena, config->inputs, SERVER_INPUT_CREDIT) < 0 ||
		pool_init(&s->links, &arena, config->inputs, sizeof(struct agent_link)) < 0 ||
		pool_init(&s->late, &arena, SERVER_LATE_BLOCKS, SERVER_AGENT_WINDOW) < 0 ||
		pool_init(&s->tickets, &arena, tickets(config), sizeof(struct ticket)) < 0 ||
		pool_init(&s->event_queues, &arena, SERVER_EVENT_QUEUES, SERVER_EVENT_QUEUE) < 0 ||
		pool_init(&s->kept_pool, &arena, uploads_kept_most(config),
			uploads_memory(config) / uploads_kept_most(config)) < 0 ||
		pool_init(&s->key_blocks, &arena, SERVER_KEY_BLOCKS, KEY_BLOCK_SIZE) < 0 ||
		pool_init(&s->large_tickets, &arena, SERVER_TICKET_BLOCKS, BLOCK_SIZE) < 0)
		return ERR_NOMEM;
	memset(s->rings, 0, keys_memory(config));
	admit_init(s);
	audit_init(s->audit);
	list_init(&s->free_conns);
	list_init(&s->ready);
	list_init(&s->turn);
	list_init(&s->working);
	list_init(&s->slowed);
	list_init(&s->starved);
	list_init(&s->looking);
	list_init(&s->listeners);
	list_init(&s->uploading);
	list_init(&s->kept);
	for (int i = 0; i < TIMER_COUNT; i++)
		list_init(&s->timers[i]);
	for (uint64_t i = 0; i <= s->watch_mask; i++)
		list_init(&s->watchers[i]);
	for (uint32_t i = 0; i < config->connections; i++) {
		s->conns[i].open = false;
		list_push_back(&s->free_conns, &s->conns[i].link);
	}
	return OK;
}

void conn_wake(struct conn *c)
{
	struct party *p = c->party;

	list_remove(&c->link);
	list_push_back(&p->ready, &c->link);
	if (list_empty(&p->turn_link))
		list_push_back(&c->server->ready, &p->turn_link);
}

void timer_stop(struct conn *c, enum server_timer kind)
{
	list_remove(&c->timers[kind].link);
}

/* All timers of a kind take equally long, so their list is in order. */
void timer_start(struct conn *c, enum server_timer kind)
{
	timer_stop(c, kind);
	c->timers[kind].at_us = c->server->now_us + timer_us[kind];
	list_push_back(&c->server->timers[kind], &c->timers[kind].link);
}

struct conn *timer_conn(struct list *link, enum server_timer kind)
{
	struct conn_timer *t = LIST_ENTRY(link, struct conn_timer, link);

	return CONTAINER_OF(t - kind, struct conn, timers);
}

/* Of the connections that wait for nothing, the one that has done so longest. */
static bool evict_idle(struct server *s)
{
	struct conn *oldest = NULL;

	for (uint32_t i = 0; i < s->config.connections; i++) {
		struct conn *c = &s->conns[i];

		if (c->open && c->greeted && !c->request_count && !c->rx && !c->tx &&
			(!oldest || c->active_us < oldest->active_us))
			oldest = c;
	}
	if (!oldest || s->now_us - oldest->active_us < SERVER_IDLE_US)
		return false;
	conn_close(oldest, false);
	return true;
}

int server_accept(struct server *s, const struct transport_ops *ops, void *transport,
	uint32_t from, uint64_t now_us, struct conn **conn)
{
	s->now_us = now_us;
	admit_stranger(s, from);
	if (list_empty(&s->free_conns) && !evict_idle(s)) {
		s->refused++;
		ops->close(transport, true);
		return ERR_LIMIT;
	}
	struct conn *c = LIST_ENTRY(s->free_conns.next, struct conn, link);

	list_remove(&c->link);
	*c = (struct conn){.server = s,
		.from = from,
		.open = true,
		.readable = true,
		.active_us = now_us};
	channel_open_host(&c->channel, ops, transport, s->config.host);
	c->channel.hold = true;
	list_init(&c->link);
	list_init(&c->work);
	list_init(&c->tickets);
	list_init(&c->requests);
	list_init(&c->ready_requests);
	for (int i = 0; i < TIMER_COUNT; i++)
		list_init(&c->timers[i].link);
	timer_start(c, TIMER_HELLO);
	s->connections++;
	admit_stranger_in(c, from);
	s->accepted++;
	conn_wake(c);
	*conn = c;
	return OK;
}

void server_event(struct server *s, struct conn *conn)
{
	(void)s;
	conn->readable = true;
	conn_wake(conn);
}

static void expire(struct server *s)
{
	for (enum server_timer kind = 0; kind < TIMER_COUNT; kind++) {
		while (!list_empty(&s->timers[kind])) {
			struct conn *c = timer_conn(s->timers[kind].next, kind);

			if (c->timers[kind].at_us > s->now_us)
				break;
			timer_stop(c, kind);
			s->timed_out++;
			if (kind == TIMER_SEND || c->closing || !channel_ready(&c->channel))
				conn_close(c, true);
			else
				conn_fatal(c, 0, PROTO_E_TIMEOUT,
					"the client was silent for %u seconds",
					timer_us[kind] / 1000000);
		}
	}
}

void watchers_wake(struct server *s, uint64_t guest)
{
	LIST_FOR_EACH(it, &s->watchers[guest & s->watch_mask])
	{
		struct request *r = LIST_ENTRY(it, struct request, watch);

		if (r->guest == guest)
			request_wake(r);
	}
}

/* True: there may be more. */
static bool spread_news(struct server *s)
{
	uint64_t id;
	unsigned news;

	for (int i = 0; i < SERVER_NEWS_PER_POLL; i++) {
		if (!guest_news(&id, &news))
			return false;
		event_of_news(s, id, news);
		watchers_wake(s, id);
	}
	return true;
}

static void look(struct server *s)
{
	if ((list_empty(&s->looking) && list_empty(&s->slowed)) || s->now_us < s->look_due_us)
		return;
	s->look_due_us = s->now_us + SERVER_LOOK_US;
	while (!list_empty(&s->slowed))
		conn_wake(LIST_ENTRY(s->slowed.next, struct conn, link));
	LIST_FOR_EACH(it, &s->looking)
	request_wake(LIST_ENTRY(it, struct request, look));
}

void list_move(struct list *to, struct list *from)
{
	while (!list_empty(from)) {
		struct list *it = from->next;

		list_remove(it);
		list_push_back(to, it);
	}
}

/* What has become ready is served, a conn of each party in turn, and no conn twice. */
static void serve_turns(struct server *s)
{
	int left = SERVER_TURNS_PER_POLL;

	list_move(&s->turn, &s->ready);
	LIST_FOR_EACH (it, &s->turn) {
		struct party *p = LIST_ENTRY(it, struct party, turn_link);

		list_move(&p->turn, &p->ready);
	}
	while (left && !list_empty(&s->turn)) {
		struct party *p = LIST_ENTRY(s->turn.next, struct party, turn_link);

		list_remove(&p->turn_link);
		if (list_empty(&p->turn)) {
			if (!list_empty(&p->ready))
				list_push_back(&s->ready, &p->turn_link);
			continue;
		}
		list_push_back(&s->turn, &p->turn_link);
		struct conn *c = LIST_ENTRY(p->turn.next, struct conn, link);

		list_remove(&c->link);
		if (conn_turn(c))
			conn_wake(c);
		left--;
	}
	/* Those that had no turn come first in the next poll. */
	LIST_FOR_EACH (it, &s->turn) {
		struct party *p = LIST_ENTRY(it, struct party, turn_link);

		list_move(&p->turn, &p->ready);
		list_move(&p->ready, &p->turn);
	}
	list_move(&s->turn, &s->ready);
	list_move(&s->ready, &s->turn);
}

bool server_poll(struct server *s, uint64_t now_us)
{
	s->now_us = now_us;
	expire(s);
	guest_expire();
	bool more = spread_news(s);
	look(s);
	audit_poll(s);
	uploads_poll(s);
	admit_begin(s);
	serve_turns(s);
	return admit_poll(s) || more || !list_empty(&s->ready);
}

uint64_t server_next_timer(const struct server *s)
{
	bool looks = !list_empty(&s->looking) || !list_empty(&s->slowed);
	uint64_t next = MIN(looks ? s->look_due_us : UINT64_MAX, audit_next_timer(s));

	next = MIN(next, guest_deadline_us());
	if (!list_empty(&s->kept))
		next = MIN(next, s->kept_due_us);
	for (enum server_timer kind = 0; kind < TIMER_COUNT; kind++) {
		if (!list_empty(&s->timers[kind]))
			next = MIN(
				next, timer_conn(s->timers[kind].next, kind)->timers[kind].at_us);
	}
	return next;
}

void server_stop(struct server *s)
{
	for (uint32_t i = 0; i < s->config.connections; i++) {
		if (s->conns[i].open)
			conn_close(&s->conns[i], true);
	}
}
