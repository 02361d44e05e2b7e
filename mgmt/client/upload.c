/* The call of libcreel that sends an image to the host. */
#include "mgmt/client/internal.h"

#include <string.h>

#define UNSENT_MOST (256 * 1024u) /* bytes read and not sent, when nobody waits */

struct upload {
	struct call call; /* the first, as client_call() needs it */
	uint64_t position, size, credit;
	bool committed;
	long (*read)(void *arg, void *buf, size_t size);
	void *arg;
	struct creel_image *image;
};

static int send_piece(struct creel *c, struct upload *u)
{
	uint8_t buf[PROTO_DATA_MAX];
	uint64_t left = MIN(u->credit, u->size - u->position);
	size_t want = MIN(left, sizeof(buf));
	long n = u->read(u->arg, buf, want);

	if (n <= 0 || (size_t)n > want) {
		u->call.why = "the image can't be read to its end";
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

int creel_put(struct creel *c, const char *name, uint64_t size,
	long (*read)(void *arg, void *buf, size_t size), void *arg, struct creel_image *image)
{
	struct proto_put m = {.key = client_key(), .size = size};
	struct upload u = {
		.call = {.take = upload_take, .send = upload_send},
		.size = size,
		.read = read,
		.arg = arg,
		.image = image,
	};

	if (!name || !name[0])
		return client_fail(c, CREEL_INVALID, "an image needs a name");
	if (!client_name(c, m.name, name))
		return CREEL_INVALID;
	return client_call(c, PROTO_PUT, &m, &u.call, sizeof(u));
}
