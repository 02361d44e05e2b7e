/* Calls of libcreel that stay: attached guests, waiting, the host's log. */
#include "mgmt/client/internal.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define STREAM_CREDIT (OUTPUT_CREDIT / 2)
#define CANCEL_MS     200 /* between looks at the cancel flag */

struct session {
	struct call call; /* the first, as client_call() needs it */
	struct creel_streams streams;
	uint32_t left[PROTO_STREAM_COUNT]; /* of the host's credit, in bytes */
	uint32_t owed[PROTO_STREAM_COUNT]; /* taken, and not given back to it yet */
	uint32_t input_credit;
	uint64_t input_position;
	bool input_over;
	bool watched;                /* creel_fd() looks at the input */
	struct creel_status *status; /* the caller's */
	uint64_t *log_position;
	int (*log)(void *arg, const char *data, size_t size);
	void *log_arg;
};

static bool cancelled(const struct session *s)
{
	return s->streams.cancel && *s->streams.cancel;
}

/* ---- input ---- */

static bool wants_input(const struct session *s)
{
	return s->streams.input_fd >= 0 && !s->input_over && s->input_credit > 1;
}

/* -1: nothing now. */
static ssize_t read_input(struct session *s, uint8_t *buf, size_t size)
{
	ssize_t n;

	if (s->streams.input)
		return s->streams.input(s->streams.arg, buf, size);
	n = read(s->streams.input_fd, buf, size);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return -1;
	/* What can't be read has ended. */
	return n < 0 ? 0 : n;
}

static int send_input(struct creel *c, struct session *s)
{
	uint8_t buf[4096];
	size_t size = MIN(sizeof(buf), s->input_credit);
	ssize_t n = read_input(s, buf, size);

	if (n == -1)
		return CREEL_OK;
	if (n < 0 || (size_t)n > size)
		return CALL_ENOUGH;
	struct proto_data data = {
		.stream = PROTO_STREAM_IN,
		.end = n == 0,
		.position = s->input_position,
		.bytes = {buf, (uint32_t)n},
	};

	s->input_over = n == 0;
	s->input_position += data.bytes.size;
	s->input_credit -= data.bytes.size;
	return client_send(c, PROTO_DATA, s->call.request, &data);
}

/* Waits for a frame, and sends input meanwhile. */
static int session_wait(struct creel *c, struct call *k)
{
	struct session *s = (struct session *)k;

	while (!client_has_frame(c)) {
		struct pollfd fds[2] = {
			{.fd = c->fd, .events = POLLIN},
			{.fd = wants_input(s) ? s->streams.input_fd : -1, .events = POLLIN},
		};
		int n = poll(fds, 2, s->streams.cancel ? CANCEL_MS : -1);

		if (cancelled(s))
			return CALL_ENOUGH;
		if (n < 0 && errno != EINTR)
			return client_fail(c, CREEL_LOCAL, "poll failed");
		if (n > 0 && fds[1].revents) {
			int err = send_input(c, s);

			if (err != CREEL_OK)
				return err;
		}
		if (n > 0 && fds[0].revents)
			break;
	}
	return CREEL_OK;
}

/* Nobody waits: a part of the input, when the last one is on its way. */
static int session_send(struct creel *c, struct call *k)
{
	struct session *s = (struct session *)k;
	struct pollfd in = {.fd = s->streams.input_fd, .events = POLLIN};
	int err = CREEL_OK;

	while (err == CREEL_OK && c->fd >= 0 && wants_input(s) && !c->wire_size &&
		poll(&in, 1, 0) > 0) {
		uint64_t before = s->input_position;

		err = send_input(c, s);
		if (s->input_position == before)
			break;
	}
	if (s->streams.input_fd >= 0 && wants_input(s) != s->watched)
		s->watched = client_watch_input(c, s->streams.input_fd, !s->watched) && !s->watched;
	return err;
}

static void session_end(struct creel *c, struct call *k)
{
	struct session *s = (struct session *)k;

	if (s->watched)
		client_watch_input(c, s->streams.input_fd, false);
}

/* ---- what comes ---- */

static int take_data(struct creel *c, struct session *s, const struct proto_data *m)
{
	uint32_t *owed = &s->owed[m->stream];
	int stop = 0;

	if (m->bytes.size > s->left[m->stream] || (m->stream == PROTO_STREAM_LOG) != !!s->log)
		return client_beyond_credit(c);
	s->left[m->stream] -= m->bytes.size;
	if (m->stream == PROTO_STREAM_LOG) {
		*s->log_position = m->position;
		stop = s->log(s->log_arg, (const char *)m->bytes.data, m->bytes.size);
	} else if (m->bytes.size) {
		stop = s->streams.output(s->streams.arg, (enum creel_stream_id)m->stream,
			m->position, m->bytes.data, m->bytes.size);
	}
	if (stop)
		return CALL_ENOUGH;
	*owed += m->bytes.size;
	if (*owed < STREAM_CREDIT / 2)
		return CREEL_OK;
	struct proto_credit credit = {.stream = m->stream, .bytes = *owed};

	s->left[m->stream] += *owed;
	*owed = 0;
	return client_send(c, PROTO_CREDIT, s->call.request, &credit);
}

static int take_status(struct session *s, const struct frame *f)
{
	struct creel_status now;

	client_status(&now, &f->message.status);
	if (f->header.flags & PROTO_FINAL)
		*s->status = now;
	else if (s->streams.state && s->streams.state(s->streams.arg, &now))
		return CALL_ENOUGH;
	return CREEL_OK;
}

static int session_take(struct creel *c, struct call *k, const struct frame *f)
{
	struct session *s = (struct session *)k;

	switch (f->header.type) {
	case PROTO_RESULT:
		if (s->streams.started && s->streams.started(s->streams.arg, f->message.result.id))
			return CALL_ENOUGH;
		return CREEL_OK;
	case PROTO_CREDIT:
		s->input_credit += f->message.credit.bytes;
		return CREEL_OK;
	case PROTO_DATA:
		return take_data(c, s, &f->message.data);
	case PROTO_STATUS:
		return take_status(s, f);
	case PROTO_DONE:
		if (s->log_position)
			*s->log_position = f->message.done.next;
		return CREEL_OK;
	default:
		return client_unexpected(c, f);
	}
}

static int session_call(struct creel *c, uint16_t type, const void *message, struct session *s)
{
	s->call = (struct call){
		.take = session_take,
		.wait = session_wait,
		.send = session_send,
		.end = session_end,
	};
	return client_call(c, type, message, &s->call, sizeof(*s));
}

/* ---- calls ---- */

int creel_run_attached(struct creel *c, const char *source, bool fork,
	const struct creel_options *options, const struct creel_streams *streams,
	struct creel_status *status)
{
	struct session s = {.streams = *streams, .status = status};
	uint8_t args[PROTO_ARGS_MAX];
	struct proto_create m;
	int err = client_options(c, &m, options, args);

	if (err != CREEL_OK)
		return err;
	m.attach = PROTO_ATTACH_OUT | PROTO_ATTACH_ERR;
	m.credit = s.left[PROTO_STREAM_OUT] = s.left[PROTO_STREAM_ERR] = STREAM_CREDIT;
	if (streams->input_fd >= 0) {
		m.attach |= PROTO_ATTACH_IN;
		m.flags |= PROTO_CREATE_INPUT;
	}
	if (!client_ref(c, &m.source, fork ? CREEL_ANY : CREEL_IMAGE, source))
		return CREEL_INVALID;
	return session_call(c, fork ? PROTO_FORK : PROTO_RUN, &m, &s);
}

int creel_attach(struct creel *c, const char *guest, unsigned flags,
	const struct creel_streams *streams, struct creel_status *status)
{
	struct session s = {.streams = *streams, .status = status};
	struct proto_attach m = {.flags = (uint8_t)flags, .credit = STREAM_CREDIT};

	if (flags & CREEL_ATTACH_OUT)
		s.left[PROTO_STREAM_OUT] = m.credit;
	if (flags & CREEL_ATTACH_ERR)
		s.left[PROTO_STREAM_ERR] = m.credit;
	if (!client_ref(c, &m.guest, CREEL_GUEST, guest))
		return CREEL_INVALID;
	if (!(flags & (CREEL_ATTACH_IN | CREEL_ATTACH_OUT | CREEL_ATTACH_ERR)) || flags > 63)
		return client_fail(c, CREEL_INVALID, "no stream to attach to");
	return session_call(c, PROTO_ATTACH, &m, &s);
}

int creel_wait(struct creel *c, const char *guest, const volatile sig_atomic_t *cancel,
	struct creel_status *status)
{
	struct session s = {.streams = {.input_fd = -1, .cancel = cancel}, .status = status};
	struct proto_get m;

	if (!client_ref(c, &m.ref, CREEL_GUEST, guest))
		return CREEL_INVALID;
	return session_call(c, PROTO_WAIT, &m, &s);
}

int creel_log(struct creel *c, uint64_t *position, bool follow, const volatile sig_atomic_t *cancel,
	int (*text)(void *arg, const char *data, size_t size), void *arg)
{
	struct session s = {
		.streams = {.input_fd = -1, .cancel = cancel},
		.log_position = position,
		.log = text,
		.log_arg = arg,
		.left = {[PROTO_STREAM_LOG] = STREAM_CREDIT},
	};
	const struct proto_get_log m = {
		.position = *position, .follow = follow, .credit = STREAM_CREDIT};

	return session_call(c, PROTO_GET_LOG, &m, &s);
}
