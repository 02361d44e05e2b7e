/*
 * The guest of the benchmarks. Reads commands, a line each, and answers each with one line of numbers:
 *
 *	touch N        write to N pages
 *	hypercall N    TSC ticks of N hypercalls that do nothing
 *	cpuid N        TSC ticks of N CPUIDs
 *	port N         TSC ticks of N outputs to a port where nothing is
 *	exit           fork; ticks from the call to behind the child's first exit, seen by the child
 *	rw R W         fork; the same, after the child has read R pages and written W of them
 *	cow N          fork; ticks of the child's first write, and of N more to pages beside it
 *	tick           ticks between two RDTSCs, to be taken off
 *
 * All pages are in one array that was touched before. At the end of its input, which is where a fork
 * made by a client finds itself, it reads as many pages as its first argument says and writes as many as
 * its second one, says "here" and waits for ever.
 */
#include <creel/creel.h>

#define PAGE 4096ul
#define PAGES_MAX (1ul << 20)

static volatile char *pages;
static uint64_t touched;

static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (uint64_t)hi << 32 | lo;
}

static inline int64_t null_call(void)
{
	int64_t result = CREEL_CALL_VERSION;

	__asm__ volatile("out %%eax, %1" : "+a"(result) : "i"(CREEL_PORT) : "memory");
	return result;
}

/* Registers only: the child's first instructions must not need a stack. */
static inline int64_t raw_fork(uint64_t *start)
{
	int64_t result = CREEL_CALL_FORK;
	uint64_t count = 1, none = 0, second = 0;

	*start = rdtsc();
	__asm__ volatile("out %%eax, %4"
		: "+a"(result), "+D"(count), "+S"(none), "+d"(second)
		: "i"(CREEL_PORT)
		: "memory");
	return result;
}

static void touch(uint64_t n)
{
	if (!pages)
		pages = (char *)(((uint64_t)malloc((PAGES_MAX < n ? PAGES_MAX : n) * PAGE + PAGE) + PAGE) &
				 ~(PAGE - 1));
	for (uint64_t i = 0; i < n; i++)
		pages[i * PAGE]++;
	if (n > touched)
		touched = n;
	printf("%lu\n", n);
}

/* The child's answer goes through its parent, whose output is read. */
static void report(uint64_t a, uint64_t b)
{
	uint64_t answer[2] = {a, b};

	creel_send(0, answer, sizeof(answer), CREEL_FOREVER);
	creel_exit(0);
}

static void relay(void)
{
	uint64_t answer[2] = {0, 0}, from;

	creel_receive(answer, sizeof(answer), &from, CREEL_FOREVER);
	creel_children(0, CREEL_FOREVER);
	printf("%lu %lu\n", answer[0], answer[1]);
}

static void bench_exit(void)
{
	uint64_t start;

	if (raw_fork(&start) == 0) {
		null_call();
		report(rdtsc() - start, 0);
	}
	relay();
}

static void bench_rw(uint64_t reads, uint64_t writes)
{
	uint64_t start;

	if (raw_fork(&start) == 0) {
		for (uint64_t i = 0; i < reads; i++)
			(void)pages[i * PAGE];
		for (uint64_t i = 0; i < writes; i++)
			pages[i * PAGE] = 1;
		null_call();
		report(rdtsc() - start, 0);
	}
	relay();
}

static void bench_cow(uint64_t n)
{
	uint64_t start, first;

	if (raw_fork(&start) == 0) {
		start = rdtsc();
		pages[0] = 1;
		first = rdtsc() - start;
		start = rdtsc();
		for (uint64_t i = 1; i <= n; i++)
			pages[i * PAGE] = 1;
		report(first, rdtsc() - start);
	}
	relay();
}

static void bench_hypercall(uint64_t n)
{
	uint64_t start = rdtsc();

	for (uint64_t i = 0; i < n; i++)
		null_call();
	printf("%lu\n", rdtsc() - start);
}

static void bench_cpuid(uint64_t n)
{
	uint64_t start = rdtsc();

	for (uint64_t i = 0; i < n; i++) {
		uint32_t a = 0, b, c = 0, d;

		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	}
	printf("%lu\n", rdtsc() - start);
}

static void bench_port(uint64_t n)
{
	uint64_t start = rdtsc();

	for (uint64_t i = 0; i < n; i++)
		__asm__ volatile("outb %%al, $0x80" : : "a"(0));
	printf("%lu\n", rdtsc() - start);
}

static void bench_tick(void)
{
	uint64_t start = rdtsc();

	printf("%lu\n", rdtsc() - start);
}

static void run(char *line)
{
	char *rest;
	uint64_t a = 0, b = 0;
	size_t n = 0;

	while (line[n] && line[n] != ' ' && line[n] != '\n')
		n++;
	a = (uint64_t)strtol(line + n, &rest, 10);
	b = (uint64_t)strtol(rest, NULL, 10);
	line[n] = '\0';
	if (strcmp(line, "touch") == 0)
		touch(a);
	else if (strcmp(line, "hypercall") == 0)
		bench_hypercall(a);
	else if (strcmp(line, "cpuid") == 0)
		bench_cpuid(a);
	else if (strcmp(line, "port") == 0)
		bench_port(a);
	else if (strcmp(line, "exit") == 0)
		bench_exit();
	else if (strcmp(line, "rw") == 0)
		bench_rw(a, b);
	else if (strcmp(line, "cow") == 0)
		bench_cow(a);
	else if (strcmp(line, "tick") == 0)
		bench_tick();
	else
		printf("? %s\n", line);
}

/* A fork has arguments of its own, which the start of this program can't have seen. */
static void read_and_write(void)
{
	char args[64] = "";
	uint64_t counts = 0;
	int64_t size = creel_args(args, sizeof(args), &counts);

	if (!pages || size <= 0 || size > (int64_t)sizeof(args) || (uint32_t)counts != 3)
		return;
	const char *first = args + strlen(args) + 1, *second = first + strlen(first) + 1;
	long reads = atoi(first), writes = atoi(second);

	for (long i = 0; i < reads; i++)
		(void)pages[(uint64_t)i * PAGE];
	for (long i = 0; i < writes; i++)
		pages[(uint64_t)i * PAGE] = 1;
}

int main(int argc, char **argv)
{
	char line[128], none[1];
	uint64_t from;

	(void)argc;
	(void)argv;
	while (creel_gets(line, sizeof(line)))
		run(line);
	read_and_write();
	/* A fork needs no buffers for this, so that it touches no more than it must. */
	creel_write(CREEL_STDOUT, "here\n", 5);
	creel_receive(none, 0, &from, CREEL_FOREVER);
	return 0;
}
