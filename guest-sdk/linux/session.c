/* Sessions: a client's messages to a command, and what the command says back. */
#include "guest-sdk/linux/agent.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRINGS_MAX  4096 /* arguments and environment of a command, each */
#define FREEZE_MOST  60000u
#define IN_MAX       (2 * AGENT_MESSAGE_MAX) /* of a session, not taken yet: a message and what follows */
#define OUTPUT_CHUNK (AGENT_PAYLOAD - AGENT_MESSAGE_HEAD)

struct session {
	bool used;
	bool begun;     /* its first message came */
	bool told;      /* EXIT or ERROR is in `out`: it ends with that */
	bool reaped;
	bool input_end; /* nothing comes behind what `input` holds */
	uint64_t id;    /* 0: nobody is there who listens */
	uint64_t credit;
	struct bytes in, out, input;
	uint32_t wanted; /* bytes of STDIN that the client may send */
	struct spawned child;
	bool tty;
	int status;
	struct pollfd *ready[3]; /* of in, out, err; NULL: not asked for */
};

static struct session sessions[SESSIONS_MAX];
static uint64_t freezer; /* the session that the last freeze was begun for */
static const struct spawned no_child = {.pid = -1, .in = -1, .out = -1, .err = -1};

/* ---- messages --------------------------------------------------------------------------------- */

static void say(struct session *s, enum agent_message type, const void *payload, size_t size)
{
	uint8_t head[AGENT_MESSAGE_HEAD];

	if (!s->id)
		return;
	agent_store(head, size + 1, 4);
	head[4] = (uint8_t)type;
	bytes_add(&s->out, head, sizeof(head));
	bytes_add(&s->out, payload, size);
}

static void say_number(struct session *s, enum agent_message type, uint32_t value)
{
	uint8_t payload[4];

	agent_store(payload, value, 4);
	say(s, type, payload, sizeof(payload));
}

static void say_error(struct session *s, int number, const char *what)
{
	uint8_t payload[4 + AGENT_TEXT_MAX];
	int n;

	agent_store(payload, (uint32_t)number, 4);
	n = snprintf((char *)payload + 4, AGENT_TEXT_MAX, "%s%s%s", what, number ? ": " : "",
		number ? strerror(number) : "");
	if (n >= AGENT_TEXT_MAX)
		n = AGENT_TEXT_MAX - 1;
	say(s, AGENT_ERROR, payload, 4 + (size_t)n);
	s->told = true;
}

/* ---- its end ---------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void forget(struct session *s)
{
	close_fd(&s->child.in);
	close_fd(&s->child.out);
	close_fd(&s->child.err);
	bytes_free(&s->in);
	bytes_free(&s->out);
	bytes_free(&s->input);
	*s = (struct session){.child = no_child};
}

/* Its own freeze, that is: another one may be under way, since each ends by itself in time. */
static void thaw(const struct session *s)
{
	if (s->id && s->id == freezer)
		freeze_end();
}

/* What it runs goes on, and what that writes is thrown away. */
static void abandon(struct session *s)
{
	thaw(s);
	s->id = 0;
	bytes_free(&s->in);
	bytes_free(&s->out);
	if (s->child.pid < 0 || s->told)
		forget(s);
}

void sessions_abandon(void)
{
	for (struct session *s = sessions; s < sessions + SESSIONS_MAX; s++) {
		if (s->used)
			abandon(s);
	}
}

/* ---- from the client -------------------------------------------------------------------------- */

struct strings {
	const char *at;
	size_t left;
};

/* The next string, or NULL. */
static char *next_string(struct strings *from)
{
	const char *s = from->at, *end = memchr(s, '\0', from->left);

	if (!end)
		return NULL;
	from->left -= (size_t)(end + 1 - s);
	from->at = end + 1;
	return (char *)(uintptr_t)s;
}

/* Fills `list`, which has room for one more, with `count` strings. */
static bool take_strings(struct strings *from, char **list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		list[i] = next_string(from);
		if (!list[i])
			return false;
	}
	list[count] = NULL;
	return true;
}

static void begin_command(struct session *s, const uint8_t *p, size_t size)
{
	static char *argv[STRINGS_MAX + 1], *env[STRINGS_MAX + 1];
	struct strings strings = {(const char *)p + AGENT_EXEC_FIXED, size - AGENT_EXEC_FIXED};
	size_t argc = 0, envc = 0;
	const char *what;

	if (size >= AGENT_EXEC_FIXED) {
		argc = agent_load(p + 13, 2);
		envc = agent_load(p + 15, 2);
	}
	if (!argc || argc > STRINGS_MAX || envc > STRINGS_MAX) {
		say_error(s, EINVAL, "the command");
		return;
	}
	struct spawn spawn_this = {
		.tty = p[0] & AGENT_EXEC_TTY,
		.input = p[0] & AGENT_EXEC_STDIN,
		.builtin = p[0] & AGENT_EXEC_BUILTIN,
		.uid = (uint32_t)agent_load(p + 1, 4),
		.gid = (uint32_t)agent_load(p + 5, 4),
		.rows = (uint16_t)agent_load(p + 9, 2),
		.columns = (uint16_t)agent_load(p + 11, 2),
		.cwd = next_string(&strings),
		.argv = argv,
		.env = env,
	};
	bool has_user = p[0] & AGENT_EXEC_USER;

	if (has_user)
		spawn_this.user = next_string(&strings);
	if (!spawn_this.cwd || (has_user && !spawn_this.user) || !take_strings(&strings, argv, argc) ||
		!take_strings(&strings, env, envc) || strings.left) {
		say_error(s, EINVAL, "the command");
		return;
	}
	int err = spawn(&spawn_this, &s->child, &what);

	if (err) {
		s->child = no_child;
		say_error(s, err, what);
		return;
	}
	s->tty = spawn_this.tty;
	say_number(s, AGENT_STARTED, (uint32_t)s->child.pid);
	if (s->child.in >= 0) {
		s->wanted = STDIN_WINDOW;
		say_number(s, AGENT_WANTED, STDIN_WINDOW);
	}
}

static void begin_freeze(struct session *s, const uint8_t *p, size_t size)
{
	uint32_t ms = size == 4 ? (uint32_t)agent_load(p, 4) : 0;

	if (!ms || ms > FREEZE_MOST) {
		say_error(s, EINVAL, "the freeze");
		return;
	}
	if (!freeze_begin(ms)) {
		say_error(s, errno, "the processes can't be frozen");
		return;
	}
	freezer = s->id;
	say(s, AGENT_FROZEN, NULL, 0);
}

static void take_input(struct session *s, const uint8_t *p, size_t size)
{
	if (size > s->wanted || s->input_end)
		return; /* more than was asked for is nobody's */
	s->wanted -= (uint32_t)size;
	if (s->child.in >= 0)
		bytes_add(&s->input, p, size);
}

static void message(struct session *s, uint8_t type, const uint8_t *p, size_t size)
{
	if (!s->begun) {
		s->begun = true;
		if (type == AGENT_EXEC)
			begin_command(s, p, size);
		else if (type == AGENT_FREEZE)
			begin_freeze(s, p, size);
		else
			say_error(s, EPROTO, "the session");
		return;
	}
	switch (type) {
	case AGENT_STDIN:
		take_input(s, p, size);
		break;
	case AGENT_STDIN_END:
		s->input_end = true;
		break;
	case AGENT_SIGNAL:
		/* It leads a group of its own. */
		if (size == 1 && s->child.pid > 0 && !s->reaped && p[0] < 65)
			kill(-s->child.pid, p[0]);
		break;
	case AGENT_RESIZE:
		if (size == 4 && s->tty && s->child.out >= 0) {
			struct winsize w = {.ws_row = (unsigned short)agent_load(p, 2),
				.ws_col = (unsigned short)agent_load(p + 2, 2)};

			ioctl(s->child.out, TIOCSWINSZ, &w);
		}
		break;
	case AGENT_THAW:
		thaw(s);
		break;
	default:
		break;
	}
}

/* A command that begins now would stand still before it is one, and we would wait for it. */
static bool must_wait(const struct session *s, uint8_t type)
{
	return !s->begun && type == AGENT_EXEC && freeze_under_way();
}

static void take_messages(struct session *s)
{
	while (bytes_size(&s->in) >= AGENT_MESSAGE_HEAD && !s->told) {
		const uint8_t *p = s->in.data + s->in.begin;
		uint64_t n = agent_load(p, 4);

		if (n < 1 || n > AGENT_MESSAGE_MAX) {
			say_error(s, EPROTO, "a message of the session");
			break;
		}
		if (bytes_size(&s->in) < 4 + n || must_wait(s, p[4]))
			return;
		message(s, p[4], p + AGENT_MESSAGE_HEAD, (size_t)n - 1);
		bytes_take(&s->in, 4 + (size_t)n);
	}
	if (s->told)
		bytes_free(&s->in);
}

static void take_data(struct session *s, const uint8_t *p, uint32_t size)
{
	if (bytes_size(&s->in) + size > IN_MAX) {
		say_error(s, EPROTO, "more than a session has room for");
		bytes_free(&s->in);
		return;
	}
	bytes_add(&s->in, p, size);
	take_messages(s);
}

static struct session *find(uint64_t id)
{
	for (struct session *s = sessions; s < sessions + SESSIONS_MAX; s++) {
		if (s->used && s->id == id)
			return s;
	}
	return NULL;
}

static void open_session(uint64_t id, uint64_t credit)
{
	for (struct session *s = sessions; s < sessions + SESSIONS_MAX; s++) {
		if (s->used)
			continue;
		*s = (struct session){
			.used = true, .id = id, .credit = credit, .child = no_child};
		return;
	}
	/* All are taken: this one ends before it began. */
	link_send(AGENT_END, id, NULL, 0);
}

void session_frame(const struct agent_frame *f)
{
	struct session *s = f->session ? find(f->session) : NULL;

	switch (f->type) {
	case AGENT_OPEN:
		if (f->session && !s && f->size == 4)
			open_session(f->session, agent_load(f->payload, 4));
		break;
	case AGENT_CREDIT:
		if (s && f->size == 4)
			s->credit += agent_load(f->payload, 4);
		break;
	case AGENT_DATA:
		if (s && !s->told)
			take_data(s, f->payload, f->size);
		break;
	case AGENT_END:
		if (s)
			s->input_end = true;
		break;
	case AGENT_CLOSE:
		if (!s)
			break;
		if (s->child.pid > 0 && !s->reaped)
			kill(-s->child.pid, SIGHUP);
		s->input_end = true;
		abandon(s);
		break;
	default:
		break;
	}
}

/* ---- from the command ------------------------------------------------------------------------- */

static void send_output(struct session *s)
{
	while (bytes_size(&s->out) && s->credit && !link_full()) {
		size_t n = bytes_size(&s->out);

		if (n > AGENT_PAYLOAD)
			n = AGENT_PAYLOAD;
		if (n > s->credit)
			n = (size_t)s->credit;
		link_send(AGENT_DATA, s->id, s->out.data + s->out.begin, (uint32_t)n);
		bytes_take(&s->out, n);
		s->credit -= n;
	}
	if (s->told && !bytes_size(&s->out)) {
		link_send(AGENT_END, s->id, NULL, 0);
		forget(s);
	}
}

/* True: there may be more. */
static bool read_output(struct session *s, int *fd, enum agent_message type)
{
	uint8_t buf[OUTPUT_CHUNK];
	ssize_t n;

	if (*fd < 0 || bytes_size(&s->out) >= OUTPUT_MAX)
		return false;
	n = read(*fd, buf, sizeof(buf));
	if (n > 0) {
		say(s, type, buf, (size_t)n);
		return true;
	}
	/* A terminal without a process on it is an error, and the end. */
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_fd(fd);
	return false;
}

static void write_input(struct session *s)
{
	while (s->child.in >= 0 && bytes_size(&s->input)) {
		ssize_t n = write(s->child.in, s->input.data + s->input.begin,
			bytes_size(&s->input));

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			close_fd(&s->child.in);
			bytes_free(&s->input);
			return;
		}
		bytes_take(&s->input, (size_t)n);
	}
	if (s->child.in < 0)
		return;
	if (s->input_end) {
		/* Control-D ends what is read from a terminal. */
		if (s->tty && s->id && write(s->child.in, "\4", 1) < 0 && errno == EAGAIN)
			return;
		close_fd(&s->child.in);
		return;
	}
	if (s->wanted < STDIN_WINDOW / 2) {
		say_number(s, AGENT_WANTED, STDIN_WINDOW - s->wanted);
		s->wanted = STDIN_WINDOW;
	}
}

/* What it wrote before it ended is there by now; what others of its kind still write is not waited for. */
static void finish(struct session *s)
{
	uint8_t how[2];
	bool more = true;

	if (s->reaped && !s->id)
		forget(s);
	if (!s->reaped || s->told || bytes_size(&s->out) >= OUTPUT_MAX)
		return;
	while (more) {
		more = read_output(s, &s->child.out, AGENT_STDOUT);
		more |= read_output(s, &s->child.err, AGENT_STDERR);
	}
	if (bytes_size(&s->out) >= OUTPUT_MAX)
		return;
	how[0] = WIFSIGNALED(s->status);
	how[1] = (uint8_t)(how[0] ? WTERMSIG(s->status) : WEXITSTATUS(s->status));
	say(s, AGENT_EXIT, how, sizeof(how));
	s->told = true;
}

bool sessions_ready(void)
{
	for (const struct session *s = sessions; s < sessions + SESSIONS_MAX; s++) {
		if (s->used && s->id && s->credit && bytes_size(&s->out))
			return !link_full();
	}
	return false;
}

unsigned sessions_poll(struct pollfd *fds)
{
	unsigned n = 0;

	for (struct session *s = sessions; s < sessions + SESSIONS_MAX; s++) {
		bool room = bytes_size(&s->out) < OUTPUT_MAX;

		memset(s->ready, 0, sizeof(s->ready));
		if (!s->used)
			continue;
		if (s->child.in >= 0 && (bytes_size(&s->input) || s->input_end)) {
			s->ready[0] = &fds[n];
			fds[n++] = (struct pollfd){.fd = s->child.in, .events = POLLOUT};
		}
		if (s->child.out >= 0 && room) {
			s->ready[1] = &fds[n];
			fds[n++] = (struct pollfd){.fd = s->child.out, .events = POLLIN};
		}
		if (s->child.err >= 0 && room) {
			s->ready[2] = &fds[n];
			fds[n++] = (struct pollfd){.fd = s->child.err, .events = POLLIN};
		}
	}
	return n;
}

void sessions_work(void)
{
	for (struct session *s = sessions; s < sessions + SESSIONS_MAX; s++) {
		if (!s->used)
			continue;
		if (!s->begun && s->id)
			take_messages(s);
		if (s->child.in >= 0 && (!s->ready[0] || s->ready[0]->revents))
			write_input(s);
		if (s->ready[1] && s->ready[1]->revents)
			read_output(s, &s->child.out, AGENT_STDOUT);
		if (s->ready[2] && s->ready[2]->revents)
			read_output(s, &s->child.err, AGENT_STDERR);
		finish(s);
		if (s->used && s->id)
			send_output(s);
	}
}

void sessions_reaped(pid_t pid, int status)
{
	for (struct session *s = sessions; s < sessions + SESSIONS_MAX; s++) {
		if (s->used && s->child.pid == pid && !s->reaped) {
			s->reaped = true;
			s->status = status;
			return;
		}
	}
}
