/*
 * A program for Linux: fills all vector and x87 registers with a byte, keeps them for a while
 *without entering the kernel by itself, and looks whether they are still the same; as many times as
 *it is told, then says "kept".
 *
 *	vector BYTE TIMES
 */
#include <cpuid.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AREA      4096
#define HEADER    512
#define EXTENDED  576
#define REGISTERS 32 /* of the x87, 16 bytes each, of which 10 count */
#define VECTORS   160
#define LOOPS     1000000

static uint8_t want[AREA] __attribute__((aligned(64))), got[AREA] __attribute__((aligned(64)));

static uint64_t components(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return ((uint64_t)hi << 32 | lo) & 0xe7; /* x87, SSE, AVX, AVX-512 */
}

static void fill(uint8_t byte, uint64_t which)
{
	static const uint8_t control[] = {0x7f, 0x03, 0, 0, 0xff};

	memset(want, 0, sizeof(want));
	memcpy(want, control, sizeof(control));
	want[24] = 0x80;
	want[25] = 0x3f; /* MXCSR that rounds to zero */
	for (int i = 0; i < 8; i++)
		memset(want + REGISTERS + 16 * i, byte, 10);
	memset(want + VECTORS, byte, 256);
	memset(want + EXTENDED, byte, sizeof(want) - EXTENDED);
	memcpy(want + HEADER, &which, sizeof(which));
}

static void hold(uint64_t which)
{
	uint32_t lo = (uint32_t)which, hi = (uint32_t)(which >> 32);

	__asm__ volatile("xrstor %[want]\n"
			 "mov %[loops], %%ecx\n"
			 "1: dec %%ecx\n"
			 "jnz 1b\n"
			 "xsave %[got]\n"
			 "fninit\n"
			 : [got] "+m"(got)
			 : [want] "m"(want), [loops] "i"(LOOPS), "a"(lo), "d"(hi)
			 : "rcx", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
			 "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
			 "xmm15");
}

/* The first byte of [from, from + size) that is another one. */
static void compare(size_t from, size_t size)
{
	for (size_t i = from; i < from + size; i++) {
		if (got[i] != want[i]) {
			printf("byte %zu is %#x, was %#x\n", i, got[i], want[i]);
			exit(1);
		}
	}
}

static void compare_all(uint64_t which)
{
	compare(0, 2);
	compare(24, 4);
	for (size_t i = 0; i < 8; i++)
		compare(REGISTERS + 16 * i, 10);
	compare(VECTORS, 256);
	for (unsigned i = 2; i < 8; i++) {
		uint32_t size, offset, c, d;

		__cpuid_count(0xd, i, size, offset, c, d);
		if (which & 1u << i)
			compare(offset, size);
	}
}

int main(int argc, char **argv)
{
	uint64_t which = components();

	if (argc < 3)
		return 2;
	fill((uint8_t)atoi(argv[1]), which);
	for (int n = atoi(argv[2]); n > 0; n--) {
		memset(got, 0, sizeof(got));
		hold(which);
		compare_all(which);
	}
	printf("kept %lu\n", (unsigned long)which);
	return 0;
}
