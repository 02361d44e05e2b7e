#include "hv/platform.h"

#include "hv/apic.h"
#include "hv/clock.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/random.h"

void platform_kick(unsigned core)
{
	apic_kick(cores[core]);
}

void platform_timer(uint64_t tsc)
{
	if (tsc)
		apic_timer_arm(tsc);
	else
		apic_timer_stop();
}

void platform_halt(void)
{
	cpu_sleep();
}

uint64_t platform_tsc_khz(void)
{
	return clock_tsc_khz();
}

uint64_t platform_wall_ns(void)
{
	return clock_wall_ns();
}

void platform_random(void *buf, size_t size)
{
	random_bytes(buf, size);
}
