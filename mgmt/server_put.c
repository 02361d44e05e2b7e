/*
 * Uploads: images in the making. One that is cut off is kept for its owner, and the next PUT of the
 * same file, by its size and hash, goes on where it was. Of an owner so many uploads and bytes are kept
 * as mgmt/server.h says, and the oldest gives way to a new one; all do as soon as memory is short. So
 * nothing that is kept takes from others.
 */
#include "mgmt/server_internal.h"

struct kept_upload {
	struct list link; /* kept of the server, the oldest first */
	struct upload upload;
	uint64_t since_ns, until_us;
};

size_t uploads_memory(const struct server_config *config)
{
	return align_up(sizeof(struct kept_upload), 16) * uploads_kept_most(config);
}

/* ---- what is kept ---- */

static struct kept_upload *kept_of(struct list *link)
{
	return LIST_ENTRY(link, struct kept_upload, link);
}

static void forget(struct server *s, struct kept_upload *k)
{
	s->kept_bytes -= k->upload.received;
	list_remove(&k->link);
	block_free(s, &s->kept_pool, k);
}

static void drop(struct server *s, struct kept_upload *k)
{
	image_abort(k->upload.id);
	forget(s, k);
}

/* False: so many bytes are more than an owner may have. */
static bool make_room(struct server *s, uint16_t owner, uint64_t bytes)
{
	uint64_t free, total, most, held;
	struct kept_upload *oldest;
	uint32_t count;

	host_memory(&free, &total);
	most = total / SERVER_KEPT_SHARE * PAGE_SIZE;
	if (bytes > most)
		return false;
	do {
		oldest = NULL;
		held = count = 0;
		LIST_FOR_EACH (it, &s->kept) {
			struct kept_upload *k = kept_of(it);

			if (k->upload.owner != owner)
				continue;
			oldest = oldest ? oldest : k;
			held += k->upload.received;
			count++;
		}
		if (count < SERVER_KEPT_PER_OWNER && held + bytes <= most)
			return true;
		drop(s, oldest);
	} while (true);
}

static void keep(struct server *s, const struct upload *u)
{
	struct kept_upload *k = NULL;

	if (u->received && make_room(s, u->owner, u->received))
		k = pool_take(&s->kept_pool);
	if (!k) {
		image_abort(u->id);
		return;
	}
	*k = (struct kept_upload){.upload = *u,
		.since_ns = host_wall_ns(),
		.until_us = s->now_us + SERVER_KEPT_US};
	if (list_empty(&s->kept))
		s->kept_due_us = s->now_us + SERVER_KEPT_LOOK_US;
	list_push_back(&s->kept, &k->link);
	s->kept_bytes += u->received;
}

void uploads_poll(struct server *s)
{
	uint64_t free, total;

	if (list_empty(&s->kept) || s->now_us < s->kept_due_us)
		return;
	s->kept_due_us = s->now_us + SERVER_KEPT_LOOK_US;
	host_memory(&free, &total);
	while (!list_empty(&s->kept)) {
		struct kept_upload *oldest = kept_of(s->kept.next);

		if (s->now_us < oldest->until_us && free >= total / SERVER_KEPT_SHARE)
			break;
		drop(s, oldest);
	}
}

bool uploads_give_way(struct server *s, int err)
{
	bool some = err == ERR_NOMEM && !list_empty(&s->kept);

	while (some && !list_empty(&s->kept))
		drop(s, kept_of(s->kept.next));
	return some;
}

/* The one with the lowest id above `after` that the client may see. */
static struct kept_upload *next_kept(const struct conn *c, uint64_t after)
{
	struct kept_upload *found = NULL;

	LIST_FOR_EACH (it, &c->server->kept) {
		struct kept_upload *k = kept_of(it);

		if (k->upload.id > after && (!found || k->upload.id < found->upload.id) &&
			(conn_sees_all(c) || k->upload.owner == conn_owner(c)))
			found = k;
	}
	return found;
}

bool upload_next(const struct conn *c, uint64_t after, struct proto_image *m)
{
	const struct kept_upload *k = next_kept(c, after);

	if (!k)
		return false;
	*m = (struct proto_image){
		.id = k->upload.id,
		.size = k->upload.size,
		.received = k->upload.received,
		.upload = 1,
		.pages = align_up(k->upload.received, PAGE_SIZE) / PAGE_SIZE,
		.created_ns = k->since_ns,
	};
	fmt(m->name, sizeof(m->name), "%s", k->upload.name);
	fmt(m->owner, sizeof(m->owner), "%s", owner_name(k->upload.owner));
	return true;
}

bool upload_remove(struct conn *c, uint64_t id)
{
	struct kept_upload *k = id ? next_kept(c, id - 1) : NULL;

	if (!k || k->upload.id != id || !conn_changes(c, k->upload.owner))
		return false;
	drop(c->server, k);
	return true;
}

/* ---- what goes on ---- */

static enum step put_step(struct request *r)
{
	struct put_state *p = &r->put;
	struct image_info info;
	uint64_t id;
	int err;

	if (!p->commits)
		return STEP_WAIT;
	err = image_commit(p->upload.id, p->upload.name, &id);
	if (err == ERR_AGAIN)
		return STEP_MORE;
	if (err == OK) {
		p->upload.id = 0;
		event_of(r->conn->server, PROTO_KIND_IMAGE, id, PROTO_EVENT_CREATED);
		err = image_next(id - 1, &info);
	}
	p->spoilt = true;
	if (err < 0)
		request_error(r->conn, r->number, err);
	else
		image_send(r->conn, r->number, PROTO_FINAL, &info);
	return STEP_OVER;
}

bool request_is_put(const struct request *r)
{
	return r->step == put_step;
}

static void put_release(struct request *r)
{
	struct put_state *p = &r->put;

	if (p->upload.id && p->spoilt)
		image_abort(p->upload.id);
	else if (p->upload.id)
		keep(r->conn->server, &p->upload);
	if (--r->conn->uploads == 0)
		timer_stop(r->conn, TIMER_UPLOAD);
}

void put_abandon(struct request *r)
{
	r->put.spoilt = true;
	request_free(r);
}

/* The same file of the same owner. */
static bool same_file(const struct upload *u, const struct conn *c, const struct proto_put *m)
{
	return u->owner == conn_owner(c) && u->size == m->size && memcmp(u->hash, m->hash, sizeof(u->hash)) == 0;
}

/* What the client sends elsewhere, where it has not been heard of lately, is cut off. */
static void cut_silent(struct conn *c, const struct proto_put *m)
{
	LIST_FOR_EACH_SAFE (it, tmp, &c->server->uploading) {
		struct request *r = LIST_ENTRY(it, struct request, watch);

		if (same_file(&r->put.upload, c, m) && !r->put.commits &&
			c->server->now_us - r->conn->active_us >= SERVER_SILENT_US)
			request_supplant(r);
	}
}

/* Takes up the upload of this file that has got furthest, if any is kept. */
static bool take_up(struct conn *c, const struct proto_put *m, struct upload *u)
{
	struct kept_upload *best = NULL;

	cut_silent(c, m);
	LIST_FOR_EACH (it, &c->server->kept) {
		struct kept_upload *k = kept_of(it);

		if (same_file(&k->upload, c, m) &&
			(!best || k->upload.received > best->upload.received))
			best = k;
	}
	if (!best)
		return false;
	*u = best->upload;
	forget(c->server, best);
	return true;
}

static int begin(struct conn *c, const struct proto_put *m, struct upload *u)
{
	*u = (struct upload){.size = m->size, .owner = conn_owner(c)};
	memcpy(u->hash, m->hash, sizeof(u->hash));
	blake2s_init(&u->so_far, BLAKE2S_HASH_SIZE, NULL, 0);
	return image_begin(m->size, u->owner, &u->id);
}

void put_start(struct conn *c, uint64_t number, const struct proto_put *m)
{
	struct proto_upload answer = {.credit = SERVER_UPLOAD_CREDIT};
	struct request *r;
	struct upload *u;
	int err;

	if (c->uploads == SERVER_UPLOADS_PER_CONN) {
		conn_error(c, number, PROTO_E_LIMIT,
			"%u uploads are going on, the limit of a connection",
			SERVER_UPLOADS_PER_CONN);
		return;
	}
	r = request_new(c, number);
	if (!r)
		return;
	u = &r->put.upload;
	r->put.credit = SERVER_UPLOAD_CREDIT;
	err = take_up(c, m, u) ? OK : begin(c, m, u);
	if (err < 0) {
		request_error(c, number, err);
		request_free(r);
		return;
	}
	memcpy(u->name, m->name, sizeof(u->name));
	c->uploads++;
	r->step = put_step;
	r->release = put_release;
	list_push_back(&c->server->uploading, &r->watch);
	timer_start(c, TIMER_UPLOAD);
	answer.id = u->id;
	answer.offset = u->received;
	conn_send(c, PROTO_UPLOAD, 0, number, &answer);
}

static void give_credit(struct request *r)
{
	struct proto_credit credit = {
		.stream = PROTO_STREAM_UPLOAD,
		.bytes = SERVER_UPLOAD_CREDIT - r->put.credit,
	};

	if (r->put.credit > SERVER_UPLOAD_CREDIT / 2)
		return;
	r->put.credit = SERVER_UPLOAD_CREDIT;
	conn_send(r->conn, PROTO_CREDIT, 0, r->number, &credit);
}

void put_data(struct request *r, const struct proto_data *m)
{
	struct conn *c = r->conn;
	struct put_state *p = &r->put;
	struct upload *u = &p->upload;
	int err;

	if (m->stream != PROTO_STREAM_UPLOAD || m->position != u->received ||
		m->bytes.size > p->credit) {
		conn_fatal(c, r->number, PROTO_E_PROTOCOL,
			"an upload's data must be in order and within its credit");
		return;
	}
	if (m->bytes.size > u->size - u->received) {
		conn_error(c, r->number, PROTO_E_TOOBIG, "more data than the %llu bytes announced",
			(unsigned long long)u->size);
		put_abandon(r);
		return;
	}
	err = m->bytes.size ? image_append(u->id, m->bytes.data, m->bytes.size) : OK;
	if (err < 0) {
		request_error(c, r->number, err);
		put_abandon(r);
		return;
	}
	blake2s_update(&u->so_far, m->bytes.data, m->bytes.size);
	u->received += m->bytes.size;
	p->credit -= m->bytes.size;
	timer_start(c, TIMER_UPLOAD);
	give_credit(r);
}

static void hash_text(char text[2 * BLAKE2S_HASH_SIZE + 1], const uint8_t hash[BLAKE2S_HASH_SIZE])
{
	for (size_t i = 0; i < BLAKE2S_HASH_SIZE; i++)
		fmt(text + 2 * i, 3, "%02x", hash[i]);
}

/* False: the client has been told that what came is something else. */
static bool hash_right(struct conn *c, uint64_t number, const struct upload *u)
{
	char came[2 * BLAKE2S_HASH_SIZE + 1], announced[2 * BLAKE2S_HASH_SIZE + 1];
	struct blake2s all = u->so_far; /* which goes on, if the commit is cut off */
	uint8_t hash[BLAKE2S_HASH_SIZE];

	blake2s_final(&all, hash);
	if (memcmp(hash, u->hash, sizeof(hash)) == 0)
		return true;
	hash_text(came, hash);
	hash_text(announced, u->hash);
	conn_error(c, number, PROTO_E_INVALID, "%s: the hash of what came is %s, not %s", u->name, came,
		announced);
	return false;
}

void put_commit(struct request *r)
{
	struct put_state *p = &r->put;
	const struct upload *u = &p->upload;
	struct conn *c = r->conn;

	if (p->commits)
		return;
	if (u->received != u->size) {
		conn_error(c, r->number, PROTO_E_INVALID, "the upload has %llu bytes of %llu",
			(unsigned long long)u->received, (unsigned long long)u->size);
		put_abandon(r);
		return;
	}
	if (!hash_right(c, r->number, u)) {
		put_abandon(r);
		return;
	}
	p->commits = true;
	request_wake(r);
}
