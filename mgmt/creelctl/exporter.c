/*
 * creelctl exporter: metrics of one or many hosts for Prometheus, over a small HTTP/1.1 server. Each
 * host has a thread that asks it when a scrape wants to know; the main thread serves scrapers, and
 * answers with what has come by the deadline. A host that has not answered by then is down.
 *
 * Scrapers may be anyone: there are few of them at once, each has little time, little room for its
 * request, and one request.
 */
#include "mgmt/creelctl/exporter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LISTEN_DEFAULT "127.0.0.1:9717"
#define HOSTS_MAX      256
#define SCRAPERS       64
#define REQUEST_MAX    8192
#define GUESTS_DEFAULT 1000
#define CONNECT_MS     5000

#define READ_NS   10000000000u /* for a whole request */
#define HOSTS_NS  8000000000u  /* for the hosts; Prometheus gives up after 10 s */
#define WRITE_NS  30000000000u
#define RECENT_NS 500000000u   /* what is younger serves the next scrape too */

static struct {
	const char *listen;
	uint64_t guests;
	bool no_guests;
} asked;

struct source {
	const char *name;
	struct settings settings;
	pthread_t thread;
	size_t guests;
	/* Under `lock`. */
	bool wanted;
	uint64_t begun_ns; /* when the collecting began whose result is in `host` */
	struct exporter_host host;
};

enum scraper_state { FREE, READING, WAITING, WRITING };

struct scraper {
	enum scraper_state state;
	int fd;
	uint64_t asked_ns, deadline_ns;
	size_t in_size;
	char in[REQUEST_MAX];
	bool head;
	char *out; /* header and body */
	size_t out_size, sent;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t some_wanted = PTHREAD_COND_INITIALIZER;
static struct source *sources;
static size_t source_count;
static struct scraper scrapers[SCRAPERS];
static int wake[2]; /* a pipe: a host is done */
static volatile sig_atomic_t stop;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- a host ---- */

static void collect(struct source *src)
{
	uint64_t begun = now_ns();
	struct exporter_host next = {.name = src->name};
	int code = CREEL_CONNECTION;

	/* A connection that broke meanwhile is made anew, once. */
	for (int i = 0; i < 2 && code != CREEL_OK; i++) {
		exporter_forget(&next.samples);
		code = exporter_collect(src->settings.host_connection, src->guests, &next.samples);
		if (code != CREEL_OK &&
			creel_open(src->settings.host_connection, src->settings.host, CONNECT_MS) !=
				CREEL_OK)
			break;
	}
	next.up = code == CREEL_OK;
	if (!next.up)
		exporter_forget(&next.samples);
	next.seconds = (double)(now_ns() - begun) / 1e9;
	pthread_mutex_lock(&lock);
	exporter_forget(&src->host.samples);
	src->host = next;
	src->begun_ns = begun;
	pthread_mutex_unlock(&lock);
	/* Full: it is awake, then. */
	if (write(wake[1], "", 1) < 0)
		return;
}

static void *source_main(void *arg)
{
	struct source *src = arg;

	while (!stop) {
		pthread_mutex_lock(&lock);
		while (!src->wanted)
			pthread_cond_wait(&some_wanted, &lock);
		src->wanted = false;
		pthread_mutex_unlock(&lock);
		collect(src);
	}
	return NULL;
}

static void start_sources(const struct settings *s, int argc, char **argv)
{
	source_count = argc ? (size_t)argc : 1;
	sources = calloc(source_count, sizeof(*sources));
	if (!sources)
		abort();
	for (size_t i = 0; i < source_count; i++) {
		struct source *src = &sources[i];
		const char *from = getenv("CREEL_HOST");

		src->settings = *s;
		if (argc)
			src->settings.host = argv[i];
		src->settings.host_connection = creel_new();
		src->name = src->settings.host ? src->settings.host : from ? from : "default";
		src->host.name = src->name;
		src->guests = asked.no_guests ? 0 : asked.guests;
		if (!src->settings.host_connection ||
			pthread_create(&src->thread, NULL, source_main, src))
			abort();
	}
}

/* ---- a scraper ---- */

static void scraper_end(struct scraper *c)
{
	close(c->fd);
	free(c->out);
	c->out = NULL;
	c->state = FREE;
}

static void answer(struct scraper *c, const char *status, const char *type, const char *body, size_t size)
{
	char header[256];
	int n = snprintf(header, sizeof(header),
		"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
		status, type, size);

	c->out_size = (size_t)n + (c->head ? 0 : size);
	c->out = malloc(c->out_size + 1);
	if (!c->out)
		abort();
	memcpy(c->out, header, (size_t)n);
	if (!c->head && size)
		memcpy(c->out + n, body, size);
	c->sent = 0;
	c->state = WRITING;
	c->deadline_ns = now_ns() + WRITE_NS;
}

static void answer_plainly(struct scraper *c, const char *status)
{
	char body[128];
	int n = snprintf(body, sizeof(body), "%s\n", status);

	answer(c, status, "text/plain; charset=utf-8", body, (size_t)n);
}

/* The request line and its end are in c->in: "GET /metrics HTTP/1.1". */
static void take_request(struct scraper *c)
{
	char *line = c->in, *end = strpbrk(line, "\r\n"), *target, *version;

	if (end)
		*end = 0;
	target = strchr(line, ' ');
	version = target ? strchr(target + 1, ' ') : NULL;
	if (!version || strncmp(version, " HTTP/1.", 8)) {
		answer_plainly(c, "400 Bad Request");
		return;
	}
	*target++ = 0;
	*version = 0;
	target[strcspn(target, "?")] = 0;
	c->head = !strcmp(line, "HEAD");
	if (!c->head && strcmp(line, "GET")) {
		answer_plainly(c, "405 Method Not Allowed");
	} else if (!strcmp(target, "/")) {
		answer_plainly(c, "200 OK");
	} else if (strcmp(target, "/metrics")) {
		answer_plainly(c, "404 Not Found");
	} else {
		c->state = WAITING;
		c->asked_ns = now_ns();
		c->deadline_ns = c->asked_ns + HOSTS_NS;
		pthread_mutex_lock(&lock);
		for (size_t i = 0; i < source_count; i++)
			sources[i].wanted = true;
		pthread_cond_broadcast(&some_wanted);
		pthread_mutex_unlock(&lock);
	}
}

static void scraper_read(struct scraper *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_size, sizeof(c->in) - 1 - c->in_size, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		scraper_end(c);
		return;
	}
	c->in_size += (size_t)n;
	c->in[c->in_size] = 0;
	if (memchr(c->in, 0, c->in_size))
		answer_plainly(c, "400 Bad Request");
	else if (strstr(c->in, "\r\n\r\n") || strstr(c->in, "\n\n"))
		take_request(c);
	else if (c->in_size == sizeof(c->in) - 1)
		answer_plainly(c, "431 Request Header Fields Too Large");
}

static void scraper_write(struct scraper *c)
{
	ssize_t n = send(c->fd, c->out + c->sent, c->out_size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		scraper_end(c);
		return;
	}
	c->sent += (size_t)n;
	if (c->sent < c->out_size)
		return;
	/* Unread bytes would turn the close into a reset, which may overtake what was sent. */
	shutdown(c->fd, SHUT_WR);
	for (int i = 0; i < 16 && recv(c->fd, c->in, sizeof(c->in), MSG_DONTWAIT) > 0; i++)
		;
	scraper_end(c);
}

/* Answers if all hosts have told, or it is time. */
static void scraper_wait(struct scraper *c, uint64_t now)
{
	struct exporter_host *hosts;
	bool all = true;
	size_t size;
	char *text;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < source_count; i++)
		all = all && sources[i].begun_ns + RECENT_NS >= c->asked_ns;
	if (!all && now < c->deadline_ns) {
		pthread_mutex_unlock(&lock);
		return;
	}
	hosts = calloc(source_count, sizeof(*hosts));
	if (!hosts)
		abort();
	for (size_t i = 0; i < source_count; i++) {
		hosts[i] = sources[i].host;
		if (sources[i].begun_ns + RECENT_NS < c->asked_ns)
			hosts[i] = (struct exporter_host){.name = sources[i].name};
	}
	text = exporter_text(hosts, source_count, &size);
	pthread_mutex_unlock(&lock);
	free(hosts);
	answer(c, "200 OK", "text/plain; version=0.0.4; charset=utf-8", text, size);
	free(text);
}

static void accept_scraper(int listener)
{
	static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
				   "Connection: close\r\n\r\n";
	int fd = accept(listener, NULL, NULL);
	struct scraper *c = scrapers;

	if (fd < 0)
		return;
	while (c < scrapers + SCRAPERS && c->state != FREE)
		c++;
	if (c == scrapers + SCRAPERS) {
		if (send(fd, busy, sizeof(busy) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			errno = 0; /* it is turned away in any case */
		close(fd);
		return;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	c->state = READING;
	c->fd = fd;
	c->in_size = 0;
	c->head = false;
	c->out = NULL;
	c->deadline_ns = now_ns() + READ_NS;
}

/* ---- the server ---- */

static void serve_scraper(struct scraper *c, short events, uint64_t now)
{
	switch (c->state) {
	case READING:
		if (events)
			scraper_read(c);
		else if (now >= c->deadline_ns)
			answer_plainly(c, "408 Request Timeout");
		break;
	case WAITING:
		if (events & (POLLERR | POLLHUP))
			scraper_end(c);
		else
			scraper_wait(c, now);
		break;
	case WRITING:
		if (events)
			scraper_write(c);
		else if (now >= c->deadline_ns)
			scraper_end(c);
		break;
	default:
		break;
	}
}

static void serve(int listener)
{
	struct pollfd fds[SCRAPERS + 2];
	char drop[256];

	while (!stop) {
		fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = wake[0], .events = POLLIN};
		for (int i = 0; i < SCRAPERS; i++) {
			const struct scraper *c = &scrapers[i];

			fds[i + 2] = (struct pollfd){.fd = c->state == FREE ? -1 : c->fd};
			fds[i + 2].events = c->state == READING	 ? POLLIN
					    : c->state == WRITING ? POLLOUT
								  : 0;
		}
		if (poll(fds, SCRAPERS + 2, 250) < 0)
			continue;
		if (fds[1].revents && read(wake[0], drop, sizeof(drop)) < 0)
			continue;
		uint64_t now = now_ns();

		for (int i = 0; i < SCRAPERS; i++)
			serve_scraper(&scrapers[i], fds[i + 2].revents, now);
		if (fds[0].revents)
			accept_scraper(listener);
	}
}

/* "ADDR:PORT", "[ADDR]:PORT", ":PORT"; -1 after it has said what is wrong. */
static int listen_at(const char *text)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	char host[256], *port, *begin = host;
	struct addrinfo *list = NULL;
	int fd = -1, one = 1;

	snprintf(host, sizeof(host), "%s", text);
	port = strrchr(host, ':');
	if (!port) {
		complain("\"%s\" is no address to listen at: give ADDR:PORT", text);
		return -1;
	}
	*port++ = 0;
	if (begin[0] == '[' && port[-2] == ']') {
		begin++;
		port[-2] = 0;
	}
	if (!port[0] || strspn(port, "0123456789") != strlen(port) || atol(port) > 65535) {
		complain("\"%s\" has no port from 0 to 65535: give ADDR:PORT", text);
		return -1;
	}
	int error = getaddrinfo(begin[0] ? begin : NULL, port, &hints, &list);

	if (error) {
		complain("can't listen at %s: %s", text, gai_strerror(error));
		return -1;
	}
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) < 0 || listen(fd, SCRAPERS) < 0) {
		complain("can't listen at %s: %s", text, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

static void say_where(int fd)
{
	struct sockaddr_storage a;
	socklen_t size = sizeof(a);
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getsockname(fd, (struct sockaddr *)&a, &size) == 0 &&
		getnameinfo((struct sockaddr *)&a, size, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		printf(a.ss_family == AF_INET6 ? "http://[%s]:%s/metrics\n" : "http://%s:%s/metrics\n",
			host, port);
	fflush(stdout);
}

static void on_end(int number)
{
	(void)number;
	stop = 1;
}

static int run_exporter(struct settings *s, int argc, char **argv)
{
	const struct sigaction end = {.sa_handler = on_end};
	int listener;

	if (!asked.guests)
		asked.guests = GUESTS_DEFAULT;
	if (argc > HOSTS_MAX) {
		complain("at most %d hosts", HOSTS_MAX);
		return EXIT_USAGE;
	}
	for (int i = 0; i < argc; i++) {
		struct creel_host known;
		int code = creel_find_host(s->host_connection, argv[i], &known);

		if (code != CREEL_OK)
			return failed(s, code);
	}
	listener = listen_at(asked.listen ? asked.listen : LISTEN_DEFAULT);
	if (listener < 0)
		return EXIT_REFUSED;
	if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	start_sources(s, argc, argv);
	say_where(listener);
	serve(listener);
	/* The threads may be in the middle of anything: they go with the process. */
	return EXIT_DONE;
}

/* clang-format off: rows of tables */
static const struct option exporter_options[] = {
	VALUE(0, "listen", TEXT, &asked.listen, "ADDR:PORT", "where to (" LISTEN_DEFAULT ")"),
	VALUE(0, "guests", NUMBER, &asked.guests, "N",
		"metrics for so many guests of a host; the others are summed up (1000)"),
	FLAG(0, "no-guests", &asked.no_guests, "all guests of a host are summed up"),
	END_OPTIONS,
};
/* clang-format on */

const struct command exporter_commands[] = {
	{
		.name = "exporter",
		.synopsis = "[OPTION...] [HOST...]",
		.summary = "serve metrics of hosts to Prometheus",
		.text = "HOSTs are names of your configuration; none: the host that other commands talk to.\n"
			"A host that does not answer has creel_up 0. Guests beyond --guests are those with\n"
			"least memory of their own, and have guest=\"other\" together. It ends with ^C.",
		.options = exporter_options,
		.most = -1,
		.offline = true,
		.arguments = NAMES_HOST,
		.more = NAMES_HOST,
		.run = run_exporter,
	},
	END_COMMANDS,
};
