/*
 * A guest that does what a test asks of it:
 *
 *	agent shell            obeys lines of its input, says "ok" after each, and ends with them
 *	agent warm PAGES       touches memory, says "warm", waits until it is somebody else, then reports
 *	agent sleep            sleeps for ever
 *	agent spin             never gives the processor away
 *	agent count MS         counts for so long and prints how far it came
 *	agent touch PAGES      writes to so many pages, then says so
 *	agent bomb             forks itself without end, and so do its forks
 *	agent flood BYTES      writes so much, 0: without end
 *	agent status N         exits with N
 *	agent idle             waits for input that it will not read
 *	agent environment      prints its arguments and environment
 */
#include <creel/creel.h>

#define PAGE      4096u
#define SLOTS     64
#define MS        1000000ull
#define LINE_SIZE 256

static uint64_t slots[SLOTS][PAGE / sizeof(uint64_t)] __attribute__((aligned(PAGE)));

static uint64_t now(void)
{
	return creel_clock(CREEL_CLOCK_MONOTONIC);
}

/* What a clone must have of its own, drawn before anything else. */
static void report(void)
{
	uint8_t random[32];

	creel_random(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		printf("%02x", random[i]);
	printf(" %lu %lu %lu\n", creel_generation(), creel_clock(CREEL_CLOCK_WALL), now());
}

static int touch(uint64_t pages)
{
	char *p = malloc(pages * PAGE);

	if (!p)
		creel_crash("malloc failed");
	for (uint64_t i = 0; i < pages; i++)
		p[i * PAGE] = (char)(i + 1);
	for (uint64_t i = 0; i < pages; i++) {
		if (p[i * PAGE] != (char)(i + 1))
			creel_crash("a page lost what was written to it");
	}
	return 0;
}

static int warm(uint64_t pages)
{
	uint64_t generation = creel_generation();

	touch(pages);
	puts("warm");
	creel_flush();
	while (creel_generation() == generation)
		creel_sleep(5 * MS);
	report();
	return 0;
}

static int count(uint64_t ms)
{
	uint64_t end = now() + ms * MS, n = 0;

	while (now() < end) {
		for (volatile unsigned i = 0; i < 2000; i++)
			;
		n++;
	}
	printf("%lu\n", n);
	return 0;
}

static int flood(uint64_t bytes)
{
	static char text[8192];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	for (uint64_t left = bytes; !bytes || left;) {
		size_t n = bytes && left < sizeof(text) ? (size_t)left : sizeof(text);

		if (creel_write_all(CREEL_STDOUT, text, n))
			return 1;
		left -= n;
	}
	return 0;
}

__attribute__((noreturn)) static void bomb(void)
{
	for (;;) {
		if (creel_fork() < 0)
			creel_sleep(20 * MS);
	}
}

static int environment(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		puts(argv[i]);
	for (const char *name = "A\0B\0EMPTY\0NONE\0"; *name; name += strlen(name) + 1) {
		const char *value = getenv(name);

		printf("%s=%s\n", name, value ? value : "(none)");
	}
	return 0;
}

static void obey(char *line)
{
	char *word = line, *rest = strchr(line, ' ');
	uint64_t a = 0, b = 0;
	char *next;

	if (rest) {
		*rest++ = '\0';
		a = (uint64_t)strtol(rest, &next, 10);
		b = (uint64_t)strtol(next, NULL, 10);
	}
	if (!strcmp(word, "set"))
		slots[a % SLOTS][0] = b;
	else if (!strcmp(word, "get"))
		printf("%lu\n", slots[a % SLOTS][0]);
	else if (!strcmp(word, "time"))
		printf("%lu %lu %lu\n", now(), creel_clock(CREEL_CLOCK_WALL), creel_generation());
	else if (!strcmp(word, "snapshot"))
		printf("%ld\n", (long)creel_snapshot(rest));
	else if (!strcmp(word, "rollback"))
		printf("%ld\n", (long)creel_rollback(a));
	else if (!strcmp(word, "touch"))
		touch(a);
	else if (!strcmp(word, "exit"))
		creel_exit((int)a);
	else if (!strcmp(word, "crash"))
		creel_crash(rest);
	else
		puts("?");
	puts("ok");
	creel_flush();
}

static int shell(void)
{
	char line[LINE_SIZE];

	while (creel_gets(line, sizeof(line))) {
		line[strlen(line) - 1] = '\0';
		obey(line);
	}
	printf("end %lu\n", slots[SLOTS - 1][0]);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	uint64_t n = argc > 2 ? (uint64_t)strtol(argv[2], NULL, 10) : 0;

	if (!strcmp(what, "shell"))
		return shell();
	if (!strcmp(what, "warm"))
		return warm(n);
	if (!strcmp(what, "count"))
		return count(n);
	if (!strcmp(what, "flood"))
		return flood(n);
	if (!strcmp(what, "bomb"))
		bomb();
	if (!strcmp(what, "status"))
		return (int)n;
	if (!strcmp(what, "environment"))
		return environment(argc, argv);
	if (!strcmp(what, "touch")) {
		touch(n);
		printf("touched %lu\n", n);
		return 0;
	}
	if (!strcmp(what, "sleep") || !strcmp(what, "idle"))
		creel_sleep_until(CREEL_FOREVER);
	while (!strcmp(what, "spin"))
		;
	eprintf("agent: \"%s\" is nothing it can do\n", what);
	return 2;
}
