/*
 * Events: what happens to guests, snapshots and images, told to those who asked. Each request has a queue
 * of its own, of bounded size, in which events wait as the frames that they will be; what finds no room
 * there is counted, and the client is told how many it has missed. Nobody waits for a slow client.
 */
#include "mgmt/server_internal.h"

static bool nobody_listens(const struct server *s)
{
	return list_empty(&s->listeners);
}

static bool listens(const struct request *r, uint16_t owner, bool public, const struct proto_event *m)
{
	return conn_sees(r->conn, (enum proto_kind)m->kind, owner, public) &&
	       labels_match(m->labels, r->events.selector);
}

/* Puts an event behind those that wait. */
static void put(struct request *r, struct proto_event *m)
{
	struct events_state *e = &r->events;
	size_t n;

	if (e->head == e->tail)
		e->head = e->tail = 0;
	if (e->head && SERVER_EVENT_QUEUE - e->tail < PROTO_ANSWER_MAX) {
		memmove(e->queue, e->queue + e->head, e->tail - e->head);
		e->tail -= e->head;
		e->head = 0;
	}
	m->lost = e->lost;
	n = proto_encode(e->queue + e->tail, SERVER_EVENT_QUEUE - e->tail, PROTO_EVENT, 0,
		r->number, m);
	e->tail += (uint32_t)n;
	e->lost = n ? 0 : e->lost + 1;
	request_wake(r);
}

static void spread(struct server *s, struct proto_event *m, uint16_t owner, bool public)
{
	m->time_ns = host_wall_ns();
	fmt(m->owner, sizeof(m->owner), "%s", owner_name(owner));
	LIST_FOR_EACH (it, &s->listeners) {
		struct request *r = LIST_ENTRY(it, struct request, look);

		if (listens(r, owner, public, m))
			put(r, m);
	}
}

static void spread_guest(struct server *s, const struct guest_info *g, enum proto_what what)
{
	struct proto_event m = {
		.what = (uint8_t)what,
		.kind = PROTO_KIND_GUEST,
		.id = g->id,
		.parent = g->parent,
		.state = (uint8_t)g->state,
		.stop = (uint8_t)g->stop,
		.exit_status = g->exit_status,
	};

	memcpy(m.name, g->name, sizeof(m.name));
	fmt(m.reason, sizeof(m.reason), "%s", g->reason);
	memcpy(m.labels, g->labels, sizeof(m.labels));
	spread(s, &m, g->owner, false);
}

static void spread_snapshot(struct server *s, const struct snapshot_info *i, enum proto_what what)
{
	struct proto_event m = {
		.what = (uint8_t)what,
		.kind = PROTO_KIND_SNAPSHOT,
		.id = i->id,
		.parent = i->parent,
	};

	memcpy(m.name, i->name, sizeof(m.name));
	memcpy(m.labels, i->labels, sizeof(m.labels));
	spread(s, &m, i->owner, i->public);
}

static void spread_image(struct server *s, const struct image_info *i, enum proto_what what)
{
	struct proto_event m = {.what = (uint8_t)what, .kind = PROTO_KIND_IMAGE, .id = i->id};

	memcpy(m.name, i->name, sizeof(m.name));
	spread(s, &m, i->owner, i->public);
}

/* The thing as it is now; of one that is about to go, before it is gone. */
struct last_look {
	union {
		struct guest_info guest;
		struct snapshot_info snapshot;
		struct image_info image;
	};
};

static bool look(struct last_look *l, enum proto_kind kind, uint64_t id)
{
	switch (kind) {
	case PROTO_KIND_GUEST:
		return guest_get(id, &l->guest) == OK;
	case PROTO_KIND_SNAPSHOT:
		return snapshot_get(id, &l->snapshot) == OK;
	default:
		return image_next(id - 1, &l->image) == OK && l->image.id == id;
	}
}

static void tell(struct server *s, const struct last_look *l, enum proto_kind kind, enum proto_what what)
{
	if (kind == PROTO_KIND_GUEST)
		spread_guest(s, &l->guest, what);
	else if (kind == PROTO_KIND_SNAPSHOT)
		spread_snapshot(s, &l->snapshot, what);
	else
		spread_image(s, &l->image, what);
}

void event_of(struct server *s, enum proto_kind kind, uint64_t id, enum proto_what what)
{
	struct last_look l;

	if (!nobody_listens(s) && look(&l, kind, id))
		tell(s, &l, kind, what);
}

int remove_and_tell(
	struct server *s, enum proto_kind kind, uint64_t id, int (*remove)(uint64_t id))
{
	struct last_look l;
	bool known = !nobody_listens(s) && look(&l, kind, id);
	int err = remove(id);

	if (err == OK && known)
		tell(s, &l, kind, PROTO_EVENT_REMOVED);
	return err;
}

void event_of_news(struct server *s, uint64_t guest, unsigned news)
{
	struct snapshot_info i;

	if (nobody_listens(s))
		return;
	if (news & NEWS_CREATED)
		event_of(s, PROTO_KIND_GUEST, guest, PROTO_EVENT_CREATED);
	/* Snapshots that guests take of themselves, and that clients have had taken, in order. */
	while ((news & NEWS_SNAPSHOT) && snapshot_next(s->snapshot_seen, &i) == OK) {
		s->snapshot_seen = i.id;
		spread_snapshot(s, &i, PROTO_EVENT_CREATED);
	}
	if (news & NEWS_STATE)
		event_of(s, PROTO_KIND_GUEST, guest, PROTO_EVENT_STATE);
}

/* ---- the request ---- */

static enum step events_step(struct request *r)
{
	struct events_state *e = &r->events;
	uint32_t size;
	uint8_t *at;

	while (e->head < e->tail) {
		struct proto_header h;

		if (proto_header(e->queue + e->head, e->tail - e->head, &h) < 0)
			break;
		size = h.length;
		at = conn_room(r->conn, CONN_ROOM);
		if (!at)
			return STEP_MORE;
		memcpy(at, e->queue + e->head, size);
		conn_sent(r->conn, size);
		e->head += size;
	}
	if (e->lost && conn_room(r->conn, CONN_ROOM)) {
		struct proto_event m = {.lost = e->lost, .time_ns = host_wall_ns()};

		e->lost = 0;
		conn_send(r->conn, PROTO_EVENT, 0, r->number, &m);
	}
	return STEP_WAIT;
}

static void events_release(struct request *r)
{
	struct server *s = r->conn->server;

	list_remove(&r->look);
	if (nobody_listens(s))
		guest_tell_made(false);
	block_free(s, &s->event_queues, r->events.queue);
}

void events_start(struct conn *c, uint64_t number, const struct proto_get_events *m)
{
	struct proto_event begun = {.time_ns = host_wall_ns()};
	struct server *s = c->server;
	struct snapshot_info i;
	struct request *r;

	if (!selector_right(c, number, m->selector))
		return;
	r = request_new(c, number);
	if (!r)
		return;
	r->events.queue = pool_take(&s->event_queues);
	if (!r->events.queue) {
		conn_error(c, number, PROTO_E_RETRY,
			"%u clients are told of events, all that the host can",
			s->event_queues.count);
		request_free(r);
		return;
	}
	memcpy(r->events.selector, m->selector, sizeof(m->selector));
	/* What was taken while nobody listened is no news. */
	while (nobody_listens(s) && snapshot_next(s->snapshot_seen, &i) == OK)
		s->snapshot_seen = i.id;
	r->release = events_release;
	r->step = events_step;
	guest_tell_made(true);
	list_push_back(&s->listeners, &r->look);
	conn_send(c, PROTO_EVENT, 0, number, &begun);
}
