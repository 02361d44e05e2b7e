/* Sessions of libcreel with the agent in a Linux guest. What the agent says is not trusted. */
#include "mgmt/client/internal.h"

#include "guest-sdk/linux/agent_link.h"
#include "guest-sdk/linux/agent_proto.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS      100 /* between looks at the caller's flags */
#define INPUT_CHUNK  3500
#define SEND_CHUNK   8192

struct agent_session {
	struct creel *c;
	uint64_t request;
	/* To the agent. */
	uint8_t *out;
	size_t out_begin, out_size, out_room;
	uint64_t out_position;
	uint32_t credit;
	/* From it. */
	uint8_t in[4 + AGENT_MESSAGE_MAX];
	size_t in_size;
	uint32_t left; /* of the host's credit */
	uint32_t owed; /* taken, and not given back to it yet */
	bool over; /* its final frame came */
	/* The command. */
	const struct creel_exec *exec;
	struct creel_exec_status *status;
	uint32_t wanted;
	bool started, input_over, ended, frozen;
	int code; /* how it failed, with the connection's text */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- to the agent ----------------------------------------------------------------------------- */

static uint8_t *out_room(struct agent_session *s, size_t size)
{
	if (s->out_begin) {
		memmove(s->out, s->out + s->out_begin, s->out_size);
		s->out_begin = 0;
	}
	if (s->out_room - s->out_size < size) {
		s->out_room = 2 * (s->out_size + size);
		s->out = realloc(s->out, s->out_room);
		if (!s->out)
			abort();
	}
	return s->out + s->out_size;
}

static void say(struct agent_session *s, enum agent_message type, const void *payload, size_t size)
{
	uint8_t *to = out_room(s, AGENT_MESSAGE_HEAD + size);

	agent_store(to, size + 1, 4);
	to[4] = (uint8_t)type;
	if (size)
		memcpy(to + AGENT_MESSAGE_HEAD, payload, size);
	s->out_size += AGENT_MESSAGE_HEAD + size;
}

/* As far as the host's credit goes. */
static int flush(struct agent_session *s)
{
	while (s->out_size && s->credit && !s->over) {
		size_t most = MIN((size_t)s->credit, (size_t)SEND_CHUNK);
		uint32_t n = (uint32_t)MIN(s->out_size, most);
		struct proto_data data = {
			.stream = PROTO_STREAM_IN,
			.position = s->out_position,
			.bytes = {s->out + s->out_begin, n},
		};
		int err = client_send(s->c, PROTO_DATA, s->request, &data);

		if (err != CREEL_OK)
			return err;
		s->out_begin += n;
		s->out_size -= n;
		s->out_position += n;
		s->credit -= n;
	}
	return CREEL_OK;
}

static size_t strings_size(const char *const *list)
{
	size_t n = 0;

	for (; list && *list; list++)
		n += strlen(*list) + 1;
	return n;
}

static uint16_t count(const char *const *list)
{
	uint16_t n = 0;

	while (list && list[n] && n < UINT16_MAX)
		n++;
	return n;
}

static uint8_t *add_strings(uint8_t *to, const char *const *list)
{
	for (; list && *list; list++)
		to = (uint8_t *)stpcpy((char *)to, *list) + 1;
	return to;
}

static int say_exec(struct agent_session *s)
{
	const struct creel_exec *e = s->exec;
	const char *place[] = {e->cwd ? e->cwd : "", e->user, NULL};
	size_t size = AGENT_EXEC_FIXED + strings_size(place) + strings_size(e->argv) +
		      strings_size(e->env);
	uint8_t *message, *p;

	if (!e->argv || !e->argv[0] || size >= AGENT_MESSAGE_MAX)
		return client_fail(s->c, CREEL_TOOBIG,
			"a command of %zu bytes with its environment; 1 to %d are possible", size,
			AGENT_MESSAGE_MAX);
	p = message = malloc(size);
	if (!message)
		abort();
	p[0] = (uint8_t)((e->tty ? AGENT_EXEC_TTY : 0) |
			 (e->input_fd >= 0 ? AGENT_EXEC_STDIN : 0) |
			 (e->builtin ? AGENT_EXEC_BUILTIN : 0) | (e->user ? AGENT_EXEC_USER : 0));
	agent_store(p + 1, e->as_user ? e->uid : AGENT_NO_ID, 4);
	agent_store(p + 5, e->as_user ? e->gid : AGENT_NO_ID, 4);
	agent_store(p + 9, e->rows, 2);
	agent_store(p + 11, e->columns, 2);
	agent_store(p + 13, count(e->argv), 2);
	agent_store(p + 15, count(e->env), 2);
	p = add_strings(p + AGENT_EXEC_FIXED, place);
	p = add_strings(p, e->argv);
	add_strings(p, e->env);
	say(s, AGENT_EXEC, message, size);
	free(message);
	return CREEL_OK;
}

static void read_input(struct agent_session *s)
{
	uint8_t buf[INPUT_CHUNK];
	ssize_t n = read(s->exec->input_fd, buf, MIN(sizeof(buf), (size_t)s->wanted));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0) {
		s->wanted -= (uint32_t)n;
		say(s, AGENT_STDIN, buf, (size_t)n);
		return;
	}
	s->input_over = true;
	say(s, AGENT_STDIN_END, NULL, 0);
}

static void say_event(struct agent_session *s, const struct creel_exec_event *e)
{
	uint8_t payload[4] = {e->signal};

	if (e->signal) {
		say(s, AGENT_SIGNAL, payload, 1);
		return;
	}
	agent_store(payload, e->rows, 2);
	agent_store(payload + 2, e->columns, 2);
	say(s, AGENT_RESIZE, payload, 4);
}

/* ---- from the agent --------------------------------------------------------------------------- */

static int lies(struct agent_session *s)
{
	return client_fail(s->c, CREEL_PROTOCOL, "the guest's agent says what no agent does");
}

/* Of an ERROR: printable, whatever it holds. */
static int take_error(struct agent_session *s, const uint8_t *p, size_t size)
{
	char text[AGENT_TEXT_MAX + 1];
	size_t n;

	if (size < 4 || size - 4 > AGENT_TEXT_MAX)
		return lies(s);
	n = size - 4;
	for (size_t i = 0; i < n; i++)
		text[i] = p[4 + i] >= ' ' && p[4 + i] < 0x7f ? (char)p[4 + i] : '?';
	text[n] = '\0';
	s->ended = true;
	s->status->error = (int)(uint32_t)agent_load(p, 4);
	s->code = client_fail(s->c, CREEL_EXEC, "%s", text);
	return CREEL_OK;
}

static int take_message(struct agent_session *s, uint8_t type, const uint8_t *p, size_t size)
{
	if (s->ended)
		return lies(s);
	switch (type) {
	case AGENT_STARTED:
		s->started = true;
		return size == 4 ? CREEL_OK : lies(s);
	case AGENT_STDOUT:
	case AGENT_STDERR:
		if (!s->started)
			return lies(s);
		if (size && s->exec->output &&
			s->exec->output(s->exec->arg, type == AGENT_STDERR ? CREEL_ERR : CREEL_OUT,
				p, size))
			return client_cancel(s->c, s->request);
		return CREEL_OK;
	case AGENT_WANTED:
		if (size != 4 || !s->started || agent_load(p, 4) > AGENT_MESSAGE_MAX ||
			s->wanted > AGENT_MESSAGE_MAX)
			return lies(s);
		s->wanted += (uint32_t)agent_load(p, 4);
		return CREEL_OK;
	case AGENT_EXIT:
		if (size != 2 || !s->started || p[0] > 1)
			return lies(s);
		s->ended = true;
		s->status->signal = p[0] ? p[1] : 0;
		s->status->exit_status = p[0] ? 0 : p[1];
		return CREEL_OK;
	case AGENT_ERROR:
		return take_error(s, p, size);
	case AGENT_FROZEN:
		s->frozen = true;
		return CREEL_OK;
	default:
		return lies(s);
	}
}

static int take_bytes(struct agent_session *s, const uint8_t *data, size_t size)
{
	while (size) {
		size_t n = MIN(size, sizeof(s->in) - s->in_size), at = 0;
		int err = CREEL_OK;

		memcpy(s->in + s->in_size, data, n);
		s->in_size += n;
		data += n;
		size -= n;
		while (err == CREEL_OK && s->in_size - at >= AGENT_MESSAGE_HEAD) {
			uint64_t length = agent_load(s->in + at, 4);

			if (length < 1 || length > AGENT_MESSAGE_MAX)
				return lies(s);
			if (s->in_size - at < 4 + length)
				break;
			err = take_message(s, s->in[at + 4], s->in + at + AGENT_MESSAGE_HEAD,
				(size_t)length - 1);
			at += 4 + (size_t)length;
		}
		if (err != CREEL_OK)
			return err;
		s->in_size -= at;
		memmove(s->in, s->in + at, s->in_size);
	}
	return CREEL_OK;
}

static int take_data(struct agent_session *s, const struct proto_data *m)
{
	int err;

	if (m->stream != PROTO_STREAM_OUT || m->bytes.size > s->left)
		return client_beyond_credit(s->c);
	err = take_bytes(s, m->bytes.data, m->bytes.size);
	s->left -= m->bytes.size;
	s->owed += m->bytes.size;
	if (err != CREEL_OK || s->owed < OUTPUT_CREDIT / 4)
		return err;
	struct proto_credit credit = {.stream = PROTO_STREAM_OUT, .bytes = s->owed};

	s->left += s->owed;
	s->owed = 0;
	return client_send(s->c, PROTO_CREDIT, s->request, &credit);
}

static int take_frame(struct agent_session *s)
{
	struct frame f;
	int err = client_receive(s->c, s->request, &f);

	/* An error is a final frame too. */
	s->over = err != CREEL_OK || (f.header.flags & PROTO_FINAL);
	if (err != CREEL_OK)
		return err;
	switch (f.header.type) {
	case PROTO_RESULT:
	case PROTO_DONE:
		return CREEL_OK;
	case PROTO_CREDIT:
		s->credit += f.message.credit.bytes;
		return CREEL_OK;
	case PROTO_DATA:
		return take_data(s, &f.message.data);
	default:
		return client_unexpected(s->c, &f);
	}
}

/* ---- sessions --------------------------------------------------------------------------------- */

static int session_begin(struct agent_session *s, const char *guest)
{
	struct proto_agent m = {.credit = OUTPUT_CREDIT};

	s->left = m.credit;
	if (!client_ref(s->c, &m.guest, CREEL_GUEST, guest))
		return CREEL_INVALID;
	return client_request(s->c, PROTO_AGENT, &m, &s->request);
}

/* One wait, and what it found. `input`: the command's may be read. */
static int session_turn(struct agent_session *s, bool input, int timeout_ms)
{
	int err = flush(s);

	if (err != CREEL_OK)
		return err;
	if (client_has_frame(s->c))
		return take_frame(s);
	struct pollfd fds[2] = {
		{.fd = s->c->fd, .events = POLLIN},
		{.fd = input ? s->exec->input_fd : -1, .events = POLLIN},
	};
	int n = poll(fds, 2, timeout_ms);

	if (n < 0 && errno != EINTR)
		return client_fail(s->c, CREEL_LOCAL, "poll failed");
	if (n > 0 && fds[1].revents)
		read_input(s);
	return n > 0 && fds[0].revents ? take_frame(s) : CREEL_OK;
}

static int exec_turn(struct agent_session *s, uint64_t give_up)
{
	const struct creel_exec *e = s->exec;
	struct creel_exec_event event;
	bool input = e->input_fd >= 0 && !s->input_over && s->wanted && s->out_size < INPUT_CHUNK;

	if (e->cancel && *e->cancel)
		return client_cancel(s->c, s->request);
	if (!s->started && !s->ended && now_ms() > give_up) {
		client_cancel(s->c, s->request);
		return client_fail(s->c, CREEL_TIMEOUT,
			"the guest's agent does not answer: has the guest started, and has it one?");
	}
	while (s->started && e->event && e->event(e->arg, &event))
		say_event(s, &event);
	return session_turn(s, input, LOOK_MS);
}

int creel_exec(struct creel *c, const char *guest, const struct creel_exec *e,
	struct creel_exec_status *status)
{
	struct agent_session *s = calloc(1, sizeof(*s));
	uint64_t give_up = e->start_ms ? now_ms() + e->start_ms : UINT64_MAX;
	int err;

	if (!s)
		abort();
	*status = (struct creel_exec_status){0};
	s->c = c;
	s->exec = e;
	s->status = status;
	err = say_exec(s);
	if (err == CREEL_OK)
		err = session_begin(s, guest);
	while (err == CREEL_OK && !s->over)
		err = exec_turn(s, give_up);
	if (err == CREEL_OK && !s->ended)
		err = client_fail(c, CREEL_BUSY, "the guest's agent ended the command without a word");
	else if (err == CREEL_OK)
		err = s->code;
	free(s->out);
	free(s);
	return err;
}

int creel_take_quiet_snapshot(struct creel *c, const char *guest, const char *name, bool public,
	uint32_t wait_ms, uint64_t *id)
{
	static const struct creel_exec nothing = {.input_fd = -1};
	struct creel_exec_status status;
	struct agent_session *s = calloc(1, sizeof(*s));
	uint64_t give_up = now_ms() + wait_ms;
	uint8_t ms[4];
	int err, thaw;

	if (!s)
		abort();
	s->c = c;
	s->exec = &nothing;
	s->status = &status;
	agent_store(ms, 10000, 4);
	say(s, AGENT_FREEZE, ms, sizeof(ms));
	err = session_begin(s, guest);
	while (err == CREEL_OK && !s->over && !s->frozen && now_ms() < give_up)
		err = session_turn(s, false, LOOK_MS);
	if (err == CREEL_OK && s->ended)
		err = s->code;
	else if (err == CREEL_OK && !s->frozen)
		err = client_fail(c, CREEL_TIMEOUT, "the guest's agent does not answer");
	if (err == CREEL_OK)
		err = creel_take_snapshot(c, guest, name, public, id);
	/* With the session the guest goes on; how the snapshot went is the answer. */
	char text[sizeof(c->error)];

	memcpy(text, c->error, sizeof(text));
	thaw = s->request && !s->over && c->fd >= 0 ? client_cancel(c, s->request) : CREEL_OK;
	if (thaw != CREEL_CONNECTION)
		memcpy(c->error, text, sizeof(text));
	free(s->out);
	free(s);
	return err;
}
