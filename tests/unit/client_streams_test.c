/* Attached guests and the host's log in libcreel, with a host that sends what it likes. */
#include "mgmt/client/internal.h"
#include "tests/unit/test.h"

/* ---- in the place of the connection ----------------------------------------------------------- */

static const struct proto_data *frames; /* that the host sends; a size of 0 ends them */
static uint64_t taken, credit_given;
static char bytes[PROTO_DATA_MAX];

int client_fail(struct creel *c, int code, const char *format, ...)
{
	(void)c;
	(void)format;
	return code;
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

int client_send(struct creel *c, uint16_t type, uint64_t request, const void *message)
{
	const struct proto_credit *m = message;

	(void)c;
	(void)request;
	CHECK_EQ(type, PROTO_CREDIT);
	credit_given += m->bytes;
	return CREEL_OK;
}

bool client_has_frame(const struct creel *c)
{
	(void)c;
	return true;
}

bool client_watch_input(struct creel *c, int fd, bool wanted)
{
	(void)c;
	(void)fd;
	return wanted;
}

bool client_ref(struct creel *c, struct proto_ref *ref, enum creel_kind kind, const char *what)
{
	(void)c;
	(void)ref;
	(void)kind;
	return what;
}

int client_options(struct creel *c, struct proto_create *m, const struct creel_options *options,
	uint8_t args[PROTO_ARGS_MAX])
{
	(void)c;
	(void)options;
	(void)args;
	*m = (struct proto_create){0};
	return CREEL_OK;
}

void client_status(struct creel_status *out, const struct proto_status *m)
{
	(void)out;
	(void)m;
}

int client_call(struct creel *c, uint16_t type, const void *message, struct call *k, size_t size)
{
	int err = CREEL_OK;

	(void)type;
	(void)message;
	CHECK(size >= sizeof(*k));
	for (; frames->bytes.size && err == CREEL_OK; frames++) {
		struct frame f = {.header.type = PROTO_DATA, .message.data = *frames};

		err = k->take(c, k, &f);
	}
	return err;
}

/* ---- the caller ------------------------------------------------------------------------------- */

static int output(void *arg, enum creel_stream_id stream, uint64_t position, const void *data, size_t size)
{
	(void)arg;
	(void)stream;
	(void)position;
	CHECK(data);
	taken += size;
	return 0;
}

static int log_text(void *arg, const char *data, size_t size)
{
	return output(arg, CREEL_OUT, 0, data, size);
}

#define PIECE 8192u
#define DATA(id) {.stream = id, .bytes = {(const uint8_t *)bytes, PIECE}}

/* How a call ends that is sent `list`. */
enum how { RUN, ATTACH_OUT, WAIT, LOG };

static int sent(enum how how, const struct proto_data *list)
{
	const struct creel_streams streams = {.input_fd = -1, .output = output};
	struct creel_options options = {0};
	struct creel_status status;
	struct creel c = {.fd = -1};
	uint64_t position = 0;

	frames = list;
	taken = credit_given = 0;
	switch (how) {
	case RUN:
		return creel_run_attached(&c, "image", false, &options, &streams, &status);
	case ATTACH_OUT:
		return creel_attach(&c, "guest", CREEL_ATTACH_OUT, &streams, &status);
	case WAIT:
		return creel_wait(&c, "guest", NULL, &status);
	case LOG:
		break;
	}
	return creel_log(&c, &position, false, NULL, log_text, NULL);
}

TEST(a_stream_that_keeps_to_its_credit_is_taken)
{
	struct proto_data list[101] = {{0}};

	for (int i = 0; i < 100; i++)
		list[i] = (struct proto_data)DATA(i % 2 ? PROTO_STREAM_OUT : PROTO_STREAM_ERR);
	CHECK_EQ(sent(RUN, list), CREEL_OK);
	CHECK_EQ(taken, 100 * PIECE);
	CHECK(credit_given && credit_given <= taken);
}

TEST(what_is_beyond_a_streams_credit_ends_the_call)
{
	struct proto_data one = DATA(PROTO_STREAM_OUT);
	struct proto_data list[] = {one, {0}};

	one.bytes.size = list[0].bytes.size = OUTPUT_CREDIT + 1;
	CHECK_EQ(sent(RUN, list), CREEL_PROTOCOL);
	CHECK_EQ(sent(ATTACH_OUT, list), CREEL_PROTOCOL);
	CHECK_EQ(taken, 0);
	list[0].stream = PROTO_STREAM_LOG;
	CHECK_EQ(sent(LOG, list), CREEL_PROTOCOL);
	CHECK_EQ(taken, 0);
}

TEST(a_stream_that_nobody_asked_for_ends_the_call)
{
	const struct proto_data out[] = {DATA(PROTO_STREAM_OUT), {0}}, err[] = {DATA(PROTO_STREAM_ERR), {0}},
		in[] = {DATA(PROTO_STREAM_IN), {0}}, log[] = {DATA(PROTO_STREAM_LOG), {0}};

	CHECK_EQ(sent(ATTACH_OUT, out), CREEL_OK);
	CHECK_EQ(sent(ATTACH_OUT, err), CREEL_PROTOCOL);
	CHECK_EQ(sent(RUN, log), CREEL_PROTOCOL);
	CHECK_EQ(sent(RUN, in), CREEL_PROTOCOL);
	CHECK_EQ(sent(WAIT, out), CREEL_PROTOCOL);
	CHECK_EQ(sent(LOG, log), CREEL_OK);
	CHECK_EQ(sent(LOG, out), CREEL_PROTOCOL);
}
