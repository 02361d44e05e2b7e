/* The server as a whole: memory, connections, timers, and whose turn it is. */
#include "mgmt/server_internal.h"

static const uint32_t timer_us[TIMER_COUNT] = {
	[TIMER_HELLO] = SERVER_HELLO_US,
	[TIMER_FRAME] = SERVER_FRAME_US,
	[TIMER_SEND] = SERVER_SEND_US,
	[TIMER_UPLOAD] = SERVER_UPLOAD_US,
};

#define ARGS_BLOCKS 16 /* batches with arguments of their own that go on at once */

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

size_t server_memory(const struct server_config *config)
{
	return align_up(sizeof(struct conn) * config->connections, 16) +
	       align_up(sizeof(struct list) * watch_lists(config), 16) +
	       align_up(sizeof(struct request), 16) * config->requests +
	       (size_t)RX_SIZE * config->buffers +
	       (size_t)BLOCK_SIZE * ((size_t)config->buffers + ARGS_BLOCKS) +
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

	*s = (struct server){.config = *config};
	s->watch_mask = watch_lists(config) - 1;
	s->conns = arena_take(&arena, sizeof(struct conn) * config->connections);
	s->watchers = arena_take(&arena, sizeof(struct list) * watch_lists(config));
	if (!s->conns || !s->watchers ||
		pool_init(&s->request_pool, &arena, config->requests, sizeof(struct request)) < 0 ||
		pool_init(&s->receive, &arena, config->buffers, RX_SIZE) < 0 ||
		pool_init(&s->send, &arena, config->buffers, BLOCK_SIZE) < 0 ||
		pool_init(&s->args, &arena, ARGS_BLOCKS, BLOCK_SIZE) < 0 ||
		pool_init(&s->input, &arena, config->inputs, SERVER_INPUT_CREDIT) < 0)
		return ERR_NOMEM;
	list_init(&s->free_conns);
	list_init(&s->ready);
	list_init(&s->turn);
	list_init(&s->starved);
	list_init(&s->looking);
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
	list_remove(&c->link);
	list_push_back(&c->server->ready, &c->link);
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

static struct conn *timer_conn(struct list *link, enum server_timer kind)
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

/* Who floods the port with connections displaces others like it, and nobody who has come in. */
static void make_strangers_room(struct server *s)
{
	if (s->strangers < SERVER_STRANGERS || list_empty(&s->timers[TIMER_HELLO]))
		return;
	s->refused++;
	conn_close(timer_conn(s->timers[TIMER_HELLO].next, TIMER_HELLO), true);
}

int server_accept(struct server *s, const struct transport_ops *ops, void *transport,
	uint64_t now_us, struct conn **conn)
{
	s->now_us = now_us;
	make_strangers_room(s);
	if (list_empty(&s->free_conns) && !evict_idle(s)) {
		s->refused++;
		ops->close(transport, true);
		return ERR_LIMIT;
	}
	struct conn *c = LIST_ENTRY(s->free_conns.next, struct conn, link);

	list_remove(&c->link);
	*c = (struct conn){.server = s, .open = true, .readable = true, .active_us = now_us};
	if (s->config.host)
		channel_open_host(&c->channel, ops, transport, s->config.host);
	else
		channel_open(&c->channel, ops, transport);
	list_init(&c->link);
	list_init(&c->requests);
	list_init(&c->ready_requests);
	for (int i = 0; i < TIMER_COUNT; i++)
		list_init(&c->timers[i].link);
	timer_start(c, TIMER_HELLO);
	s->connections++;
	s->strangers++;
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
		watchers_wake(s, id);
	}
	return true;
}

static void look(struct server *s)
{
	if (list_empty(&s->looking) || s->now_us < s->look_due_us)
		return;
	s->look_due_us = s->now_us + SERVER_LOOK_US;
	LIST_FOR_EACH(it, &s->looking)
	request_wake(LIST_ENTRY(it, struct request, look));
}

/* All of `from` to the end of `to`. */
static void list_move(struct list *to, struct list *from)
{
	while (!list_empty(from)) {
		struct list *it = from->next;

		list_remove(it);
		list_push_back(to, it);
	}
}

bool server_poll(struct server *s, uint64_t now_us)
{
	s->now_us = now_us;
	expire(s);
	bool more = spread_news(s);
	look(s);
	list_move(&s->turn, &s->ready);
	for (int i = 0; i < SERVER_TURNS_PER_POLL && !list_empty(&s->turn); i++) {
		struct conn *c = LIST_ENTRY(s->turn.next, struct conn, link);

		list_remove(&c->link);
		if (conn_turn(c))
			conn_wake(c);
	}
	/* Those that had no turn come first in the next poll. */
	list_move(&s->turn, &s->ready);
	list_move(&s->ready, &s->turn);
	return more || !list_empty(&s->ready);
}

uint64_t server_next_timer(const struct server *s)
{
	uint64_t next = list_empty(&s->looking) ? UINT64_MAX : s->look_due_us;

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
