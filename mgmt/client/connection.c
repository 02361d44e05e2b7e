/* A connection of libcreel: the socket, the hello, and frames over it. */
#include "mgmt/client/config.h"
#include "mgmt/client/internal.h"

#include "lib/wipe.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct creel *creel_new(void)
{
	struct creel *c = calloc(1, sizeof(*c));

	if (c)
		c->fd = c->poll_fd = -1;
	return c;
}

static void disconnect(struct creel *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	wipe(&c->channel, sizeof(c->channel));
	c->begin = c->end = 0;
	c->wire_size = 0;
	c->watched = 0;
}

/* With all calls on it. */
static void end_connection(struct creel *c)
{
	disconnect(c);
	client_fail(c, CREEL_CANCELLED, "the connection was closed here");
	client_end_calls(c, CREEL_CANCELLED);
}

void creel_free(struct creel *c)
{
	if (!c)
		return;
	end_connection(c);
	if (c->poll_fd >= 0)
		close(c->poll_fd);
	if (c->wire)
		wipe(c->wire, c->wire_room);
	free(c->wire);
	wipe(c->private_key, sizeof(c->private_key));
	free(c);
}

const char *creel_error_text(const struct creel *c)
{
	return c->error;
}

const char *creel_client(const struct creel *c)
{
	return c->client;
}

enum creel_role creel_role(const struct creel *c)
{
	return (enum creel_role)c->role;
}

uint32_t creel_retry_ms(const struct creel *c)
{
	return c->retry_ms;
}

int client_fail(struct creel *c, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(c->error, sizeof(c->error), format, ap);
	va_end(ap);
	c->async_done = NULL;
	return code;
}

int client_lost(struct creel *c, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(c->error, sizeof(c->error), format, ap);
	va_end(ap);
	c->async_done = NULL;
	disconnect(c);
	return code;
}

/* ---- frames ---- */

int client_send(struct creel *c, uint16_t type, uint64_t request, const void *message)
{
	size_t size;

	if (c->fd < 0)
		return client_fail(c, CREEL_CONNECTION, "not connected to a host");
	size = proto_encode(c->send, sizeof(c->send), type, 0, request, message);
	if (!size)
		return client_fail(c, CREEL_TOOBIG,
			"the request is larger than the %u bytes of a frame", PROTO_FRAME_MAX);
	if (channel_write(&c->channel, c->send, size) != (int64_t)size)
		return client_lost(c, CREEL_CONNECTION, "the keys of this connection are used up");
	return client_seal_flush(c);
}

int client_request(struct creel *c, uint16_t type, const void *message, uint64_t *request)
{
	if (c->async_done)
		return client_fail(c, CREEL_UNSUPPORTED,
			"this call is one that can only be waited for");
	if (c->inside)
		return client_fail(c, CREEL_INVALID, "a callback can start calls, but not wait");
	c->retry_ms = 0;
	*request = ++c->next_request;
	return client_send(c, type, *request, message);
}

bool client_has_frame(const struct creel *c)
{
	struct proto_header h;

	return proto_header(c->receive + c->begin, c->end - c->begin, &h) != ERR_AGAIN &&
	       h.length <= c->end - c->begin;
}

/* That may be a part of a message, and no byte more of the frames in it. */
int client_fill(struct creel *c, bool wait)
{
	unsigned no_wait = c->no_wait;
	int64_t n;

	if (c->begin) {
		memmove(c->receive, c->receive + c->begin, c->end - c->begin + c->channel.parked);
		c->end -= c->begin;
		c->begin = 0;
	}
	/* Calls that were started may have left something. */
	if (wait && c->wire_size) {
		c->no_wait = 0;
		int err = client_seal_flush(c);

		c->no_wait = no_wait;
		if (err != CREEL_OK)
			return err;
	}
	c->timed_out = false;
	c->no_wait = !wait;
	n = channel_read(&c->channel, c->receive + c->end, sizeof(c->receive) - c->end);
	c->no_wait = no_wait;
	if (c->timed_out && wait)
		return client_lost(c, CREEL_TIMEOUT, "the host did not answer in time");
	if (n == ERR_INVALID)
		return client_lost(c, CREEL_PROTOCOL,
			"a message on this connection was forged, or damaged on its way");
	if (n < 0 && c->broken)
		return client_lost(c, CREEL_CONNECTION, "the connection to the host broke: %s",
			strerror(c->broken));
	if (n < 0)
		return client_lost(c, CREEL_CONNECTION, "the host closed the connection");
	c->end += (size_t)n;
	return CREEL_OK;
}

int client_next_frame(struct creel *c, struct frame *f)
{
	int err;

	if (c->fd < 0)
		return client_fail(c, CREEL_CONNECTION, "not connected to a host");
	for (;;) {
		err = proto_header(c->receive + c->begin, c->end - c->begin, &f->header);
		if (err == ERR_INVALID)
			return client_lost(c, CREEL_PROTOCOL,
				"what answers there is no Creel host, or one of another version");
		if (err == OK && f->header.length <= c->end - c->begin)
			break;
		err = client_fill(c, true);
		if (err != CREEL_OK)
			return err;
	}
	const uint8_t *frame = c->receive + c->begin;

	c->begin += f->header.length;
	if (proto_decode(&f->header, frame, &f->message) < 0)
		return client_lost(c, CREEL_PROTOCOL,
			"the host sent a malformed answer (type 0x%x)", f->header.type);
	return CREEL_OK;
}

int client_receive(struct creel *c, uint64_t request, struct frame *f)
{
	int err;

	do {
		err = client_next_frame(c, f);
		if (err != CREEL_OK)
			return err;
		/* Request 0 stands for the connection as a whole. */
		if (f->header.request == request || f->header.request == 0)
			break;
		client_dispatch(c, f);
	} while (c->fd >= 0);
	if (c->fd < 0)
		return CREEL_CONNECTION;
	return f->header.type == PROTO_ERROR ? client_error(c, f) : CREEL_OK;
}

int client_error(struct creel *c, const struct frame *f)
{
	const struct proto_error *e = &f->message.error;

	c->retry_ms = e->retry_ms;
	if (e->code == PROTO_E_PROTOCOL || e->code == PROTO_E_VERSION || e->code == PROTO_E_TIMEOUT)
		return client_lost(c, e->code, "%s", e->text);
	return client_fail(c, e->code, "%s", e->text);
}

int client_cancel(struct creel *c, uint64_t request)
{
	struct frame f;
	int err = client_send(c, PROTO_CANCEL, request, NULL);

	do {
		if (err == CREEL_OK)
			err = client_receive(c, request, &f);
	} while (err == CREEL_OK && !(f.header.flags & PROTO_FINAL));
	if (c->fd < 0)
		return err;
	return client_fail(c, CREEL_CANCELLED, "cancelled");
}

int client_beyond_credit(struct creel *c)
{
	return client_lost(c, CREEL_PROTOCOL, "the host sent more than it was asked for");
}

int client_unexpected(struct creel *c, const struct frame *f)
{
	return client_lost(c, CREEL_PROTOCOL, "the host answered with an unexpected %s",
		proto_type_name(f->header.type));
}

/* ---- connecting ---- */

static int connect_within(int fd, const struct addrinfo *a, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int error = 0, flags = fcntl(fd, F_GETFL);
	socklen_t size = sizeof(error);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
		if (errno != EINPROGRESS)
			return errno;
		if (poll(&p, 1, timeout_ms > 0 ? timeout_ms : -1) <= 0)
			return ETIMEDOUT;
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	}
	fcntl(fd, F_SETFL, flags);
	return error;
}

/* A host that has lost its power says nothing any more: in half a minute the connection is over. */
static void keep_alive(int fd)
{
	const int one = 1, idle = 15, interval = 5, probes = 3;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

static void set_timeout(int fd, int timeout_ms)
{
	struct timeval t = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
}

static int say_hello(struct creel *c, const char *address)
{
	struct proto_hello hello = {
		.magic = PROTO_MAGIC,
		.version_min = PROTO_VERSION,
		.version_max = PROTO_VERSION,
		.client = "libcreel",
	};
	struct frame f;
	int err = client_send(c, PROTO_HELLO, 0, &hello);

	if (err == CREEL_OK)
		err = client_receive(c, 0, &f);
	if (err == CREEL_CONNECTION)
		return client_lost(c, err,
			"%s took the connection and closed it: it is full",
			address);
	if (err == CREEL_OK && f.header.type != PROTO_WELCOME)
		return client_unexpected(c, &f);
	if (err != CREEL_OK)
		return err;
	set_timeout(c->fd, 0);
	c->role = f.message.welcome.role;
	memcpy(c->client, f.message.welcome.client, sizeof(c->client));
	memcpy(c->boot_id, f.message.welcome.boot_id, sizeof(c->boot_id));
	return CREEL_OK;
}

/* A TCP connection. */
static int reach(struct creel *c, const char *address, int timeout_ms)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list, *a;
	char host[CREEL_ADDRESS_SIZE], port[CONFIG_PORT_SIZE];
	const int room = RECEIVE_BUFFER;
	int error = 0, one = 1;

	if (c->inside)
		return client_fail(c, CREEL_INVALID, "a callback can't connect");
	end_connection(c);
	if (!client_split_address(address, host, port))
		return client_fail(c, CREEL_INVALID,
			"\"%s\" is no address: give HOST or HOST:PORT, as in 192.0.2.7:7117",
			address);
	error = getaddrinfo(host, port, &hints, &list);
	if (error)
		return client_fail(c, CREEL_CONNECTION, "can't find host \"%s\": %s", host,
			gai_strerror(error));
	for (a = list; a && c->fd < 0; a = a->ai_next) {
		c->fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (c->fd >= 0)
			setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
		error = c->fd < 0 ? errno : connect_within(c->fd, a, timeout_ms);
		if (error)
			disconnect(c);
	}
	freeaddrinfo(list);
	if (c->fd < 0)
		return client_fail(c, CREEL_CONNECTION, "can't connect to %s port %s: %s", host,
			port, strerror(error));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	keep_alive(c->fd);
	set_timeout(c->fd, timeout_ms);
	return CREEL_OK;
}

int creel_connect(struct creel *c, const char *address, const uint8_t host_key[CREEL_KEY_SIZE],
	const uint8_t private_key[CREEL_KEY_SIZE], int timeout_ms)
{
	int err = reach(c, address, timeout_ms);

	if (err == CREEL_OK)
		err = client_seal(c, address, host_key, private_key);
	if (err == CREEL_OK)
		err = say_hello(c, address);
	if (err != CREEL_OK)
		return err;
	if (address != c->address) {
		snprintf(c->address, sizeof(c->address), "%s", address);
		memcpy(c->host_key, host_key, CREEL_KEY_SIZE);
		memcpy(c->private_key, private_key, CREEL_KEY_SIZE);
		c->timeout_ms = timeout_ms;
	}
	return CREEL_OK;
}

int client_reconnect(struct creel *c)
{
	uint64_t boot_id[2] = {c->boot_id[0], c->boot_id[1]};
	int err;

	if (!c->address[0])
		return CREEL_CONNECTION;
	err = creel_connect(c, c->address, c->host_key, c->private_key, c->timeout_ms);
	/* Its numbers and names are others now. */
	if (err == CREEL_OK && memcmp(boot_id, c->boot_id, sizeof(boot_id)) != 0)
		return client_lost(c, CREEL_CONNECTION, "the host was restarted meanwhile");
	return err;
}

int creel_open(struct creel *c, const char *host, int timeout_ms)
{
	struct creel_host found;
	uint8_t private[CREEL_KEY_SIZE];
	int err = creel_find_host(c, host, &found);

	if (err == CREEL_OK)
		err = creel_load_key(c, NULL, private);
	if (err != CREEL_OK)
		return err;
	err = creel_connect(c, found.address, found.key, private, timeout_ms);
	wipe(private, sizeof(private));
	return err;
}
