/* SDM Vol 3, "IA32_TSC_ADJUST Register Support". */
#include "hv/tsc_sync.h"

#include "hv/clock.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/log.h"

#define ROUNDS       16
#define ROUND_MAX_US 500000 /* a busy emulator may stop one of the two for long */
#define SLACK_US     1

/* One question at a time: the boot core raises `asked`, the other stores its TSC and raises `answered`. */
static uint64_t asked, answered, answer;
static uint64_t boot_adjust;

static bool has_adjust(void)
{
	return cpuid(CPUID_EXTENDED).ebx & CPUID_7_EBX_TSC_ADJUST;
}

static bool wait_for(const uint64_t *word, uint64_t value)
{
	uint64_t end = rdtsc() + clock_us_to_tsc(ROUND_MAX_US);

	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) {
		if (rdtsc() > end)
			return false;
		cpu_relax();
	}
	return true;
}

void tsc_sync_answer(void)
{
	/* the boot core first tells its own adjustment: question 1 of this core's ROUNDS + 1 */
	uint64_t first = __atomic_load_n(&answered, __ATOMIC_ACQUIRE) + 1;

	for (uint64_t i = first; i <= first + ROUNDS; i++) {
		if (!wait_for(&asked, i))
			return;
		if (i == first && has_adjust() && rdmsr(MSR_TSC_ADJUST) != boot_adjust)
			wrmsr(MSR_TSC_ADJUST, boot_adjust);
		answer = rdtsc_ordered();
		__atomic_store_n(&answered, i, __ATOMIC_RELEASE);
	}
}

void tsc_sync_check(const struct core *core)
{
	uint64_t best = UINT64_MAX, slack = clock_us_to_tsc(SLACK_US);
	int64_t offset = 0;

	boot_adjust = has_adjust() ? rdmsr(MSR_TSC_ADJUST) : 0;
	for (unsigned i = 0; i <= ROUNDS; i++) {
		uint64_t number = answered + 1, before = rdtsc_ordered(), after;

		__atomic_store_n(&asked, number, __ATOMIC_RELEASE);
		if (!wait_for(&answered, number)) {
			log_warn("core %u: its TSC could not be compared", core->id);
			/* a late answer must not be taken for the next core's */
			__atomic_store_n(&answered, number + ROUNDS + 1, __ATOMIC_RELEASE);
			return;
		}
		after = rdtsc_ordered();
		if (i == 0 || after - before >= best) /* the first only aligns */
			continue;
		best = after - before;
		offset = (int64_t)(answer - (before + best / 2));
	}
	/* what the shortest exchange cannot explain is a difference */
	if ((uint64_t)(offset < 0 ? -offset : offset) > best / 2 + slack)
		log_warn("core %u: its TSC differs by %lld ticks from the boot core's", core->id,
			(long long)offset);
}
