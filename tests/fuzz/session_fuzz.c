/*
 * What a hostile agent says in a session, to libcreel: bytes as they come, or messages of any type
 * and contents, in pieces of any size, with credit and a snapshot in between. The command ends with
 * a status or an error.
 */
#include "guest-sdk/linux/agent_link.h"
#include "guest-sdk/linux/agent_proto.h"
#include "mgmt/client/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *input;
static size_t left;
static uint64_t given;   /* bytes of output that the caller was handed */
static uint64_t allowed; /* that the host may send */

static uint8_t next_byte(void)
{
	if (!left)
		return 0;
	left--;
	return *input++;
}

#define ASSERT(what)                                                                               \
	do {                                                                                       \
		if (!(what))                                                                       \
			abort();                                                                   \
	} while (0)

/* ---- in the place of the connection ----------------------------------------------------------- */

int client_fail(struct creel *c, int code, const char *format, ...)
{
	(void)c;
	ASSERT(code != CREEL_OK && format);
	return code;
}

bool client_ref(struct creel *c, struct proto_ref *ref, enum creel_kind kind, const char *what)
{
	(void)c;
	(void)kind;
	ref->id = 1;
	return what != NULL;
}

int client_request(struct creel *c, uint16_t type, const void *message, uint64_t *request)
{
	(void)c;
	ASSERT(type == PROTO_AGENT && message);
	allowed = ((const struct proto_agent *)message)->credit;
	*request = 1;
	return CREEL_OK;
}

int client_send(struct creel *c, uint16_t type, uint64_t request, const void *message)
{
	const struct proto_data *m = message;

	(void)c;
	ASSERT(request == 1 && (type == PROTO_DATA || type == PROTO_CREDIT));
	if (type == PROTO_CREDIT)
		allowed += ((const struct proto_credit *)message)->bytes;
	else
		ASSERT(m->bytes.size && m->bytes.size <= PROTO_DATA_MAX);
	return CREEL_OK;
}

bool client_has_frame(const struct creel *c)
{
	(void)c;
	return true;
}

int client_cancel(struct creel *c, uint64_t request)
{
	(void)c;
	(void)request;
	return CREEL_CANCELLED;
}

int client_beyond_credit(struct creel *c)
{
	(void)c;
	return CREEL_PROTOCOL;
}

int client_unexpected(struct creel *c, const struct frame *f)
{
	(void)c;
	(void)f;
	return CREEL_PROTOCOL;
}

int creel_take_snapshot(
	struct creel *c, const char *guest, const char *name, bool public, uint64_t *id)
{
	(void)c;
	(void)guest;
	(void)name;
	(void)public;
	*id = 2;
	return CREEL_OK;
}

/* A message with a true head, in `to`; its size. */
static uint32_t make_message(uint8_t *to)
{
	static const uint8_t types[] = {AGENT_STARTED, AGENT_STDOUT, AGENT_STDERR, AGENT_WANTED,
		AGENT_EXIT, AGENT_ERROR, AGENT_FROZEN, 0};
	uint8_t how = next_byte();
	uint32_t size = how & 0x40 ? next_byte() : how & 8 ? 4 : 2;

	agent_store(to, how & 0x80 ? size + next_byte() : size + 1, 4);
	to[4] = types[how & 7];
	for (uint32_t i = 0; i < size; i++)
		to[AGENT_MESSAGE_HEAD + i] = next_byte();
	return AGENT_MESSAGE_HEAD + size;
}

int client_receive(struct creel *c, uint64_t request, struct frame *f)
{
	static uint8_t message[512];
	uint8_t how = next_byte();

	(void)c;
	ASSERT(request == 1);
	*f = (struct frame){.header = {.type = PROTO_DATA}, .message.data.stream = PROTO_STREAM_OUT};
	if (!left) {
		f->header = (struct proto_header){.type = PROTO_DONE, .flags = PROTO_FINAL};
	} else if (how % 16 == 0) {
		f->header.type = how & 0x80 ? PROTO_RESULT : PROTO_CREDIT;
		f->message.credit.bytes = next_byte() * 1000u;
	} else if (how % 16 == 1) {
		uint32_t n = (uint32_t)MIN((size_t)next_byte() * 8, left);

		f->message.data.bytes.data = input;
		f->message.data.bytes.size = n;
		input += n;
		left -= n;
	} else {
		f->message.data.bytes.data = message;
		f->message.data.bytes.size = make_message(message);
	}
	return CREEL_OK;
}

/* ---- the caller ------------------------------------------------------------------------------- */

static int output(void *arg, enum creel_stream_id stream, const void *data, size_t size)
{
	static uint8_t copy[AGENT_MESSAGE_MAX];

	(void)arg;
	ASSERT((stream == CREEL_OUT || stream == CREEL_ERR) && size && size <= sizeof(copy));
	memcpy(copy, data, size);
	given += size;
	ASSERT(given <= allowed);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const argv[] = {"true", NULL};
	static struct creel c = {.fd = -1};
	const struct creel_exec e = {.argv = argv, .input_fd = -1, .output = output};
	struct creel_exec_status status;
	uint64_t id;

	if (!size || size > 200000)
		return 0;
	input = data;
	left = size;
	given = 0;
	if (next_byte() & 1) {
		(void)creel_take_quiet_snapshot(&c, "guest", "", false, 100, &id);
		return 0;
	}
	if (creel_exec(&c, "guest", &e, &status) == CREEL_OK)
		ASSERT(status.exit_status >= 0 && status.exit_status < 256 && status.signal >= 0 &&
			status.signal < 256);
	ASSERT(given <= 300 * size);
	return 0;
}
