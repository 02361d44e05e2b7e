/*
 * The management server on TCP of this system, over the fake hypervisor. What creelctl's tests run
 * against, and a way to try creelctl without an emulator.
 *
 *     fake-host PORT KEY [CLIENT ROLE]...
 *
 * listens on 127.0.0.1 (port 0: any) with the private key KEY for clients with the public keys CLIENT,
 * in hexadecimal, and a role of boot/config.h as its number. Prints the port and its own public key.
 */
#include "mgmt/server.h"
#include "tests/fake_hv.h"
#include "tests/mgmt/fake_agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define KEYS_MAX    16
#define OUT_SIZE    65536

struct client {
	int fd; /* -1: free */
	struct conn *conn;
	size_t out_size; /* what the socket has not taken yet */
	uint8_t out[OUT_SIZE];
};

static struct client clients[CLIENTS_MAX];
static struct channel_client keys[KEYS_MAX];
static struct channel_host sealed = {.clients = keys};

static int64_t socket_read(void *transport, uint8_t *buf, size_t size)
{
	struct client *c = transport;
	ssize_t n = recv(c->fd, buf, size, MSG_DONTWAIT);

	if (n > 0)
		return n;
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : ERR_CLOSED;
}

static void flush_client(struct client *c)
{
	ssize_t n = send(c->fd, c->out, c->out_size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0) {
		c->out_size -= (size_t)n;
		memmove(c->out, c->out + n, c->out_size);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		c->out_size = 0; /* reading tells the server */
	}
}

static int64_t socket_write(void *transport, const uint8_t *buf, size_t size)
{
	struct client *c = transport;
	size_t n = MIN(size, sizeof(c->out) - c->out_size);

	memcpy(c->out + c->out_size, buf, n);
	c->out_size += n;
	flush_client(c);
	return (int64_t)n;
}

static size_t socket_room(void *transport, size_t want)
{
	const struct client *c = transport;

	(void)want; /* each poll tells */
	return sizeof(c->out) - c->out_size;
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
	.room = socket_room,
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
	printf("%u ", ntohs(a.sin_port));
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
	c->fd = fd;
	c->out_size = 0;
	server_accept(s, &socket_ops, c, INADDR_LOOPBACK, host_now_us(), &c->conn);
}

static void random_bytes(void *buf, size_t size)
{
	if (getrandom(buf, size, 0) != (ssize_t)size)
		abort();
}

static void parse_key(uint8_t key[NOISE_KEY_SIZE], const char *text)
{
	for (size_t i = 0; i < NOISE_KEY_SIZE; i++) {
		unsigned byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			exit(2);
		key[i] = (uint8_t)byte;
	}
}

static void take_keys(int argc, char **argv)
{
	uint8_t private[NOISE_KEY_SIZE];

	if (argc < 3 || strlen(argv[2]) != 2 * NOISE_KEY_SIZE)
		exit(2);
	parse_key(private, argv[2]);
	noise_keys_from(&sealed.keys, private);
	sealed.random = random_bytes;
	for (int i = 3; i + 1 < argc && sealed.client_count < KEYS_MAX; i += 2) {
		struct channel_client *k = &keys[sealed.client_count++];

		if (strlen(argv[i]) != 2 * NOISE_KEY_SIZE)
			exit(2);
		parse_key(k->key, argv[i]);
		k->role = (uint8_t)atoi(argv[i + 1]);
	}
}

static void serve(struct server *server, int listener)
{
	for (;;) {
		struct pollfd fds[CLIENTS_MAX + 1 + FAKE_AGENTS_FDS] = {{.fd = listener, .events = POLLIN}};
		bool busy = fake_tick();

		busy |= fake_agents_tick();
		busy = server_poll(server, host_now_us()) || busy;
		for (int i = 0; i < CLIENTS_MAX; i++)
			fds[i + 1] = (struct pollfd){.fd = clients[i].fd,
				.events = (short)(POLLIN | (clients[i].out_size ? POLLOUT : 0))};
		unsigned agents = fake_agents_poll(fds + CLIENTS_MAX + 1);

		if (poll(fds, CLIENTS_MAX + 1 + agents, busy ? 0 : 2) <= 0)
			continue;
		for (int i = 0; i < CLIENTS_MAX; i++) {
			if (fds[i + 1].revents && clients[i].fd >= 0) {
				flush_client(&clients[i]);
				server_event(server, clients[i].conn);
			}
		}
		if (fds[0].revents)
			accept_client(server, listener);
	}
}

int main(int argc, char **argv)
{
	struct server_config config = SERVER_CONFIG_DEFAULT;
	struct server server;
	size_t size;
	int listener;

	signal(SIGPIPE, SIG_IGN);
	take_keys(argc, argv);
	config.host = &sealed;
	size = server_memory(&config);
	for (int i = 0; i < CLIENTS_MAX; i++)
		clients[i].fd = -1;
	if (server_init(&server, &config, aligned_alloc(16, size), size) < 0)
		return 1;
	fake_log("fake host: no machine was harmed");
	fake_log("management: listening");
	listener = listen_on((uint16_t)atoi(argv[1]));
	for (size_t i = 0; i < NOISE_KEY_SIZE; i++)
		printf("%02x", sealed.keys.public[i]);
	putchar('\n');
	fflush(stdout);
	serve(&server, listener);
}
