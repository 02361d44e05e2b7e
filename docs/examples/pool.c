/*
 * Forks a prepared guest many times, some at once, and waits for nothing but poll(): each fork is
 * made, killed and removed, and then makes room for the next.
 *
 *     cc pool.c -o pool $(pkg-config --cflags --libs libcreel)
 *     ./pool prepared 1000
 */
#include <creel.h>

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define AT_ONCE 16

struct slot {
	struct creel *c;
	const char *source;
	char id[24];
	int step;
};

static int left;
static int ran;

static void next(void *arg, int code);

static int made(void *arg, const struct creel_result *r)
{
	struct slot *s = arg;

	snprintf(s->id, sizeof(s->id), "%" PRIu64, r->id);
	return 0;
}

/* The first call of a fork, or the one after the last that went well. */
static void go_on(struct slot *s)
{
	int code = CREEL_OK;

	creel_async(s->c, next, s);
	if (s->step == 0)
		code = creel_fork(s->c, s->source, NULL, 1, made, s, NULL);
	else if (s->step == 1)
		code = creel_kill(s->c, s->id);
	else
		code = creel_remove(s->c, s->id);
	if (code != CREEL_OK)
		fprintf(stderr, "%s\n", creel_error_text(s->c));
}

static void next(void *arg, int code)
{
	struct slot *s = arg;

	if (code != CREEL_OK) {
		fprintf(stderr, "%s\n", creel_error_text(s->c));
		return;
	}
	s->step = (s->step + 1) % 3;
	ran += s->step == 0;
	if (s->step || left-- > 0)
		go_on(s);
}

int main(int argc, char **argv)
{
	struct slot slots[AT_ONCE];
	struct creel *c = creel_new();
	struct pollfd p;

	if (argc != 3 || !c)
		return 127;
	if (creel_open(c, NULL, 5000) != CREEL_OK) {
		fprintf(stderr, "%s\n", creel_error_text(c));
		return 126;
	}
	p = (struct pollfd){.fd = creel_fd(c), .events = POLLIN};
	left = atoi(argv[2]);
	for (int i = 0; i < AT_ONCE && left > 0; i++, left--) {
		slots[i] = (struct slot){.c = c, .source = argv[1]};
		go_on(&slots[i]);
	}
	/* a program with more to do has more to poll */
	while (creel_pending(c) && poll(&p, 1, -1) > 0)
		creel_process(c);
	printf("%d forks ran\n", ran);
	creel_free(c);
	return 0;
}
