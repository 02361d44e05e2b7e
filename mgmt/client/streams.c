/* Calls of libcreel that stay: attached guests, waiting, the host's log. */
#include "mgmt/client/internal.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define STREAM_CREDIT (256 * 1024u)
#define CANCEL_MS     200 /* between looks at the cancel flag */

struct session {
	struct creel *c;
	const struct creel_streams *streams;
	uint64_t request;
	uint32_t owed[PROTO_STREAM_COUNT]; /* bytes taken that the host has no credit for yet */
	uint32_t input_credit;
	uint64_t input_position;
	bool input_over;
	uint64_t *log_position;
	int (*log)(void *arg, const char *data, size_t size);
	void *log_arg;
};

static bool cancelled(const struct session *s)
{
	return s->streams->cancel && *s->streams->cancel;
}

static int send_input(struct session *s)
{
	const struct creel_streams *streams = s->streams;
	uint8_t buf[4096];
	size_t size = MIN(sizeof(buf), s->input_credit);
	ssize_t n;

	if (streams->input) {
		n = streams->input(streams->arg, buf, size);
		if (n == -1)
			return CREEL_OK;
		if (n < 0 || (size_t)n > size)
			return client_cancel(s->c, s->request);
	} else {
		n = read(streams->input_fd, buf, size);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			return CREEL_OK;
	}
	/* What can't be read has ended. */
	struct proto_data data = {
		.stream = PROTO_STREAM_IN,
		.end = n <= 0,
		.position = s->input_position,
		.bytes = {buf, n > 0 ? (uint32_t)n : 0},
	};

	s->input_over = n <= 0;
	s->input_position += data.bytes.size;
	s->input_credit -= data.bytes.size;
	return client_send(s->c, PROTO_DATA, s->request, &data);
}

/* Waits for a frame, and sends input meanwhile. */
static int wait_frame(struct session *s)
{
	while (!client_has_frame(s->c)) {
		bool input = s->streams->input_fd >= 0 && !s->input_over && s->input_credit > 1;
		struct pollfd fds[2] = {
			{.fd = s->c->fd, .events = POLLIN},
			{.fd = input ? s->streams->input_fd : -1, .events = POLLIN},
		};
		int n = poll(fds, 2, s->streams->cancel ? CANCEL_MS : -1);

		if (cancelled(s))
			return client_cancel(s->c, s->request);
		if (n < 0 && errno != EINTR)
			return client_fail(s->c, CREEL_LOCAL, "poll failed");
		if (n > 0 && fds[1].revents) {
			int err = send_input(s);

			if (err != CREEL_OK)
				return err;
		}
		if (n > 0 && fds[0].revents)
			break;
	}
	return CREEL_OK;
}

static int take_data(struct session *s, const struct proto_data *m)
{
	uint32_t *owed = &s->owed[m->stream];
	int stop = 0;

	if (m->stream == PROTO_STREAM_LOG) {
		*s->log_position = m->position;
		stop = s->log(s->log_arg, (const char *)m->bytes.data, m->bytes.size);
	} else if (m->bytes.size) {
		stop = s->streams->output(s->streams->arg, (enum creel_stream_id)m->stream,
			m->position, m->bytes.data, m->bytes.size);
	}
	if (stop)
		return client_cancel(s->c, s->request);
	*owed += m->bytes.size;
	if (*owed < STREAM_CREDIT / 2)
		return CREEL_OK;
	struct proto_credit credit = {.stream = m->stream, .bytes = *owed};

	*owed = 0;
	return client_send(s->c, PROTO_CREDIT, s->request, &credit);
}

static int take_status(struct session *s, const struct frame *f, struct creel_status *status)
{
	struct creel_status now;

	client_status(&now, &f->message.status);
	if (f->header.flags & PROTO_FINAL)
		*status = now;
	else if (s->streams->state && s->streams->state(s->streams->arg, &now))
		return client_cancel(s->c, s->request);
	return CREEL_OK;
}

/* Until the final frame. */
static int session_run(struct session *s, struct creel_status *status)
{
	struct frame f = {.header = {.flags = 0}};
	int err = CREEL_OK;

	while (err == CREEL_OK && !(f.header.flags & PROTO_FINAL)) {
		err = wait_frame(s);
		if (err == CREEL_OK)
			err = client_receive(s->c, s->request, &f);
		if (err != CREEL_OK)
			break;
		switch (f.header.type) {
		case PROTO_RESULT:
			if (s->streams->started &&
				s->streams->started(s->streams->arg, f.message.result.id))
				err = client_cancel(s->c, s->request);
			break;
		case PROTO_CREDIT:
			s->input_credit += f.message.credit.bytes;
			break;
		case PROTO_DATA:
			err = take_data(s, &f.message.data);
			break;
		case PROTO_STATUS:
			err = take_status(s, &f, status);
			break;
		case PROTO_DONE:
			if (s->log_position)
				*s->log_position = f.message.done.next;
			break;
		default:
			return client_unexpected(s->c, &f);
		}
	}
	return err;
}

int creel_run_attached(struct creel *c, const char *source, bool fork,
	const struct creel_options *options, const struct creel_streams *streams,
	struct creel_status *status)
{
	struct session s = {.c = c, .streams = streams};
	uint8_t args[PROTO_ARGS_MAX];
	struct proto_create m;
	int err = client_options(c, &m, options, args);

	if (err != CREEL_OK)
		return err;
	m.attach = PROTO_ATTACH_OUT | PROTO_ATTACH_ERR;
	m.credit = STREAM_CREDIT;
	if (streams->input_fd >= 0) {
		m.attach |= PROTO_ATTACH_IN;
		m.flags |= PROTO_CREATE_INPUT;
	}
	if (!client_ref(c, &m.source, fork ? CREEL_ANY : CREEL_IMAGE, source))
		return CREEL_INVALID;
	err = client_request(c, fork ? PROTO_FORK : PROTO_RUN, &m, &s.request);
	return err == CREEL_OK ? session_run(&s, status) : err;
}

int creel_attach(struct creel *c, const char *guest, unsigned flags,
	const struct creel_streams *streams, struct creel_status *status)
{
	struct session s = {.c = c, .streams = streams};
	struct proto_attach m = {.flags = (uint8_t)flags, .credit = STREAM_CREDIT};
	int err;

	if (!client_ref(c, &m.guest, CREEL_GUEST, guest))
		return CREEL_INVALID;
	if (!(flags & (CREEL_ATTACH_IN | CREEL_ATTACH_OUT | CREEL_ATTACH_ERR)) || flags > 63)
		return client_fail(c, CREEL_INVALID, "no stream to attach to");
	err = client_request(c, PROTO_ATTACH, &m, &s.request);
	return err == CREEL_OK ? session_run(&s, status) : err;
}

int creel_wait(struct creel *c, const char *guest, const volatile sig_atomic_t *cancel,
	struct creel_status *status)
{
	const struct creel_streams none = {.input_fd = -1, .cancel = cancel};
	struct session s = {.c = c, .streams = &none};
	struct proto_get m;
	int err;

	if (!client_ref(c, &m.ref, CREEL_GUEST, guest))
		return CREEL_INVALID;
	err = client_request(c, PROTO_WAIT, &m, &s.request);
	return err == CREEL_OK ? session_run(&s, status) : err;
}

int creel_log(struct creel *c, uint64_t *position, bool follow, const volatile sig_atomic_t *cancel,
	int (*text)(void *arg, const char *data, size_t size), void *arg)
{
	const struct creel_streams none = {.input_fd = -1, .cancel = cancel};
	struct session s = {
		.c = c, .streams = &none, .log_position = position, .log = text, .log_arg = arg};
	const struct proto_get_log m = {
		.position = *position, .follow = follow, .credit = STREAM_CREDIT};
	struct creel_status unused;
	int err = client_request(c, PROTO_GET_LOG, &m, &s.request);

	return err == CREEL_OK ? session_run(&s, &unused) : err;
}
