#include "hv/clock.h"

#include "hv/acpi.h"
#include "hv/cpu.h"
#include "hv/log.h"
#include "hv/panic.h"
#include "hv/piix4.h"
#include "lib/cmos.h"
#include "lib/scale.h"

#define NS_PER_SECOND 1000000000ull
#define US_PER_SECOND 1000000ull

/* ACPI, "Power Management Timer": 3.579545 MHz, 24 or 32 bits. */
#define PM_TIMER_HZ   3579545u
#define PM_TIMER_MASK 0xffffffu /* 24 bits are enough for 4.6 s */

/* 8254 data sheet: channel 2, gated and read through port 0x61. */
#define PIT_HZ        1193182u
#define PIT_CHANNEL2  0x42
#define PIT_COMMAND   0x43
#define PIT_CH2_MODE0 0xb0 /* low then high byte, interrupt on terminal count */
#define PORT_SPEAKER  0x61
#define SPEAKER_GATE  0x01
#define SPEAKER_SOUND 0x02
#define SPEAKER_OUT   0x20

#define RUNS       3
#define RUN_MS     30
#define PIT_RUN_MS 10
#define READ_TRIES 8

/* A run takes RUN_MS; a timer that stands still ends it after this many reads of about 1 us. */
#define RUN_MAX_READS (1000u * RUN_MS * 100)

/* CPUID is believed when it is within 1/128 of what was measured. */
#define CPUID_TOLERANCE_SHIFT 7

#define MIN_TSC_HZ 1000000ull
#define MAX_TSC_HZ 100000000000ull

#define CMOS_INDEX        0x70
#define CMOS_DATA         0x71
#define CMOS_NMI_OFF      0x80 /* must stay 0: NMIs are wanted */
#define CMOS_CENTURY      0x32 /* where most machines have it, for those without ACPI */
#define CMOS_STATUS_A     0x0a
#define CMOS_UPDATING     0x80
#define CMOS_STATUS_B     0x0b
#define CMOS_TRIES        8
#define CMOS_UPDATE_SPINS 20000 /* an update takes 2 ms */

static uint64_t tsc_hz, tsc_zero;
static struct scale to_ns, to_us, ns_to_tsc, us_to_tsc;
static uint64_t wall_at_zero; /* ns since 1970 at clock zero; one aligned word, stored whole */

/* ---- reading ---- */

uint64_t clock_tsc_khz(void)
{
	return tsc_hz / 1000;
}

uint64_t clock_tsc_zero(void)
{
	return tsc_zero;
}

/* Cores' TSCs may differ by a few ticks around zero. */
static uint64_t since_zero(void)
{
	uint64_t now = rdtsc();

	return now > tsc_zero ? now - tsc_zero : 0;
}

uint64_t clock_ns(void)
{
	return scale_apply(to_ns, since_zero());
}

uint64_t clock_us(void)
{
	return scale_apply(to_us, since_zero());
}

uint64_t clock_us_to_tsc(uint64_t us)
{
	return scale_apply(us_to_tsc, us);
}

uint64_t clock_ns_to_tsc(uint64_t ns)
{
	return scale_apply(ns_to_tsc, ns);
}

uint64_t clock_tsc_to_ns(uint64_t ticks)
{
	return scale_apply(to_ns, ticks);
}

uint64_t clock_wall_ns(void)
{
	return __atomic_load_n(&wall_at_zero, __ATOMIC_RELAXED) + clock_ns();
}

void clock_set_wall(uint64_t ns)
{
	__atomic_store_n(&wall_at_zero, ns - clock_ns(), __ATOMIC_RELAXED);
}

void clock_step_wall(int64_t ns)
{
	__atomic_fetch_add(&wall_at_zero, (uint64_t)ns, __ATOMIC_RELAXED);
}

void clock_delay_us(uint64_t us)
{
	uint64_t end = rdtsc() + clock_us_to_tsc(us);

	while (rdtsc() < end)
		cpu_relax();
}

/* ---- measuring ---- */

/* One reading of the PM timer, and the TSC in the middle of it. */
struct reading {
	uint64_t tsc;
	uint64_t width; /* TSC ticks that the reading took: how uncertain `tsc` is */
	uint32_t ticks;
};

/* The narrowest of several: an SMI, or a busy emulator, in the middle of one makes it wide. */
static struct reading read_pm_timer(uint16_t port)
{
	struct reading best = {.width = UINT64_MAX};

	for (unsigned i = 0; i < READ_TRIES; i++) {
		uint64_t before = rdtsc_ordered();
		uint32_t ticks = in32(port);
		uint64_t width = rdtsc_ordered() - before;

		if (width < best.width)
			best = (struct reading){before + width / 2, width, ticks};
	}
	return best;
}

/* The TSC's frequency, and in *doubt how good it is; 0: the timer does not count. */
static uint64_t run_pm_timer(uint16_t port, uint64_t *doubt)
{
	struct reading first = read_pm_timer(port), last;
	uint32_t passed = 0;

	for (unsigned i = 0; i < RUN_MAX_READS; i++) {
		if (((in32(port) - first.ticks) & PM_TIMER_MASK) < PM_TIMER_HZ / 1000 * RUN_MS)
			continue;
		last = read_pm_timer(port);
		passed = (last.ticks - first.ticks) & PM_TIMER_MASK;
		*doubt = first.width + last.width;
		return (last.tsc - first.tsc) * PM_TIMER_HZ / passed;
	}
	return 0;
}

static uint64_t measure_pm_timer(uint16_t port)
{
	uint64_t best = 0, least = UINT64_MAX;

	for (unsigned i = 0; i < RUNS; i++) {
		uint64_t doubt = 0, hz = run_pm_timer(port, &doubt);

		if (!hz)
			return 0;
		if (doubt < least) {
			least = doubt;
			best = hz;
		}
	}
	return best;
}

/*
 * The PIT cannot be read as fast. Here all that gets in between makes the result larger: the TSC is
 * read before the first and after the last access. So the smallest of several results is the best.
 */
static uint64_t run_pit(void)
{
	uint16_t count = PIT_HZ / 1000 * PIT_RUN_MS;
	uint8_t speaker = (uint8_t)(in8(PORT_SPEAKER) & ~SPEAKER_SOUND);
	uint64_t begin;

	out8(PORT_SPEAKER, (uint8_t)(speaker & ~SPEAKER_GATE));
	out8(PIT_COMMAND, PIT_CH2_MODE0);
	out8(PIT_CHANNEL2, (uint8_t)count);
	out8(PIT_CHANNEL2, (uint8_t)(count >> 8));
	begin = rdtsc_ordered();
	out8(PORT_SPEAKER, speaker | SPEAKER_GATE);
	for (unsigned i = 0; i < RUN_MAX_READS; i++)
		if (in8(PORT_SPEAKER) & SPEAKER_OUT)
			return (rdtsc_ordered() - begin) * PIT_HZ / count;
	return 0;
}

static uint64_t measure_pit(void)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < RUNS; i++) {
		uint64_t hz = run_pit();

		if (!hz)
			return 0;
		best = MIN(best, hz);
	}
	return best;
}

/* SDM Vol 3, "Determining the Processor Base Frequency"; 0: the processor does not say. */
static uint64_t cpuid_tsc_hz(void)
{
	struct cpuid_regs r = cpuid(CPUID_TSC);

	if (!r.eax || !r.ebx || !r.ecx)
		return 0;
	return (uint64_t)r.ecx * r.ebx / r.eax;
}

static uint64_t measure(const struct acpi_info *acpi, const char **how)
{
	uint64_t hz = 0;
	uint16_t port = 0;

	*how = "the ACPI PM timer";
	if (acpi->pm_timer_port)
		hz = measure_pm_timer(acpi->pm_timer_port);
	if (hz)
		return hz;
	*how = "the PIIX4 PM timer";
	if ((port = piix4_power_base()))
		hz = measure_pm_timer((uint16_t)(port + PIIX4_PM_TIMER));
	if (hz)
		return hz;
	*how = "the PIT";
	hz = measure_pit();
	if (hz)
		return hz;
	*how = "CPUID alone";
	return cpuid_tsc_hz();
}

static void set_frequency(uint64_t hz, uint64_t zero)
{
	tsc_hz = hz;
	to_ns = scale_make(hz, NS_PER_SECOND);
	to_us = scale_make(hz, US_PER_SECOND);
	ns_to_tsc = scale_make(NS_PER_SECOND, hz);
	us_to_tsc = scale_make(US_PER_SECOND, hz);
	tsc_zero = zero;
}

/* ---- wall time ---- */

static uint8_t cmos_read(uint8_t index)
{
	out8(CMOS_INDEX, index & (uint8_t)~CMOS_NMI_OFF);
	return in8(CMOS_DATA);
}

static struct cmos_time cmos_snapshot(uint8_t century)
{
	for (unsigned i = 0; i < CMOS_UPDATE_SPINS && cmos_read(CMOS_STATUS_A) & CMOS_UPDATING; i++)
		cpu_relax();
	return (struct cmos_time){
		.second = cmos_read(0),
		.minute = cmos_read(2),
		.hour = cmos_read(4),
		.day = cmos_read(7),
		.month = cmos_read(8),
		.year = cmos_read(9),
		.century = century ? cmos_read(century) : 0,
		.mode = cmos_read(CMOS_STATUS_B),
	};
}

static bool same_time(const struct cmos_time *a, const struct cmos_time *b)
{
	return a->second == b->second && a->minute == b->minute && a->hour == b->hour &&
	       a->day == b->day && a->month == b->month && a->year == b->year &&
	       a->century == b->century;
}

/* Two equal readings in a row: no update came in between. */
static void init_wall(uint8_t century)
{
	struct cmos_time t = cmos_snapshot(century), again;
	uint64_t seconds;

	for (unsigned i = 0; i < CMOS_TRIES; i++, t = again) {
		again = cmos_snapshot(century);
		if (!same_time(&t, &again))
			continue;
		if (cmos_to_seconds(&t, &seconds) == 0) {
			clock_set_wall(seconds * NS_PER_SECOND);
			return;
		}
	}
	log_warn("the CMOS clock shows no valid time; wall time starts at 1970 until SNTP sets it");
}

void clock_init(const struct acpi_info *acpi, uint64_t tsc_at_entry)
{
	uint64_t stated = cpuid_tsc_hz(), measured;
	const char *how;

	measured = measure(acpi, &how);
	if (measured < MIN_TSC_HZ || measured > MAX_TSC_HZ)
		panic("no timer in this machine tells the speed of the TSC");
	/* an exact statement is better than a measurement, if it is true */
	if (stated && (stated > measured ? stated - measured : measured - stated) < measured >>
			      CPUID_TOLERANCE_SHIFT) {
		measured = stated;
		how = "CPUID, confirmed by measurement";
	}
	set_frequency(measured, tsc_at_entry);
	init_wall(acpi->present ? acpi->cmos_century : CMOS_CENTURY);
	log_info("clock: TSC at %llu kHz by %s", (unsigned long long)clock_tsc_khz(), how);
	if (!(cpuid(CPUID_INVARIANT).edx & CPUID_X7_EDX_INVARIANT_TSC))
		log_warn("the TSC is not invariant: times are wrong if the processor changes its "
			 "speed");
}
