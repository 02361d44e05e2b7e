/*
 * The management server on TCP of this system, over the fake hypervisor: `fake-host [PORT]` listens
 * on 127.0.0.1 (port 0, which is the default: any) and prints the port. What creelctl's tests run
 * against, and a way to try creelctl without an emulator.
 */
#include "mgmt/server.h"
#include "tests/fake_hv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 64

struct client {
	int fd; /* -1: free */
	bool blocked;
	struct conn *conn;
};

static struct client clients[CLIENTS_MAX];

static int64_t socket_read(void *transport, uint8_t *buf, size_t size)
{
	struct client *c = transport;
	ssize_t n = recv(c->fd, buf, size, MSG_DONTWAIT);

	if (n > 0)
		return n;
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : ERR_CLOSED;
}

static int64_t socket_write(void *transport, const uint8_t *buf, size_t size)
{
	struct client *c = transport;
	ssize_t n = send(c->fd, buf, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		return n;
	c->blocked = errno == EAGAIN || errno == EINTR;
	return c->blocked ? 0 : ERR_CLOSED;
}

static void socket_close(void *transport, bool now)
{
	struct client *c = transport;
	uint8_t rest[4096];

	/* Unread bytes would turn the close into a reset, which may overtake the last answer. */
	while (!now && recv(c->fd, rest, sizeof(rest), MSG_DONTWAIT) > 0)
		;
	close(c->fd);
	c->fd = -1;
}

static const struct transport_ops socket_ops = {
	.read = socket_read,
	.write = socket_write,
	.close = socket_close,
};

static int listen_on(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t size = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0) {
		perror("fake-host: listen");
		exit(1);
	}
	getsockname(fd, (struct sockaddr *)&a, &size);
	printf("%u\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

static void accept_client(struct server *s, int listener)
{
	int fd = accept(listener, NULL, NULL), one = 1;
	struct client *c = clients;

	while (c < clients + CLIENTS_MAX && c->fd >= 0)
		c++;
	if (fd < 0 || c == clients + CLIENTS_MAX) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*c = (struct client){.fd = fd};
	server_accept(s, &socket_ops, c, INADDR_LOOPBACK, host_now_us(), &c->conn);
}

int main(int argc, char **argv)
{
	const struct server_config config = SERVER_CONFIG_DEFAULT;
	size_t size = server_memory(&config);
	struct server server;
	int listener;

	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < CLIENTS_MAX; i++)
		clients[i].fd = -1;
	if (server_init(&server, &config, aligned_alloc(16, size), size) < 0)
		return 1;
	fake_log("fake host: no machine was harmed");
	fake_log("management: listening");
	listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
	for (;;) {
		struct pollfd fds[CLIENTS_MAX + 1] = {{.fd = listener, .events = POLLIN}};
		bool busy = fake_tick();

		busy = server_poll(&server, host_now_us()) || busy;
		for (int i = 0; i < CLIENTS_MAX; i++)
			fds[i + 1] = (struct pollfd){.fd = clients[i].fd,
				.events = (short)(POLLIN | (clients[i].blocked ? POLLOUT : 0))};
		if (poll(fds, CLIENTS_MAX + 1, busy ? 0 : 2) <= 0)
			continue;
		for (int i = 0; i < CLIENTS_MAX; i++) {
			if (fds[i + 1].revents && clients[i].fd >= 0) {
				clients[i].blocked = false;
				server_event(&server, clients[i].conn);
			}
		}
		if (fds[0].revents)
			accept_client(&server, listener);
	}
}
