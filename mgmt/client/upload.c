/* The calls of libcreel that send an image to the host. */
#include "mgmt/client/internal.h"

#include "mgmt/crypto/blake2s.h"

#include <string.h>

#define UNSENT_MOST (256 * 1024u) /* bytes read and not sent, when nobody waits */

struct upload {
	struct call call; /* the first, as client_call() needs it */
	uint64_t begun; /* where the host named the last time */
	uint64_t position, size, credit;
	bool committed;
	long (*read)(void *arg, uint64_t offset, void *buf, size_t size);
	void *arg;
	struct creel_image *image;
};

static const char unreadable[] = "the image can't be read to its end";

static int send_piece(struct creel *c, struct upload *u)
{
	uint8_t buf[PROTO_DATA_MAX];
	uint64_t left = MIN(u->credit, u->size - u->position);
	size_t want = MIN(left, sizeof(buf));
	long n = u->read(u->arg, u->position, buf, want);

	if (n <= 0 || (size_t)n > want) {
		u->call.why = unreadable;
		return CALL_ENOUGH;
	}
	struct proto_data data = {
		.stream = PROTO_STREAM_UPLOAD,
		.position = u->position,
		.bytes = {buf, (uint32_t)n},
	};

	u->position += (uint64_t)n;
	u->credit -= (uint64_t)n;
	return client_send(c, PROTO_DATA, u->call.request, &data);
}

/* What the host takes, and in the end that it was all. */
static int upload_send(struct creel *c, struct call *k)
{
	struct upload *u = (struct upload *)k;
	int err = CREEL_OK;

	while (err == CREEL_OK && u->position < u->size && u->credit &&
		(!c->no_wait || c->wire_size < UNSENT_MOST))
		err = send_piece(c, u);
	if (err != CREEL_OK || u->position < u->size || u->committed)
		return err;
	u->committed = true;
	return client_send(c, PROTO_PUT_COMMIT, u->call.request, NULL);
}

static int upload_take(struct creel *c, struct call *k, const struct frame *f)
{
	struct upload *u = (struct upload *)k;

	switch (f->header.type) {
	case PROTO_UPLOAD:
		if (f->message.upload.offset > u->size)
			return client_unexpected(c, f);
		u->begun = u->position = f->message.upload.offset;
		u->credit += f->message.upload.credit;
		break;
	case PROTO_CREDIT:
		u->credit += f->message.credit.bytes;
		break;
	case PROTO_IMAGE:
		client_image(u->image, &f->message.image);
		return CREEL_OK;
	default:
		return client_unexpected(c, f);
	}
	return upload_send(c, k);
}

int creel_hash(struct creel *c, uint64_t size,
	long (*read)(void *arg, uint64_t offset, void *buf, size_t size), void *arg,
	uint8_t hash[CREEL_HASH_SIZE])
{
	uint8_t buf[PROTO_DATA_MAX];
	struct blake2s s;

	blake2s_init(&s, CREEL_HASH_SIZE, NULL, 0);
	for (uint64_t at = 0; at < size;) {
		size_t want = MIN(size - at, sizeof(buf));
		long n = read(arg, at, buf, want);

		if (n <= 0 || (size_t)n > want)
			return client_fail(c, CREEL_LOCAL, "%s", unreadable);
		blake2s_update(&s, buf, (size_t)n);
		at += (uint64_t)n;
	}
	blake2s_final(&s, hash);
	return CREEL_OK;
}

/* As long as each connection gets it further than the one before. */
static int put(struct creel *c, const struct proto_put *m, struct upload *u)
{
	bool waits = c->fd >= 0 && !c->async_done, first = true;
	uint64_t before;
	int err;

	do {
		before = u->begun;
		u->position = u->credit = 0;
		u->committed = false;
		err = client_call(c, PROTO_PUT, m, &u->call, sizeof(*u));
		if (err != CREEL_CONNECTION || !waits || c->calls || (!first && u->begun <= before))
			return err;
		first = false;
	} while (client_reconnect(c) == CREEL_OK);
	return err;
}

int creel_put(struct creel *c, const char *name, uint64_t size,
	const uint8_t hash[CREEL_HASH_SIZE],
	long (*read)(void *arg, uint64_t offset, void *buf, size_t size), void *arg,
	struct creel_image *image)
{
	struct proto_put m = {.key = client_key(), .size = size};
	struct upload u = {
		.call = {.take = upload_take, .send = upload_send},
		.size = size,
		.read = read,
		.arg = arg,
		.image = image,
	};
	int err = CREEL_OK;

	if (!name || !name[0])
		return client_fail(c, CREEL_INVALID, "an image needs a name");
	if (!client_name(c, m.name, name))
		return CREEL_INVALID;
	if (hash)
		memcpy(m.hash, hash, CREEL_HASH_SIZE);
	else
		err = creel_hash(c, size, read, arg, m.hash);
	return err == CREEL_OK ? put(c, &m, &u) : err;
}
