/*
 * Fills all vector and x87 registers with a secret made of its first argument, keeps them while it spins
 * for so many milliseconds as the second says, and says PASS if they were still the same. With a third
 * argument it then spins for ever, its secret in the registers.
 */
#include <creel/creel.h>

#define AREA_SIZE 4096
#define MS        1000000ul
#define FXSAVE_REGISTERS 32
#define HEADER    512
#define HEADER_SIZE 64

static uint8_t secret[AREA_SIZE] __attribute__((aligned(64)));
static uint8_t after[AREA_SIZE] __attribute__((aligned(64)));

static uint64_t components(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

/* An area that XRSTOR takes: every byte of a register is the secret's, control words are sane. */
static void make_secret(uint8_t byte, uint64_t which)
{
	static const uint8_t fcw_fsw_ftw[] = {0x7f, 0x03, 0x00, 0x38, 0xff, 0x00, 0x23, 0x01};
	static const uint8_t mxcsr[] = {0x80, 0x3f, 0x00, 0x00};

	memset(secret, byte, sizeof(secret));
	memcpy(secret, fcw_fsw_ftw, sizeof(fcw_fsw_ftw));
	memset(secret + 8, byte & 0x3f, 16); /* where the last x87 instruction and its operand were */
	memcpy(secret + 24, mxcsr, sizeof(mxcsr));
	memset(secret + 28, 0, 4);
	for (int i = 0; i < 8; i++)
		memset(secret + FXSAVE_REGISTERS + 16 * i + 10, 0, 6);
	memset(secret + 416, 0, HEADER + HEADER_SIZE - 416);
	memcpy(secret + HEADER, &which, sizeof(which));
}

/* Registers only, from the load to the store; the loop makes one exit in each round. */
static void hold(uint64_t which, uint64_t end)
{
	const uint32_t lo = (uint32_t)which, hi = (uint32_t)(which >> 32);
	uint32_t eax = lo, edx = hi;

	__asm__ volatile("xrstor %[secret]\n"
			 "1: mov %[clock], %%eax\n"
			 "xor %%edi, %%edi\n"
			 "out %%eax, %[port]\n"
			 "mov $20000, %%ecx\n"
			 "2: dec %%ecx\n"
			 "jnz 2b\n"
			 "cmp %[end], %%rax\n"
			 "jb 1b\n"
			 "mov %[lo], %%eax\n"
			 "mov %[hi], %%edx\n"
			 "xsave %[after]\n"
		: [after] "+m"(after), "+&a"(eax), "+&d"(edx)
		: [secret] "m"(secret), [clock] "i"(CREEL_CALL_CLOCK), [port] "i"(CREEL_PORT),
		  [end] "r"(end), [lo] "r"(lo), [hi] "r"(hi)
		: "rdi", "rcx", "memory");
}

static void compare(uint64_t which)
{
	char text[64];
	size_t size = which & 4 ? HEADER + HEADER_SIZE + 256 : 416;

	for (size_t i = 0; i < size; i++) {
		if (i >= 6 && i < 24)
			continue; /* the emulators keep no pointers of the x87 */
		if (i >= 28 && i < 32)
			continue;
		if (i >= 416 && i < HEADER + HEADER_SIZE)
			continue;
		if (after[i] != secret[i]) {
			snprintf(text, sizeof(text), "byte %zu is %#x, was %#x", i, after[i], secret[i]);
			creel_crash(text);
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t which = components();

	make_secret((uint8_t)atoi(argc > 1 ? argv[1] : "1"), which);
	uint64_t ms = argc > 2 ? (uint64_t)atoi(argv[2]) : 1;

	hold(which, creel_clock(CREEL_CLOCK_MONOTONIC) + ms * MS);
	compare(which);
	puts("PASS");
	if (argc > 3)
		hold(which, CREEL_FOREVER >> 1);
	return 0;
}
