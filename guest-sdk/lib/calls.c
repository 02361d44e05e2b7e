/* Hypercalls as functions. */
#include "internal.h"

static uint64_t address(const void *p)
{
	return (uint64_t)p;
}

void creel_exit(int status)
{
	creel_flush();
	creel_hypercall(CREEL_CALL_EXIT, (uint64_t)status, 0, 0, 0, NULL);
	__builtin_unreachable();
}

void creel_crash(const char *reason)
{
	creel_hypercall(CREEL_CALL_CRASH, address(reason), strlen(reason), 0, 0, NULL);
	__builtin_unreachable();
}

int64_t creel_write(int stream, const void *data, size_t size)
{
	return creel_hypercall(CREEL_CALL_WRITE, (uint64_t)stream, address(data), size, 0, NULL);
}

int64_t creel_write_all(int stream, const void *data, size_t size)
{
	const char *p = data;

	while (size) {
		int64_t n = creel_write(stream, p, size);

		if (n < 0)
			return n;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

int64_t creel_read(void *buf, size_t size, uint64_t deadline)
{
	return creel_hypercall(CREEL_CALL_READ, CREEL_STDIN, address(buf), size, deadline, NULL);
}

int64_t creel_info(struct creel_info *info)
{
	return creel_hypercall(CREEL_CALL_INFO, address(info), sizeof(*info), 0, 0, NULL);
}

int64_t creel_args(char *buf, size_t size, uint64_t *counts)
{
	return creel_hypercall(CREEL_CALL_ARGS, address(buf), size, 0, 0, counts);
}

uint64_t creel_clock(enum creel_clock clock)
{
	return (uint64_t)creel_hypercall(CREEL_CALL_CLOCK, clock, 0, 0, 0, NULL);
}

void creel_sleep_until(uint64_t deadline)
{
	creel_hypercall(CREEL_CALL_SLEEP, deadline, 0, 0, 0, NULL);
}

void creel_sleep(uint64_t ns)
{
	creel_sleep_until(creel_clock(CREEL_CLOCK_MONOTONIC) + ns);
}

void creel_yield(void)
{
	creel_hypercall(CREEL_CALL_YIELD, 0, 0, 0, 0, NULL);
}

int64_t creel_random(void *buf, size_t size)
{
	return creel_hypercall(CREEL_CALL_RANDOM, address(buf), size, 0, 0, NULL);
}

uint64_t creel_generation(void)
{
	return (uint64_t)creel_hypercall(CREEL_CALL_GENERATION, 0, 0, 0, 0, NULL);
}

/* What is still in the output buffer belongs to the parent alone: it is written before the cut. */
int64_t creel_snapshot(const char *name)
{
	creel_flush();
	return creel_hypercall(CREEL_CALL_SNAPSHOT, address(name), name ? strlen(name) : 0, 0, 0, NULL);
}

int64_t creel_rollback(uint64_t snapshot)
{
	creel_flush();
	return creel_hypercall(CREEL_CALL_ROLLBACK, snapshot, 0, 0, 0, NULL);
}

int64_t creel_fork(void)
{
	uint64_t id = 0;
	int64_t made = creel_fork_many(1, &id, 0, NULL);

	return made > 0 ? (int64_t)id : made;
}

int64_t creel_fork_many(uint32_t count, uint64_t *ids, unsigned flags, uint64_t *index)
{
	creel_flush();
	return creel_hypercall(CREEL_CALL_FORK, count, address(ids), flags, 0, index);
}

int64_t creel_children(uint64_t count, uint64_t deadline)
{
	return creel_hypercall(CREEL_CALL_CHILDREN, count, deadline, 0, 0, NULL);
}

int64_t creel_send(uint64_t to, const void *message, size_t size, uint64_t deadline)
{
	return creel_hypercall(CREEL_CALL_SEND, to, address(message), size, deadline, NULL);
}

int64_t creel_gather(void *buf, size_t size, uint64_t *from, uint64_t deadline)
{
	return creel_hypercall(CREEL_CALL_GATHER, address(buf), size, deadline, 0, from);
}

int64_t creel_receive(void *buf, size_t size, uint64_t *from, uint64_t deadline)
{
	return creel_hypercall(CREEL_CALL_RECEIVE, address(buf), size, deadline, 0, from);
}
