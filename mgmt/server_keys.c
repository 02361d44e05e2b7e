/*
 * Requests that come again. A client gives what changes something a key of its own choice, and when the
 * answer was lost sends it once more: it is answered from memory, and nothing is done twice. Each
 * client has a ring of its last requests with a key; the ids of batches lie in blocks that all share.
 *
 * What failed has changed nothing, and is not remembered: it is tried again. What was interrupted with
 * its connection goes on where it was; what still goes on for another connection moves to the new one.
 */
#include "mgmt/server_internal.h"

#define IDS_PER_BLOCK ((KEY_BLOCK_SIZE - sizeof(void *)) / sizeof(uint64_t))

/* Ids of guests made by one request, in order; 0: that one could not be made. */
struct id_block {
	struct id_block *next;
	uint64_t id[IDS_PER_BLOCK];
};

_Static_assert(sizeof(struct id_block) == KEY_BLOCK_SIZE, "ids fill a block");

struct key_entry {
	struct proto_key key; /* all zero: the entry is free */
	uint64_t digest;      /* of the request */
	uint64_t id;          /* of what was made; of what was attached to */
	uint64_t count;       /* of DONE */
	struct request *running;
	struct id_block *ids, *last;
	uint32_t stored; /* results in `ids` */
	uint16_t type, fail_code;
	uint16_t next; /* in its bucket: index + 1 */
	bool done;
	bool forgotten; /* there was no block for all ids */
};

struct key_ring {
	struct key_entry entry[SERVER_KEYS_PER_CLIENT];
	uint16_t bucket[SERVER_KEYS_PER_CLIENT]; /* index + 1 of the first */
	uint32_t at;                             /* the oldest, used next */
};

size_t keys_memory(const struct server_config *config)
{
	return align_up(sizeof(struct key_ring) * admit_parties(config), 16);
}

/* ---- the ring ---- */

static struct key_ring *ring_of(const struct conn *c)
{
	return &c->server->rings[c->party - c->server->parties];
}

/* Keys are random, unless a client wants its own ring to be slow. */
static uint16_t *bucket_of(struct key_ring *ring, const struct proto_key *key)
{
	uint64_t h;

	memcpy(&h, key->bytes, sizeof(h));
	return &ring->bucket[h % SERVER_KEYS_PER_CLIENT];
}

static struct key_entry *find(struct key_ring *ring, const struct proto_key *key)
{
	for (uint16_t i = *bucket_of(ring, key); i; i = ring->entry[i - 1].next) {
		if (memcmp(&ring->entry[i - 1].key, key, sizeof(*key)) == 0)
			return &ring->entry[i - 1];
	}
	return NULL;
}

static bool no_key(const struct proto_key *key)
{
	static const struct proto_key none;

	return memcmp(key, &none, sizeof(none)) == 0;
}

static void drop(struct server *s, struct key_ring *ring, struct key_entry *e)
{
	uint16_t *at = bucket_of(ring, &e->key), index = (uint16_t)(e - ring->entry + 1);

	while (*at != index)
		at = &ring->entry[*at - 1].next;
	*at = e->next;
	while (e->ids) {
		struct id_block *block = e->ids;

		e->ids = block->next;
		block_free(s, &s->key_blocks, block);
	}
	*e = (struct key_entry){0};
}

/* The oldest entry that is not in use, for this key. NULL: all are. */
static struct key_entry *add(struct server *s, struct key_ring *ring, const struct proto_key *key)
{
	for (uint32_t i = 0; i < SERVER_KEYS_PER_CLIENT; i++) {
		struct key_entry *e = &ring->entry[ring->at];

		ring->at = (ring->at + 1) % SERVER_KEYS_PER_CLIENT;
		if (e->running)
			continue;
		if (!no_key(&e->key))
			drop(s, ring, e);
		e->key = *key;
		e->next = *bucket_of(ring, key);
		*bucket_of(ring, key) = (uint16_t)(e - ring->entry + 1);
		return e;
	}
	return NULL;
}

/* FNV-1a over type and payload. A client that makes two of its own requests collide fools itself. */
static uint64_t digest(const uint8_t *frame, size_t size)
{
	uint64_t h = 0xcbf29ce484222325ull ^ frame[4] ^ (uint64_t)frame[5] << 8;

	for (size_t i = PROTO_HEADER_SIZE; i < size; i++)
		h = (h ^ frame[i]) * 0x100000001b3ull;
	return h;
}

/* NULL: such a request has no key. A batch does no harm when it is carried out again. */
static const struct proto_key *key_of(uint16_t type, const union proto_message *m)
{
	switch (type) {
	case PROTO_PUT:
	case PROTO_REMOVE_IMAGE:
	case PROTO_RUN:
	case PROTO_FORK:
	case PROTO_TAKE_SNAPSHOT:
	case PROTO_ROLLBACK:
	case PROTO_PAUSE:
	case PROTO_RESUME:
	case PROTO_KILL:
	case PROTO_REMOVE:
	case PROTO_SET_LIMIT:
	case PROTO_PUBLISH:
	case PROTO_LABEL:
		return &m->act.key; /* the first member of all of these */
	default:
		return NULL;
	}
}

_Static_assert(offsetof(struct proto_act, key) == 0 && offsetof(struct proto_put, key) == 0 &&
		       offsetof(struct proto_create, key) == 0 &&
		       offsetof(struct proto_take_snapshot, key) == 0 &&
		       offsetof(struct proto_rollback, key) == 0 &&
		       offsetof(struct proto_set_limit, key) == 0 &&
		       offsetof(struct proto_publish, key) == 0 &&
		       offsetof(struct proto_label, key) == 0,
	"a key is the first member");

/* ---- answers from memory ---- */

bool keys_result(const struct key_entry *e, uint32_t index, struct proto_result *result)
{
	const struct id_block *block = e->ids;

	if (index >= e->stored)
		return false;
	for (uint32_t i = index / IDS_PER_BLOCK; i; i--)
		block = block->next;
	*result = (struct proto_result){.index = index, .id = block->id[index % IDS_PER_BLOCK]};
	if (!result->id) {
		result->code = e->fail_code;
		fmt(result->text, sizeof(result->text),
			"it could not be made when this was asked for first");
	}
	return true;
}

static enum step replay_step(struct request *r)
{
	struct proto_done done = {.count = r->entry->count};
	struct proto_result result;

	for (int i = 0; i < SERVER_ITEMS_PER_STEP; i++) {
		if (!conn_room(r->conn, CONN_ROOM))
			return STEP_MORE;
		if (!keys_result(r->entry, (uint32_t)r->list.count, &result)) {
			conn_send(r->conn, PROTO_DONE, PROTO_FINAL, r->number, &done);
			return STEP_OVER;
		}
		conn_send(r->conn, PROTO_RESULT, 0, r->number, &result);
		r->list.count++;
	}
	return STEP_MORE;
}

static void replay_image(struct conn *c, uint64_t number, uint64_t id)
{
	struct image_info info;

	if (image_next(id - 1, &info) == OK && info.id == id)
		image_send(c, number, PROTO_FINAL, &info);
	else
		conn_error(c, number, PROTO_E_NOENT, "image %llu was put, and is gone since",
			(unsigned long long)id);
}

static void replay_attached(struct conn *c, uint64_t number, const struct key_entry *e,
	const union proto_message *m)
{
	const struct proto_attach attach = {
		.guest = {.kind = PROTO_KIND_GUEST, .id = e->id},
		.flags = (uint8_t)(m->create.attach | PROTO_ATTACH_FOLLOW | PROTO_ATTACH_HOLD),
		.credit = m->create.credit,
	};

	attach_start(c, number, &attach);
}

static void replay(struct conn *c, uint64_t number, struct key_entry *e)
{
	struct proto_result result = {.id = e->id};
	struct proto_done done = {.count = e->count};
	struct request *r;

	if (e->forgotten) {
		conn_error(c, number, PROTO_E_LIMIT,
			"this was carried out; what became of each is no longer remembered");
	} else if (e->type == PROTO_PUT) {
		replay_image(c, number, e->id);
	} else if (e->stored) {
		r = request_new(c, number);
		if (!r)
			return;
		r->entry = e;
		r->list = (struct list_state){0};
		r->step = replay_step;
		e->running = r;
		request_wake(r);
	} else {
		if (e->id)
			conn_send(c, PROTO_RESULT, 0, number, &result);
		conn_send(c, PROTO_DONE, PROTO_FINAL, number, &done);
	}
}

bool keys_answer(struct conn *c, uint64_t number, uint16_t type, const union proto_message *m)
{
	const struct proto_key *key = key_of(type, m);
	struct key_entry *e;
	uint64_t d;

	c->entry = NULL;
	if (!key || no_key(key))
		return false;
	d = digest(c->frame, c->frame_size);
	e = find(ring_of(c), key);
	if (!e) {
		e = add(c->server, ring_of(c), key);
		if (!e) {
			conn_error(c, number, PROTO_E_RETRY,
				"%d requests of this client with keys go on, all that are remembered",
				SERVER_KEYS_PER_CLIENT);
			return true;
		}
		e->digest = d;
		e->type = type;
		c->entry = e;
		return false;
	}
	if (e->digest != d) {
		conn_error(c, number, PROTO_E_INVALID,
			"the key of this request is that of another one, with other contents");
		return true;
	}
	if (e->running) {
		request_supplant(e->running);
		e = find(ring_of(c), key);
		if (!e) /* it had done nothing yet */
			return keys_answer(c, number, type, m);
	}
	if ((type == PROTO_RUN || type == PROTO_FORK) && m->create.attach)
		replay_attached(c, number, e, m);
	else if (e->done || e->forgotten)
		replay(c, number, e);
	else
		c->entry = e;
	return !c->entry;
}

/* ---- what is remembered ---- */

static void store(struct server *s, struct key_entry *e, uint64_t id, uint16_t code)
{
	if (e->forgotten)
		return;
	if (e->stored % IDS_PER_BLOCK == 0) {
		struct id_block *block = pool_take(&s->key_blocks);

		if (!block) {
			e->forgotten = true;
			return;
		}
		block->next = NULL;
		*(e->last ? &e->last->next : &e->ids) = block;
		e->last = block;
	}
	e->last->id[e->stored++ % IDS_PER_BLOCK] = id;
	if (!id)
		e->fail_code = code;
}

void keys_note(struct conn *c, uint16_t type, uint16_t flags, const void *message)
{
	const struct proto_result *result = message;
	struct key_entry *e = c->entry;

	if (type == PROTO_RESULT) {
		e->id = result->id;
		if (c->many && result->index == e->stored)
			store(c->server, e, result->id, result->code);
	}
	if (!(flags & PROTO_FINAL) || type == PROTO_ERROR)
		return;
	e->done = true;
	if (type == PROTO_IMAGE)
		e->id = ((const struct proto_image *)message)->id;
	if (type == PROTO_DONE)
		e->count = ((const struct proto_done *)message)->count;
}

static void let_go(struct conn *c, struct key_entry *e)
{
	e->running = NULL;
	if (!e->done && !e->id && !e->stored && !e->forgotten)
		drop(c->server, ring_of(c), e);
}

void keys_begun(struct conn *c, uint64_t number)
{
	struct key_entry *e = c->entry;
	struct request *r;

	c->entry = NULL;
	if (!e)
		return;
	r = c->open && !c->closing ? request_find(c, number) : NULL;
	if (r) {
		r->entry = e;
		e->running = r;
	} else {
		let_go(c, e);
	}
}

void keys_release(struct request *r)
{
	if (r->entry)
		let_go(r->conn, r->entry);
	r->entry = NULL;
}
