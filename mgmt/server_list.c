/* What clients may look at: lists, single items, the host's figures and its log. */
#include "mgmt/server_internal.h"

static struct proto_guest guest_message(const struct guest_info *g)
{
	struct proto_guest m = {
		.id = g->id,
		.parent = g->parent,
		.lineage = g->lineage,
		.image = g->image,
		.state = (uint8_t)g->state,
		.stop = (uint8_t)g->stop,
		.exit_status = g->exit_status,
		.generation = g->generation,
		.memory = g->memory,
		.private_pages = g->private_pages,
		.max_pages = g->max_pages,
		.budget_pages = g->budget_pages,
		.weight = g->weight,
		.cpu_ns = g->cpu_ns,
		.created_ns = g->created_ns,
		.exits = g->exits,
		.faults = g->faults,
		.forks = g->forks,
		.children = g->children,
		.bytes_in = g->stream_bytes[STREAM_IN],
		.bytes_out = g->stream_bytes[STREAM_OUT],
		.bytes_err = g->stream_bytes[STREAM_ERR],
		.timeout_ns = g->timeout_ns,
		.deadline_ns = g->deadline_ns,
		.timeout_running = g->timeout_running,
	};

	fmt(m.name, sizeof(m.name), "%s", g->name);
	fmt(m.owner, sizeof(m.owner), "%s", owner_name(g->owner));
	fmt(m.reason, sizeof(m.reason), "%s", g->reason);
	memcpy(m.labels, g->labels, sizeof(m.labels));
	return m;
}

static struct proto_snapshot snapshot_message(const struct snapshot_info *s)
{
	struct proto_snapshot m = {
		.id = s->id,
		.parent = s->parent,
		.lineage = s->lineage,
		.image = s->image,
		.pages = s->pages,
		.forks = s->forks,
		.created_ns = s->created_ns,
		.public = s->public,
	};

	fmt(m.name, sizeof(m.name), "%s", s->name);
	fmt(m.owner, sizeof(m.owner), "%s", owner_name(s->owner));
	memcpy(m.labels, s->labels, sizeof(m.labels));
	return m;
}

void image_send(struct conn *c, uint64_t number, uint16_t flags, const struct image_info *i)
{
	struct proto_image m = {
		.id = i->id,
		.size = i->size,
		.memory = i->memory,
		.pages = i->pages,
		.created_ns = i->created_ns,
		.public = i->public,
	};

	fmt(m.name, sizeof(m.name), "%s", i->name);
	fmt(m.owner, sizeof(m.owner), "%s", owner_name(i->owner));
	conn_send(c, PROTO_IMAGE, flags, number, &m);
}

static bool same_lineage(const struct list_state *l, uint64_t lineage)
{
	return !l->ask.lineage || l->ask.lineage == lineage;
}

/* Images, and if all are wanted uploads that were cut off, in the order of their ids. */
static int list_image(struct request *r)
{
	struct list_state *l = &r->list;
	struct image_info info;
	struct proto_image upload;
	int err = image_next(l->ask.after, &info);

	if (l->ask.all && upload_next(r->conn, l->ask.after, &upload) &&
		(err < 0 || upload.id < info.id)) {
		l->ask.after = upload.id;
		conn_send(r->conn, PROTO_IMAGE, 0, r->number, &upload);
		l->count++;
		return OK;
	}
	if (err < 0)
		return err;
	l->ask.after = info.id;
	if (conn_sees(r->conn, PROTO_KIND_IMAGE, info.owner, info.public)) {
		image_send(r->conn, r->number, 0, &info);
		l->count++;
	}
	return OK;
}

/* Looks at the item after ask.after, and sends it, if it is asked for. ERR_NOENT: there is none. */
static int list_one(struct request *r)
{
	struct list_state *l = &r->list;
	union {
		struct guest_info guest;
		struct snapshot_info snapshot;
	} u;
	int err;

	switch (l->type) {
	case PROTO_LIST_GUESTS:
		err = guest_next(l->ask.after, &u.guest);
		if (err < 0)
			return err;
		l->ask.after = u.guest.id;
		if (conn_sees(r->conn, PROTO_KIND_GUEST, u.guest.owner, false) &&
			same_lineage(l, u.guest.lineage) &&
			labels_match(u.guest.labels, l->ask.selector) &&
			(l->ask.all || u.guest.state != GUEST_STOPPED)) {
			struct proto_guest m = guest_message(&u.guest);

			conn_send(r->conn, PROTO_GUEST, 0, r->number, &m);
			l->count++;
		}
		return OK;
	case PROTO_LIST_SNAPSHOTS:
		err = snapshot_next(l->ask.after, &u.snapshot);
		if (err < 0)
			return err;
		l->ask.after = u.snapshot.id;
		if (conn_sees(r->conn, PROTO_KIND_SNAPSHOT, u.snapshot.owner, u.snapshot.public) &&
			same_lineage(l, u.snapshot.lineage) &&
			labels_match(u.snapshot.labels, l->ask.selector)) {
			struct proto_snapshot m = snapshot_message(&u.snapshot);

			conn_send(r->conn, PROTO_SNAPSHOT, 0, r->number, &m);
			l->count++;
		}
		return OK;
	default:
		return list_image(r);
	}
}

static enum step list_step(struct request *r)
{
	struct list_state *l = &r->list;
	struct proto_done done = {0};

	admit_charge(r->conn, 1);
	for (int i = 0; i < SERVER_ITEMS_PER_STEP; i++) {
		if (!conn_room(r->conn, CONN_ROOM))
			return STEP_MORE;
		if (l->ask.max && l->count == l->ask.max) {
			done.next = l->ask.after;
			break;
		}
		if (list_one(r) < 0)
			break;
		if (i + 1 == SERVER_ITEMS_PER_STEP)
			return STEP_MORE;
	}
	done.count = l->count;
	conn_send(r->conn, PROTO_DONE, PROTO_FINAL, r->number, &done);
	return STEP_OVER;
}

void list_start(struct conn *c, uint64_t number, enum proto_type type, const struct proto_list *m)
{
	struct request *r;

	if (!selector_right(c, number, m->selector))
		return;
	r = request_new(c, number);
	if (!r)
		return;
	r->list = (struct list_state){.ask = *m, .type = type};
	r->step = list_step;
	request_wake(r);
}

void get_send(struct conn *c, uint64_t number, const struct proto_get *m)
{
	const unsigned all =
		1u << PROTO_KIND_GUEST | 1u << PROTO_KIND_SNAPSHOT | 1u << PROTO_KIND_IMAGE;
	union {
		struct guest_info guest;
		struct snapshot_info snapshot;
		struct image_info image;
	} u;
	union proto_message answer;
	enum proto_kind kind;
	uint64_t id;

	if (!ref_resolve(c, number, &m->ref, all, false, &id, &kind))
		return;
	switch (kind) {
	case PROTO_KIND_GUEST:
		guest_get(id, &u.guest);
		answer.guest = guest_message(&u.guest);
		conn_send(c, PROTO_GUEST, PROTO_FINAL, number, &answer);
		break;
	case PROTO_KIND_SNAPSHOT:
		snapshot_get(id, &u.snapshot);
		answer.snapshot = snapshot_message(&u.snapshot);
		conn_send(c, PROTO_SNAPSHOT, PROTO_FINAL, number, &answer);
		break;
	default:
		image_next(id - 1, &u.image);
		image_send(c, number, PROTO_FINAL, &u.image);
		break;
	}
}

void info_send(struct conn *c, uint64_t number)
{
	struct server *s = c->server;
	struct host_info h;

	host_info(&h, conn_sees_all(c) ? OWNER_ANY : conn_owner(c));
	struct proto_info m = {
		.boot_id = {h.boot_id[0], h.boot_id[1]},
		.cores = h.cores,
		.address = h.address,
		.tsc_khz = h.tsc_khz,
		.uptime_ns = h.uptime_ns,
		.wall_ns = h.wall_ns,
		.frames_total = h.frames_total,
		.frames_free = h.frames_free,
		.frames_quarantined = h.frames_quarantined,
		.frames_reserve = h.frames_reserve,
		.frames_table = h.frames_table,
		.frames_data = h.frames_data,
		.frames_state = h.frames_state,
		.frames_stream = h.frames_stream,
		.frames_image = h.frames_image,
		.frames_host = h.frames_host,
		.guests = h.guests,
		.guests_runnable = h.guests_runnable,
		.guests_waiting = h.guests_waiting,
		.guests_paused = h.guests_paused,
		.guests_stopped = h.guests_stopped,
		.snapshots = h.snapshots,
		.images = h.images,
		.connections = conn_sees_all(c) ? s->connections : 1,
		.requests = conn_sees_all(c) ? s->request_pool.used : c->request_count,
	};

	memcpy(m.mac, h.mac, sizeof(m.mac));
	fmt(m.version, sizeof(m.version), "%s", h.version);
	fmt(m.backend, sizeof(m.backend), "%s", h.backend);
	fmt(m.cpu, sizeof(m.cpu), "%s", h.cpu);
	conn_send(c, PROTO_INFO, PROTO_FINAL, number, &m);
}

static enum step meters_step(struct request *r)
{
	struct list_state *l = &r->list;
	struct proto_done done = {.count = METER_KINDS};

	for (; l->count < METER_KINDS; l->count++) {
		struct host_meter_value v;
		struct proto_meter m = {0};

		if (!conn_room(r->conn, CONN_ROOM))
			return STEP_MORE;
		host_meter((enum host_meter)l->count, &v);
		m.count = v.count;
		m.ticks = v.ticks;
		m.last = v.last;
		m.min = v.min;
		m.max = v.max;
		fmt(m.name, sizeof(m.name), "%s", host_meter_name((enum host_meter)l->count));
		conn_send(r->conn, PROTO_METER, 0, r->number, &m);
	}
	if (l->ask.all)
		host_meter_reset();
	conn_send(r->conn, PROTO_DONE, PROTO_FINAL, r->number, &done);
	return STEP_OVER;
}

void meters_start(struct conn *c, uint64_t number, const struct proto_get_meters *m)
{
	struct request *r = request_new(c, number);

	if (!r)
		return;
	r->list = (struct list_state){.ask = {.all = m->reset}};
	r->step = meters_step;
	request_wake(r);
}

static enum step log_step(struct request *r)
{
	struct log_state *l = &r->log;
	struct conn *c = r->conn;
	size_t room = MIN(conn_data_room(c), l->credit);
	const size_t head = PROTO_HEADER_SIZE + PROTO_DATA_FIXED;

	if (room < LOG_LINE_MAX)
		return l->credit < LOG_LINE_MAX ? STEP_WAIT : STEP_MORE;
	uint8_t *at = conn_room(c, head + room);
	size_t size = host_log(&l->seq, (char *)at + head, room);

	if (size) {
		/* The position is that of the next line, where another request may go on. */
		conn_sent(c, proto_encode_data_head(at, r->number, PROTO_STREAM_LOG, false, l->seq,
				     (uint32_t)size));
		l->credit -= (uint32_t)size;
		return STEP_MORE;
	}
	if (l->follow)
		return STEP_WAIT;
	struct proto_done done = {.next = l->seq};

	conn_send(c, PROTO_DONE, PROTO_FINAL, r->number, &done);
	return STEP_OVER;
}

void log_start(struct conn *c, uint64_t number, const struct proto_get_log *m)
{
	struct request *r = request_new(c, number);

	if (!r)
		return;
	r->log = (struct log_state){.seq = m->position, .credit = m->credit, .follow = m->follow};
	r->step = log_step;
	if (m->follow)
		request_look(r);
	request_wake(r);
}

uint32_t *log_credit(struct request *r, uint8_t stream)
{
	return r->step == log_step && stream == PROTO_STREAM_LOG ? &r->log.credit : NULL;
}
