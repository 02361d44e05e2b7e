/* What kernels of the tests, which run as Linux guests without being Linux, have in common. */
#ifndef TESTS_LINUX_BOARD_H
#define TESTS_LINUX_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096u

/* Set up processor and interrupts; exceptions but #GP of RDMSR and WRMSR end the guest by a triple
 * fault. */
void board_start(void);
extern uint64_t board_faults, board_interrupts; /* so many of those, and interrupts of devices */
extern uint64_t board_patience; /* turns of a loop before the end of an interrupt is said */

/* What the command line says behind NAME=, or `otherwise`; "0x" is taken. */
uint64_t board_option(const char *name, uint64_t otherwise);
/* It has the word. */
bool board_word(const char *word);

/* To ttyS0, whatever state that is in. */
void board_say(const char *text);
void board_say_number(const char *text, uint64_t n);

/* The ways to end. */
enum {
	END_POWER_OFF,
	END_RESTART,
	END_TRIPLE_FAULT,
	END_TOUCH,
	END_HALT,
	END_PANIC,
	END_STRING_IO,
	ENDS
};
__attribute__((noreturn)) void board_end(unsigned how);

void *memset(void *to, int c, size_t n);
void *memcpy(void *restrict to, const void *restrict from, size_t n);

/* Of each kernel. */
void board_run(void);

/* ---- instructions ---- */

static inline uint32_t in(unsigned port, unsigned size)
{
	uint32_t v = 0;

	if (size == 1)
		__asm__ volatile("inb %w1, %b0" : "+a"(v) : "Nd"((uint16_t)port));
	else if (size == 2)
		__asm__ volatile("inw %w1, %w0" : "+a"(v) : "Nd"((uint16_t)port));
	else
		__asm__ volatile("inl %w1, %0" : "+a"(v) : "Nd"((uint16_t)port));
	return v;
}

static inline void out(unsigned port, unsigned size, uint32_t v)
{
	if (size == 1)
		__asm__ volatile("outb %b0, %w1" : : "a"(v), "Nd"((uint16_t)port) : "memory");
	else if (size == 2)
		__asm__ volatile("outw %w0, %w1" : : "a"(v), "Nd"((uint16_t)port) : "memory");
	else
		__asm__ volatile("outl %0, %w1" : : "a"(v), "Nd"((uint16_t)port) : "memory");
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo = 0, hi = 0;

	__asm__ volatile("rdmsr" : "+a"(lo), "+d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

static inline uint64_t tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

#endif
