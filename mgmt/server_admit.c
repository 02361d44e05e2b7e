/*
 * Admission: who may connect, whose turn it is, and what begins, waits or is refused. Everything is
 * decided before work begins; what was accepted is carried out; what is refused is told so at once.
 *
 * A poll serves parties in turn, one conn of each at a time (server.c), and so it goes on with what
 * waits (admit_poll()). Credit, given by the weight of a client's role, makes that fair in work done
 * and not only in turns: a batch of a thousand forks takes a thousand times the credit of one.
 */
#include "mgmt/server_internal.h"

/* In the order of boot/config.h, enum config_role. */
static const uint32_t weight_of[SERVER_ROLES] = {1, 1, 2, 2, 4};

/* ---- parties ---- */

uint32_t admit_parties(const struct server_config *config)
{
	return 1 + (uint32_t)config->host->client_count;
}

size_t admit_memory(const struct server_config *config)
{
	return align_up(sizeof(struct party) * admit_parties(config), 16);
}

void admit_init(struct server *s)
{
	s->party_count = admit_parties(&s->config);
	for (uint32_t i = 0; i < s->party_count; i++) {
		struct party *p = &s->parties[i];
		uint8_t role = i ? s->config.host->clients[i - 1].role : 0;

		*p = (struct party){.role = role < SERVER_ROLES ? role : 0};
		p->weight = weight_of[p->role];
		list_init(&p->turn_link);
		list_init(&p->work_link);
		list_init(&p->ready);
		list_init(&p->turn);
		list_init(&p->work);
	}
	for (int i = 0; i < SERVER_ADDRESSES; i++)
		s->addresses[i].handshakes = (struct net_rate){
			.burst = SERVER_HANDSHAKE_BURST,
			.interval_us = SERVER_HANDSHAKE_INTERVAL_US,
		};
}

void admit_begin(struct server *s)
{
	s->polls++;
	s->handshakes_left = SERVER_HANDSHAKES_PER_POLL;
}

/* Of `total`, what a party may have: all but what the others have for sure. */
static uint32_t share(const struct server *s, uint32_t total, uint32_t sure)
{
	uint32_t others = sure * (s->party_count - 1);

	return MAX(total > others ? total - others : 0, total / s->party_count);
}

/* Credit that was not used is not kept; what was used too much has to come back first. */
static int64_t credit(struct party *p, uint64_t polls)
{
	const int64_t each = (int64_t)(p->weight * SERVER_CREDIT);

	p->credit = MIN(p->credit + each * (int64_t)(polls - p->credit_at), each);
	p->credit_at = polls;
	return p->credit;
}

void admit_charge(struct conn *c, uint32_t n)
{
	c->party->credit -= n;
}

/* ---- connections ---- */

static bool address_idle(const struct server_address *a, uint64_t now)
{
	return !a->strangers && a->handshakes.full_at <= now;
}

/* What is known of an address. Of those without strangers, the one that is forgotten rests longest. */
static struct server_address *address_of(struct server *s, uint32_t from)
{
	struct server_address *best = NULL;

	for (int i = 0; i < SERVER_ADDRESSES; i++) {
		struct server_address *a = &s->addresses[i];

		if (a->address == from && !address_idle(a, s->now_us))
			return a;
		if (!a->strangers && (!best || a->handshakes.full_at < best->handshakes.full_at))
			best = a;
	}
	best->address = from;
	best->handshakes.full_at = 0;
	return best;
}

/* The oldest stranger of an address. */
static void displace(struct server *s, const struct server_address *a)
{
	LIST_FOR_EACH (it, &s->timers[TIMER_HELLO]) {
		struct conn *c = timer_conn(it, TIMER_HELLO);

		if (c->address == a) {
			s->refused++;
			conn_close(c, true);
			return;
		}
	}
}

void admit_stranger(struct server *s, uint32_t from)
{
	struct server_address *most = address_of(s, from);

	if (most->strangers >= SERVER_STRANGERS_PER_ADDRESS) {
		displace(s, most);
		return;
	}
	if (s->strangers < SERVER_STRANGERS)
		return;
	for (int i = 0; i < SERVER_ADDRESSES; i++) {
		if (s->addresses[i].strangers > most->strangers)
			most = &s->addresses[i];
	}
	if (most->strangers == 1 && !list_empty(&s->timers[TIMER_HELLO])) /* each has: the oldest */
		most = timer_conn(s->timers[TIMER_HELLO].next, TIMER_HELLO)->address;
	displace(s, most);
}

void admit_stranger_in(struct conn *c, uint32_t from)
{
	c->party = &c->server->parties[0];
	c->party->conns++;
	c->address = address_of(c->server, from);
	c->address->strangers++;
	c->server->strangers++;
}

static void stranger_out(struct conn *c)
{
	c->address->strangers--;
	c->address = NULL;
	c->server->strangers--;
}

bool admit_handshake(struct conn *c)
{
	struct server *s = c->server;

	if (!s->handshakes_left)
		return false;
	if (!rate_allow(&c->address->handshakes, s->now_us)) {
		s->handshakes_slowed++;
		list_remove(&c->link);
		list_push_back(&s->slowed, &c->link);
		return false;
	}
	s->handshakes_left--;
	s->handshakes++;
	return true;
}

bool admit_enter(struct conn *c)
{
	struct server *s = c->server;
	struct party *from = c->party, *to = from;

	/* One that proved its key gives back what its handshake took of its address. */
	if (c->channel.client) {
		to = &s->parties[1 + (c->channel.client - s->config.host->clients)];
		c->address->handshakes.full_at -= c->address->handshakes.interval_us;
	}
	stranger_out(c);
	if (to != from && to->conns >= share(s, s->config.connections, SERVER_SURE_CONNECTIONS))
		return false;
	from->conns--;
	from->receive_held -= c->rx != NULL;
	from->send_held -= c->tx != NULL;
	c->party = to;
	to->conns++;
	to->receive_held += c->rx != NULL;
	to->send_held += c->tx != NULL;
	return true;
}

void admit_drop(struct conn *c)
{
	LIST_FOR_EACH_SAFE (it, tmp, &c->tickets)
		ticket_free(c, LIST_ENTRY(it, struct ticket, link));
	list_remove(&c->work);
	if (c->address)
		stranger_out(c);
}

void admit_leave(struct conn *c)
{
	admit_drop(c);
	c->party->conns--;
}

bool admit_has_buffer(const struct conn *c, const struct server_pool *pool, uint32_t held)
{
	return pool->free && held < share(c->server, pool->count, SERVER_SURE_BUFFERS);
}

void *admit_buffer(struct conn *c, struct server_pool *pool, uint32_t *held)
{
	if (!admit_has_buffer(c, pool, *held))
		return NULL;
	++*held;
	return pool_take(pool);
}

bool admit_request(const struct conn *c)
{
	const struct server *s = c->server;

	return c->party->requests < share(s, s->config.requests, SERVER_SURE_REQUESTS);
}

/* ---- requests that wait ---- */

void ticket_free(struct conn *c, struct ticket *t)
{
	struct server *s = c->server;

	list_remove(&t->link);
	c->ticket_count--;
	c->party->queued--;
	s->queued[c->party->role]--;
	block_free(s, &s->large_tickets, t->large);
	block_free(s, &s->tickets, t);
}

struct ticket *admit_find(struct conn *c, uint64_t number)
{
	LIST_FOR_EACH (it, &c->tickets) {
		struct ticket *t = LIST_ENTRY(it, struct ticket, link);

		if (t->number == number)
			return t;
	}
	return NULL;
}

/* How long the queue takes, by the request that has come through it last. */
static uint32_t retry_ms(const struct party *p)
{
	uint64_t ms = p->wait_us / 1000;

	return (uint32_t)MIN(MAX(ms, SERVER_RETRY_MIN_MS + 0ull), SERVER_RETRY_MAX_MS + 0ull);
}

/* Why a request can't wait, or NULL. */
static const char *queue_full(const struct conn *c)
{
	const struct server *s = c->server;
	const struct party *p = c->party;

	if (c->ticket_count + c->request_count >= SERVER_REQUESTS_PER_CONN)
		return "as many requests as a connection may have are in progress";
	if (p->queued >= SERVER_QUEUE_PER_CLIENT)
		return "as many requests of this client wait as may";
	if (p->queued >= SERVER_QUEUE_SURE && s->queued[p->role] >= SERVER_QUEUE_PER_ROLE)
		return "as many requests of clients with this role wait as may";
	if (!s->tickets.free)
		return "as many requests wait as the host can hold";
	return NULL;
}

static void refuse(struct conn *c, uint64_t number, const char *why)
{
	c->server->requests_refused++;
	c->party->refused++;
	conn_refuse(c, number, retry_ms(c->party), "%s", why);
}

static void let_wait(struct conn *c, const struct proto_header *h, const uint8_t *frame)
{
	struct server *s = c->server;
	const char *why = queue_full(c);
	uint8_t *large = NULL;

	if (!why && h->length > SERVER_TICKET_BYTES) {
		large = pool_take(&s->large_tickets);
		if (!large)
			why = "as many long requests wait as the host can hold";
	}
	if (why) {
		refuse(c, h->request, why);
		return;
	}
	struct ticket *t = pool_take(&s->tickets);

	t->number = h->request;
	t->since_us = host_now_us();
	t->large = large;
	memcpy(large ? large : t->bytes, frame, h->length);
	list_push_back(&c->tickets, &t->link);
	c->ticket_count++;
	c->party->queued++;
	s->queued[c->party->role]++;
}

void admit_frame(struct conn *c, const struct proto_header *h, const uint8_t *frame,
	const union proto_message *m)
{
	struct party *p = c->party;

	if (credit(p, c->server->polls) <= 0 || !list_empty(&c->tickets) || !list_empty(&p->work)) {
		let_wait(c, h, frame);
		return;
	}
	admit_charge(c, 1);
	p->begun++;
	c->server->requests_begun++;
	c->frame = frame;
	c->frame_size = h->length;
	request_start(c, h->request, h->type, m, host_now_us());
}

static void ticket_begin(struct conn *c)
{
	struct ticket *t = LIST_ENTRY(c->tickets.next, struct ticket, link);
	const uint8_t *frame = t->large ? t->large : t->bytes;
	struct party *p = c->party;
	union proto_message m;
	struct proto_header h;

	/* Out of the queue first: what is in it may be dropped, and our frame must stay for now. */
	list_remove(&t->link);
	admit_charge(c, 1);
	p->begun++;
	c->server->requests_begun++;
	p->wait_us = host_now_us() - t->since_us;
	if (proto_header(frame, PROTO_HEADER_SIZE, &h) == OK && proto_decode(&h, frame, &m) == OK) {
		c->frame = frame;
		c->frame_size = h.length;
		request_start(c, t->number, h.type, &m, t->since_us);
	}
	ticket_free(c, t);
}

/* ---- going on ---- */

static bool has_work(const struct conn *c)
{
	return !list_empty(&c->ready_requests) || !list_empty(&c->tickets);
}

static void request_step(struct conn *c)
{
	struct request *r = LIST_ENTRY(c->ready_requests.next, struct request, ready);

	list_remove(&r->ready);
	c->auditing = &r->audit;
	c->entry = r->entry;
	c->many = true;
	enum step step = r->step(r);

	c->entry = NULL;
	switch (step) {
	case STEP_OVER:
		admit_latency(c->server, r->kind, r->since_us);
		request_free(r);
		break;
	case STEP_MORE:
		list_remove(&r->ready); /* it may have woken itself */
		list_push_back(&c->ready_requests, &r->ready);
		break;
	case STEP_WAIT:
		break;
	}
	c->auditing = NULL;
}

/* A step of a request, or a ticket's beginning, in turn. False: it has nothing to do, or no room. */
static bool conn_step(struct conn *c)
{
	bool step = !list_empty(&c->ready_requests), ticket = !list_empty(&c->tickets);

	if (c->closing || !(step || ticket) || !conn_room(c, CONN_ROOM))
		return false;
	c->step_next = !c->step_next;
	if (step && (c->step_next || !ticket))
		request_step(c);
	else
		ticket_begin(c);
	return true;
}

void admit_work(struct conn *c)
{
	struct party *p = c->party;

	if (list_empty(&p->work)) {
		for (int i = 0; i < SERVER_STEPS_PER_TURN && credit(p, c->server->polls) > 0; i++) {
			if (!conn_step(c))
				break;
		}
	}
	if (c->closing || !has_work(c) || !conn_room(c, CONN_ROOM))
		return;
	if (list_empty(&c->work))
		list_push_back(&p->work, &c->work);
	if (list_empty(&p->work_link))
		list_push_back(&c->server->working, &p->work_link);
}

/* One thing of the party's next conn, which then goes to the end of its line, or out of it. */
static void party_work(struct party *p)
{
	struct conn *c = LIST_ENTRY(p->work.next, struct conn, work);

	list_remove(&c->work);
	c->in_turn = true;
	bool done = conn_step(c);

	c->in_turn = false;
	if (done && has_work(c) && !c->closing && conn_room(c, CONN_ROOM)) {
		/* In its turn it sends what it has to say by then. */
		list_push_back(&p->work, &c->work);
		if (list_empty(&c->link))
			conn_wake(c);
		return;
	}
	if (!conn_flush(c))
		return;
	if (has_work(c) && list_empty(&c->link) && (conn_room(c, CONN_ROOM) || !c->tx))
		conn_wake(c);
	else
		conn_trim(c);
}

bool admit_poll(struct server *s)
{
	struct list spent;

	list_init(&spent);
	for (int i = 0; i < SERVER_WORK_PER_POLL && !list_empty(&s->working); i++) {
		struct party *p = LIST_ENTRY(s->working.next, struct party, work_link);

		list_remove(&p->work_link);
		if (list_empty(&p->work))
			continue;
		if (credit(p, s->polls) <= 0) {
			list_push_back(&spent, &p->work_link);
			continue;
		}
		party_work(p);
		if (!list_empty(&p->work))
			list_push_back(&s->working, &p->work_link);
	}
	list_move(&s->working, &spent);
	return !list_empty(&s->working);
}

void admit_latency(struct server *s, enum server_work kind, uint64_t since_us)
{
	struct server_histogram *h = &s->latency[kind];

	if (!since_us)
		return;
	uint64_t us = host_now_us() - since_us;
	unsigned bucket = us ? 64 - (unsigned)__builtin_clzll(us) : 0;

	h->count++;
	h->sum_us += us;
	h->bucket[MIN(bucket, (unsigned)SERVER_BUCKETS - 1)]++;
}
