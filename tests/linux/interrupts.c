/*
 * Sends itself rounds= interrupts, one behind the other, whose handler takes its time, and tells how
 * many came.
 */
#include "tests/linux/board.h"

#define MSR_SVR      0x80fu
#define SVR_ENABLED  0x1ffu
#define MSR_SELF_IPI 0x83fu
#define VECTOR       0x51
#define PATIENCE     20000

void board_run(void)
{
	uint64_t rounds = board_option("rounds", 1);

	board_patience = PATIENCE;
	wrmsr(MSR_SVR, SVR_ENABLED);
	__asm__ volatile("sti");
	for (uint64_t i = 0; i < rounds; i++)
		wrmsr(MSR_SELF_IPI, VECTOR);
	__asm__ volatile("cli");
	board_say_number("sent ", rounds);
	board_say_number(" received ", board_interrupts);
	board_say("\n");
}
