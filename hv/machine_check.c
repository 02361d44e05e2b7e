/* SDM Vol 3, "Machine-Check Architecture"; AMD has the same registers. */
#include "hv/machine_check.h"

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/log.h"
#include "hv/panic.h"
#include "lib/string.h"

#define BANK_MSRS 4
#define BANK_CTL(n)    (MSR_MC0_CTL + BANK_MSRS * (n))
#define BANK_STATUS(n) (BANK_CTL(n) + 1)
#define BANK_ADDR(n)   (BANK_CTL(n) + 2)
#define BANK_MISC(n)   (BANK_CTL(n) + 3)

#define LINE_MAX    160
#define RECORDS_MAX 64u

static bool present(void)
{
	uint32_t both = CPUID_1_EDX_MCE | CPUID_1_EDX_MCA;

	return (cpuid(CPUID_FEATURES).edx & both) == both;
}

static unsigned bank_count(void)
{
	return (unsigned)(rdmsr(MSR_MCG_CAP) & MCG_CAP_COUNT);
}

/* What the banks of all cores held when the machine stopped. Places are taken atomically, and shown
 * when all cores have stopped. */
struct record {
	unsigned core, bank;
	uint64_t status, address, misc;
};

static struct record records[RECORDS_MAX];
static unsigned record_count;

static struct record read_bank(unsigned bank, uint64_t status)
{
	return (struct record){
		.core = this_core()->id,
		.bank = bank,
		.status = status,
		.address = status & MC_STATUS_ADDRV ? rdmsr(BANK_ADDR(bank)) : 0,
		.misc = status & MC_STATUS_MISCV ? rdmsr(BANK_MISC(bank)) : 0,
	};
}

static void describe(char line[LINE_MAX], const struct record *r)
{
	fmt(line, LINE_MAX, "core %u bank %u: status %016llx%s address %llx misc %llx", r->core,
		r->bank, (unsigned long long)r->status,
		r->status & MC_STATUS_UC ? " (uncorrected)" : "", (unsigned long long)r->address,
		(unsigned long long)r->misc);
}

void machine_check_init(void)
{
	char line[LINE_MAX];

	if (!present())
		return;
	if (rdmsr(MSR_MCG_CAP) & MCG_CAP_CTL)
		wrmsr(MSR_MCG_CTL, UINT64_MAX);
	for (unsigned i = 0; i < bank_count(); i++) {
		uint64_t status = rdmsr(BANK_STATUS(i));

		if (status & MC_STATUS_VAL) {
			struct record r = read_bank(i, status);

			describe(line, &r);
			log_warn("machine check from before the boot: %s", line);
		}
		wrmsr(BANK_CTL(i), UINT64_MAX);
		wrmsr(BANK_STATUS(i), 0);
	}
}

void machine_check_record(void)
{
	struct core *core = this_core();

	volatile unsigned *next = &core->machine_check_banks;

	if (!present() || !(rdmsr(MSR_MCG_STATUS) & MCG_STATUS_MCIP))
		return;
	/* A panic's NMI may come in the middle, and then goes on from here: a bank is counted when it is
	 * recorded, which at worst shows one twice. */
	for (; *next < bank_count(); ++*next) {
		uint64_t status = rdmsr(BANK_STATUS(*next));
		struct record r;
		unsigned place;

		if (!(status & MC_STATUS_VAL))
			continue;
		r = read_bank(*next, status);
		place = __atomic_fetch_add(&record_count, 1, __ATOMIC_RELAXED);
		if (place < RECORDS_MAX)
			records[place] = r;
	}
}

void machine_check_show(void)
{
	char line[LINE_MAX];

	for (unsigned i = 0; i < MIN(record_count, RECORDS_MAX); i++) {
		if (!records[i].status)
			continue; /* taken, and then interrupted */
		describe(line, &records[i]);
		log_panic_line(line);
	}
}

void machine_check(const struct trap_frame *frame)
{
	uint64_t global = rdmsr(MSR_MCG_STATUS);

	/* often all cores get one at once: the first shows what all have recorded */
	machine_check_record();
	if (panic_elsewhere())
		panic_stop_here(frame);
	panic_trap(frame, "machine check, global status %llx", (unsigned long long)global);
}
