/*
 * A program with a generator of its own, as a TLS stack has one: seeded once, and again when the agent's page
 * says that this is another guest. Each time that the page changes it draws 32 bytes of the kernel's generator
 * and 32 of its own, and writes them as a line.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE "/run/creel/generation"

static uint64_t state[4];

static void draw_kernel(void *to, size_t size)
{
	int fd = open("/dev/urandom", O_RDONLY);

	if (fd < 0 || read(fd, to, size) != (ssize_t)size)
		_exit(1);
	close(fd);
}

/* xoshiro256**, by Blackman and Vigna: what counts here is that it is the same for the same seed. */
static uint64_t next(void)
{
	uint64_t m = state[1] * 5, result = (m << 7 | m >> 57) * 9, t = state[1] << 17;

	state[2] ^= state[0];
	state[3] ^= state[1];
	state[1] ^= state[2];
	state[0] ^= state[3];
	state[2] ^= t;
	state[3] = state[3] << 45 | state[3] >> 19;
	return result;
}

static size_t hex(char *to, const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sprintf(to + 2 * i, "%02x", ((const uint8_t *)data)[i]);
	return 2 * size;
}

int main(void)
{
	char event[4096], line[160];
	int watch = inotify_init();
	const volatile uint64_t *page =
		mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, open(PAGE, O_RDONLY), 0);

	if (page == MAP_FAILED || inotify_add_watch(watch, PAGE, IN_MODIFY) < 0)
		return 1;
	uint64_t seen = *page, bytes[4], own[4];

	draw_kernel(state, sizeof(state));
	write(STDOUT_FILENO, "seeded\n", 7);
	while (read(watch, event, sizeof(event)) > 0) {
		size_t n = 0;

		draw_kernel(bytes, sizeof(bytes));
		/* the hook: asked whenever it is about to use what must not be used twice */
		if (*page != seen) {
			seen = *page;
			draw_kernel(state, sizeof(state));
		}
		for (int i = 0; i < 4; i++)
			own[i] = next();
		n += hex(line, bytes, sizeof(bytes));
		line[n++] = ' ';
		n += hex(line + n, own, sizeof(own));
		line[n++] = '\n';
		write(STDOUT_FILENO, line, n);
	}
	return 1;
}
