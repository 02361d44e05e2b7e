/*
 * Calls the hypervisor with every wrong number, address, size, overlap and wrap, and says PASS if each
 * came back as documented; then with random ones, which need only come back.
 *
 *	hypercalls ROUNDS
 */
#include "attempt.h"

#define BUFFER      65536u

static uint8_t buffer[BUFFER] __attribute__((aligned(4096)));
static uint64_t memory, self, image_end;

static int64_t raw(uint64_t number, const uint64_t a[6])
{
	register uint64_t r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
	uint64_t rdx = a[2];
	int64_t result = (int64_t)number;

	__asm__ volatile("out %%eax, %2"
		: "+a"(result), "+d"(rdx)
		: "i"(CREEL_PORT), "D"(a[0]), "S"(a[1]), "r"(r10), "r"(r8), "r"(r9)
		: "memory");
	return result;
}

#define CALL(number, ...) raw(number, (const uint64_t[6]){__VA_ARGS__})

static void expect(const char *what, int64_t got, int64_t want, uint64_t a, uint64_t b)
{
	if (got != want)
		fail("%s(%#lx, %#lx): %ld instead of %ld", what, a, b, got, want);
}

static void numbers(void)
{
	static const uint64_t wrong[] = {CREEL_CALL_COUNT, CREEL_CALL_COUNT + 1, 255, 256, 65536,
		1ull << 31, 1ull << 32, (1ull << 32) + CREEL_CALL_EXIT, 1ull << 63, ~0ull};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect("number", CALL(wrong[i], 0), CREEL_EINVAL, wrong[i], 0);
}

/* Is [at, at + size) memory? Page 0 is not. */
static bool is_memory(uint64_t at, uint64_t size)
{
	return at >= CREEL_GPA_STACK && size <= memory && at <= memory - size;
}

static const char *const names[] = {"write", "read", "info", "args", "random", "send", "receive",
	"snapshot", "fork"};

/* The calls that take an address and a size, without any that would wait. */
static int64_t with_span(unsigned which, uint64_t at, uint64_t size)
{
	switch (which) {
	case 0:
		return CALL(CREEL_CALL_WRITE, CREEL_STDERR, at, size);
	case 1:
		return CALL(CREEL_CALL_READ, CREEL_STDIN, at, size, 0);
	case 2:
		return CALL(CREEL_CALL_INFO, at, size);
	case 3:
		return CALL(CREEL_CALL_ARGS, at, size);
	case 4:
		return CALL(CREEL_CALL_RANDOM, at, size);
	case 5:
		return CALL(CREEL_CALL_SEND, self, at, size, 0);
	case 6:
		return CALL(CREEL_CALL_RECEIVE, at, size, 0);
	case 7:
		return CALL(CREEL_CALL_SNAPSHOT, at, size);
	default:
		return CALL(CREEL_CALL_FORK, size, at, 0);
	}
}

/* Spans that are not memory must be refused, whatever the call. */
static void bad_spans(void)
{
	const uint64_t at[] = {0, 1, 0xfff, memory - 1, memory, memory + 1, 1ull << 32, 1ull << 40,
		1ull << 47, 0xffff800000000000ull, 1ull << 63, ~0ull - 4095, ~0ull - 1, ~0ull};
	const uint64_t size[] = {2, 64, 4096, 65536, memory, memory + 1, 1ull << 32, 1ull << 52,
		1ull << 63, ~0ull - 4096, ~0ull};

	for (unsigned which = 0; which < sizeof(names) / sizeof(names[0]); which++) {
		for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
			for (size_t j = 0; j < sizeof(size) / sizeof(size[0]); j++) {
				int64_t r;

				if (which == 3 && at[i] < CREEL_GPA_STACK)
					continue; /* 0 may be asked for the size alone */
				if (is_memory(at[i], size[j]) || (at[i] == 0 && which >= 7))
					continue;
				r = with_span(which, at[i], size[j]);
				if (r >= 0 && which != 2 && which != 3)
					fail("%s(%#lx, %#lx): %ld", names[which], at[i], size[j], r);
				if (r != CREEL_EFAULT && r != CREEL_EINVAL && r != CREEL_ETOOBIG &&
					r < 0)
					fail("%s(%#lx, %#lx): %ld", names[which], at[i], size[j], r);
			}
		}
	}
	expect("write", CALL(CREEL_CALL_WRITE, 1, memory, 1), CREEL_EFAULT, memory, 1);
	expect("info", CALL(CREEL_CALL_INFO, memory - 8, 64), CREEL_EFAULT, memory - 8, 64);
	expect("info", CALL(CREEL_CALL_INFO, ~0ull - 8, 64), CREEL_EFAULT, ~0ull - 8, 64);
	expect("args", CALL(CREEL_CALL_ARGS, memory - 1, 64), CREEL_EFAULT, memory - 1, 64);
	expect("random", CALL(CREEL_CALL_RANDOM, memory - 64, 65), CREEL_EFAULT, memory - 64, 65);
	expect("fork", CALL(CREEL_CALL_FORK, 1, memory - 4), CREEL_EFAULT, 1, memory - 4);
}

/* Wrong values that are no addresses, and edges that are right. */
static void values(void)
{
	uint64_t last = memory - 8;

	expect("write", CALL(CREEL_CALL_WRITE, CREEL_STDIN, last, 8), CREEL_EINVAL, 0, last);
	expect("write", CALL(CREEL_CALL_WRITE, 3, last, 8), CREEL_EINVAL, 3, last);
	expect("write", CALL(CREEL_CALL_WRITE, ~0ull, last, 8), CREEL_EINVAL, ~0ull, last);
	expect("write", CALL(CREEL_CALL_WRITE, 1ull << 32 | 1, last, 8), CREEL_EINVAL, 1, last);
	expect("write", CALL(CREEL_CALL_WRITE, CREEL_STDERR, last, 8), 8, 2, last);
	expect("write", CALL(CREEL_CALL_WRITE, CREEL_STDERR, last, 0), 0, 2, last);
	expect("read", CALL(CREEL_CALL_READ, 1, last, 8, 0), CREEL_EINVAL, 1, last);
	expect("read", CALL(CREEL_CALL_READ, 0, last, 0, 0), 0, 0, last);
	expect("clock", CALL(CREEL_CALL_CLOCK, 2), CREEL_EINVAL, 2, 0);
	expect("clock", CALL(CREEL_CALL_CLOCK, ~0ull), CREEL_EINVAL, ~0ull, 0);
	expect("sleep", CALL(CREEL_CALL_SLEEP, 0), 0, 0, 0);
	expect("random", CALL(CREEL_CALL_RANDOM, (uint64_t)buffer, CREEL_RANDOM_MAX + 1), CREEL_ETOOBIG,
		0, CREEL_RANDOM_MAX + 1);
	expect("random", CALL(CREEL_CALL_RANDOM, memory - 4096, 4096), 4096, memory - 4096, 4096);
	expect("send", CALL(CREEL_CALL_SEND, self, (uint64_t)buffer, CREEL_MESSAGE_MAX + 1, 0),
		CREEL_ETOOBIG, self, CREEL_MESSAGE_MAX + 1);
	expect("send", CALL(CREEL_CALL_SEND, 0, (uint64_t)buffer, 8, 0), CREEL_ENOENT, 0, 8);
	expect("send", CALL(CREEL_CALL_SEND, ~0ull, (uint64_t)buffer, 8, 0), CREEL_ENOENT, ~0ull, 8);
	expect("send", CALL(CREEL_CALL_SEND, 1, (uint64_t)buffer, 8, 0), CREEL_ENOENT, 1, 8);
	expect("receive", CALL(CREEL_CALL_RECEIVE, (uint64_t)buffer, 8, 0), CREEL_EAGAIN, 0, 8);
	expect("rollback", CALL(CREEL_CALL_ROLLBACK, 0), CREEL_ENOENT, 0, 0);
	expect("rollback", CALL(CREEL_CALL_ROLLBACK, self), CREEL_ENOENT, self, 0);
	expect("rollback", CALL(CREEL_CALL_ROLLBACK, ~0ull), CREEL_ENOENT, ~0ull, 0);
	expect("fork", CALL(CREEL_CALL_FORK, 0, 0, 0), CREEL_EINVAL, 0, 0);
	expect("fork", CALL(CREEL_CALL_FORK, CREEL_FORK_MAX + 1, 0, 0), CREEL_EINVAL, 0, 0);
	expect("fork", CALL(CREEL_CALL_FORK, ~0ull, 0, 0), CREEL_EINVAL, ~0ull, 0);
	expect("fork", CALL(CREEL_CALL_FORK, 1, 0, 2), CREEL_EINVAL, 1, 2);
	expect("fork", CALL(CREEL_CALL_FORK, 1, 0, 1ull << 63), CREEL_EINVAL, 1, 1ull << 63);
	expect("children", CALL(CREEL_CALL_CHILDREN, 0, 0), 0, 0, 0);
	memcpy(buffer, "a/b c", 6);
	expect("snapshot", CALL(CREEL_CALL_SNAPSHOT, (uint64_t)buffer, 5), CREEL_EINVAL, 5, 0);
	memcpy(buffer, "12345", 6);
	expect("snapshot", CALL(CREEL_CALL_SNAPSHOT, (uint64_t)buffer, 5), CREEL_EINVAL, 5, 0);
	memset(buffer, 'a', CREEL_NAME_MAX);
	expect("snapshot", CALL(CREEL_CALL_SNAPSHOT, (uint64_t)buffer, CREEL_NAME_MAX), CREEL_ETOOBIG,
		CREEL_NAME_MAX, 0);
}

/* A mailbox of its own: full, in order, cut to fit. */
static void messages(void)
{
	int64_t sent = 0, r;

	while ((r = CALL(CREEL_CALL_SEND, self, (uint64_t)buffer, CREEL_MESSAGE_MAX, 0)) == 0)
		sent++;
	expect("send", r, CREEL_EAGAIN, (uint64_t)sent, 0);
	if (sent < 2)
		fail("a mailbox holds %ld messages", sent);
	for (int64_t i = 0; i < sent; i++)
		expect("receive", CALL(CREEL_CALL_RECEIVE, (uint64_t)buffer, 100, 0), 100, (uint64_t)i, 0);
	expect("receive", CALL(CREEL_CALL_RECEIVE, (uint64_t)buffer, 100, 0), CREEL_EAGAIN, 0, 0);
}

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Mostly values that are nearly right. Never an address in our own code, stack or data but the buffer. */
static uint64_t any(void)
{
	switch (next() % 8) {
	case 0:
		return next();
	case 1:
		return next() % 4;
	case 2:
		return memory - next() % 8192;
	case 3:
		return memory + next() % 8192;
	case 4:
		return 1ull << next() % 64;
	case 5:
		return ~(next() % 8192);
	default:
		return (uint64_t)buffer + next() % (BUFFER / 2);
	}
}

/* Would a call that writes up to half a buffer at this address hit what we need? */
static bool ours(uint64_t at)
{
	uint64_t buf = (uint64_t)buffer;

	return at < image_end && !(at >= buf && at < buf + BUFFER / 2);
}

static void random_call(void)
{
	uint64_t number = next() % (CREEL_CALL_COUNT + 2), a[6];

	for (int i = 0; i < 6; i++)
		a[i] = any();
	switch (number) {
	case CREEL_CALL_EXIT:
	case CREEL_CALL_CRASH:
	case CREEL_CALL_ROLLBACK:
		return;
	case CREEL_CALL_READ:
		if (ours(a[1]))
			return;
		a[2] = next() % (BUFFER / 2);
		a[3] = 0;
		break;
	case CREEL_CALL_INFO:
	case CREEL_CALL_ARGS:
	case CREEL_CALL_RANDOM:
		if (ours(a[0]))
			return;
		a[1] = next() % (BUFFER / 2);
		break;
	case CREEL_CALL_RECEIVE:
	case CREEL_CALL_GATHER:
		if (ours(a[0]))
			return;
		a[1] = next() % (BUFFER / 2);
		a[2] = 0;
		break;
	case CREEL_CALL_WRITE:
		a[2] = a[2] % 300;
		break;
	case CREEL_CALL_SEND:
		a[0] = next() % 2 ? self : a[0];
		a[3] = 0;
		break;
	case CREEL_CALL_SLEEP:
		a[0] = 0;
		break;
	case CREEL_CALL_CHILDREN:
		a[1] = 0;
		break;
	case CREEL_CALL_FORK:
		a[0] = next() % 4;
		a[1] = ours(a[1]) ? 0 : a[1];
		a[2] = next() % 3;
		break;
	default:
		break;
	}
	if (raw(number, a) == 0 && number == CREEL_CALL_FORK)
		creel_exit(0);
}

int main(int argc, char **argv)
{
	struct creel_info info;

	creel_info(&info);
	memory = info.memory;
	self = info.id;
	image_end = info.image_end;
	numbers();
	bad_spans();
	values();
	messages();
	for (int i = argc > 1 ? atoi(argv[1]) : 1000; i > 0; i--)
		random_call();
	puts("PASS");
	return 0;
}
