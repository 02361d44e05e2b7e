/* SDM Vol 3, "Advanced Programmable Interrupt Controller (APIC)". */
#include "hv/apic.h"

#include "hv/acpi.h"
#include "hv/clock.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/hostmap.h"
#include "hv/idt.h"
#include "hv/log.h"
#include "hv/panic.h"

/* Registers by their offset in memory. */
#define APIC_ID            0x020
#define APIC_VERSION       0x030
#define   APIC_VERSION_MAX_LVT(v) ((v) >> 16 & 0xff)
#define APIC_TPR           0x080
#define APIC_EOI           0x0b0
#define APIC_SPURIOUS      0x0f0
#define   APIC_SOFT_ENABLE (1u << 8)
#define APIC_ESR           0x280
#define APIC_LVT_CMCI      0x2f0
#define APIC_ICR_LOW       0x300
#define   ICR_FIXED        (0u << 8)
#define   ICR_NMI          (4u << 8)
#define   ICR_INIT         (5u << 8)
#define   ICR_STARTUP      (6u << 8)
#define   ICR_PENDING      (1u << 12)
#define   ICR_ASSERT       (1u << 14)
#define   ICR_OTHERS       (3u << 18) /* destination shorthand: all but self */
#define APIC_ICR_HIGH      0x310
#define   ICR_XAPIC_SHIFT  24
#define APIC_LVT_TIMER     0x320
#define   LVT_MASKED       (1u << 16)
#define   LVT_TSC_DEADLINE (2u << 17)
#define APIC_LVT_THERMAL   0x330
#define APIC_LVT_PERF      0x340
#define APIC_LVT_LINT0     0x350
#define APIC_LVT_LINT1     0x360
#define   LVT_MODE_MASK    (7u << 8)
#define   LVT_MODE_SMI     (2u << 8)
#define   LVT_MODE_NMI     (4u << 8)
#define APIC_LVT_ERROR     0x370
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE  0x3e0
#define   TIMER_DIVIDE_1   0xb

#define X2APIC_ICR  (MSR_X2APIC_BASE + APIC_ICR_LOW / 16)
#define APIC_SIZE   PAGE_SIZE
#define APIC_ADDRESS 0x000ffffffffff000ull

#define MSI_BASE        0xfee00000ull
#define MSI_DEST_SHIFT  12

/* The PC's two 8259 interrupt controllers: 8259A data sheet, "Initialization Command Words". */
#define PIC1_COMMAND 0x20
#define PIC1_DATA    0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA    0xa1
#define PIC_ICW1     0x11 /* edge triggered, cascade, ICW4 follows */
#define PIC_ICW4     0x01 /* 8086 mode */
#define PIC1_VECTOR  0x20 /* to 0x2f: off the exceptions, should one slip through */
#define PIC2_VECTOR  0x28
#define PIC_ALL      0xff

/* Intel 82093AA data sheet. */
#define IOAPIC_SELECT  0x00
#define IOAPIC_WINDOW  0x10
#define IOAPIC_SIZE    0x20
#define IOAPIC_VERSION 0x01
#define IOAPIC_ENTRY   0x10

/* Delivery takes a few bus cycles; this is far beyond. */
#define ICR_WAIT_SPINS 100000

#define CALIBRATE_US 10000

static bool x2;
static bool tsc_deadline;
static uint64_t mmio;
static const struct acpi_info *acpi;
static uint64_t timer_per_tsc;   /* timer ticks a TSC tick, 32.32 fixed point */

static uint32_t apic_read(uint32_t reg)
{
	if (x2)
		return (uint32_t)rdmsr(MSR_X2APIC_BASE + reg / 16);
	return mmio_read32(mmio + reg);
}

static void apic_write(uint32_t reg, uint32_t value)
{
	if (x2)
		wrmsr(MSR_X2APIC_BASE + reg / 16, value);
	else
		mmio_write32(mmio + reg, value);
}

bool apic_is_x2(void)
{
	return x2;
}

uint32_t apic_id(void)
{
	uint32_t id = apic_read(APIC_ID);

	return x2 ? id : id >> ICR_XAPIC_SHIFT;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

/* ---- interrupts to others ---- */

static void send(uint32_t dest, uint32_t command)
{
	if (x2) {
		/* unlike other MSRs, those of the x2APIC are not serialising */
		__asm__ volatile("mfence; lfence" ::: "memory");
		wrmsr(X2APIC_ICR, (uint64_t)dest << 32 | command);
		return;
	}
	for (unsigned i = 0; i < ICR_WAIT_SPINS && apic_read(APIC_ICR_LOW) & ICR_PENDING; i++)
		cpu_relax();
	apic_write(APIC_ICR_HIGH, dest << ICR_XAPIC_SHIFT);
	apic_write(APIC_ICR_LOW, command);
}

void apic_send(uint32_t dest, uint8_t vector)
{
	uint64_t flags = cpu_irq_save(); /* the two halves of ICR belong together */

	send(dest, ICR_FIXED | ICR_ASSERT | vector);
	cpu_irq_restore(flags);
}

void apic_send_init(uint32_t dest)
{
	send(dest, ICR_INIT | ICR_ASSERT);
}

void apic_send_startup(uint32_t dest, uint64_t page)
{
	send(dest, ICR_STARTUP | ICR_ASSERT | (uint32_t)(page >> PAGE_SHIFT));
}

void apic_nmi_others(void)
{
	if (x2 || mmio)
		send(0, ICR_NMI | ICR_ASSERT | ICR_OTHERS);
}

void apic_kick(const struct core *core)
{
	apic_send(core->apic_id, VECTOR_KICK);
}

void apic_msi(const struct core *core, uint8_t vector, uint64_t *address, uint32_t *data)
{
	/* an MSI names its core with 8 bits; the boot core's APIC id fits on every machine we know */
	*address = MSI_BASE | (uint64_t)(core->apic_id & 0xff) << MSI_DEST_SHIFT;
	*data = vector;
}

void apic_error(void)
{
	apic_write(APIC_ESR, 0); /* latches what has been collected */
	log_warn("core %u: local APIC error %02x", this_core()->id, apic_read(APIC_ESR));
}

/* ---- setting up ---- */

static void mask_pics(void)
{
	out8(PIC1_COMMAND, PIC_ICW1);
	out8(PIC2_COMMAND, PIC_ICW1);
	out8(PIC1_DATA, PIC1_VECTOR);
	out8(PIC2_DATA, PIC2_VECTOR);
	out8(PIC1_DATA, 1 << 2); /* the second hangs at line 2 */
	out8(PIC2_DATA, 2);
	out8(PIC1_DATA, PIC_ICW4);
	out8(PIC2_DATA, PIC_ICW4);
	out8(PIC1_DATA, PIC_ALL);
	out8(PIC2_DATA, PIC_ALL);
}

static uint32_t ioapic_read(uint64_t base, uint32_t reg)
{
	mmio_write32(base + IOAPIC_SELECT, reg);
	return mmio_read32(base + IOAPIC_WINDOW);
}

/* The firmware may have left routes behind. Ones that deliver an SMI stay as they are. */
static void mask_ioapic(uint64_t physical)
{
	uint64_t base = (uint64_t)hostmap_mmio(physical, IOAPIC_SIZE);

	if (!base) {
		log_warn("the I/O APIC at %llx cannot be mapped", (unsigned long long)physical);
		return;
	}
	for (uint32_t i = 0; i <= (ioapic_read(base, IOAPIC_VERSION) >> 16 & 0xff); i++) {
		uint32_t low = ioapic_read(base, IOAPIC_ENTRY + 2 * i);

		if ((low & LVT_MODE_MASK) != LVT_MODE_SMI)
			mmio_write32(base + IOAPIC_WINDOW, low | LVT_MASKED);
	}
}

void apic_init(const struct acpi_info *info)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	acpi = info;
	x2 = cpuid(CPUID_FEATURES).ecx & CPUID_1_ECX_X2APIC;
	tsc_deadline = cpuid(CPUID_FEATURES).ecx & CPUID_1_ECX_TSC_DEADLINE;
	if (!x2) {
		mmio = (uint64_t)hostmap_mmio(base & APIC_ADDRESS, APIC_SIZE);
		if (!mmio)
			panic("the local APIC at %llx cannot be mapped", (unsigned long long)base);
	}
	mask_pics();
	for (unsigned i = 0; i < info->ioapic_count; i++)
		mask_ioapic(info->ioapics[i]);
}

/* Which LINT pins of this core are wired to NMI: the MADT names a processor by its UID, 255 or all
 * ones mean all. */
static bool lint_is_nmi(unsigned pin)
{
	uint32_t id = apic_id(), uid = ACPI_ALL_CPUS;

	for (unsigned i = 0; i < acpi->cpu_count; i++)
		if (acpi->cpus[i].apic_id == id)
			uid = acpi->cpus[i].uid;
	for (unsigned i = 0; i < acpi->nmi_count; i++) {
		const struct acpi_nmi *n = &acpi->nmis[i];

		if (n->lint == pin && (n->uid == ACPI_ALL_CPUS || n->uid == uid))
			return true;
	}
	return false;
}

static void mask_unless_smi(uint32_t reg)
{
	if ((apic_read(reg) & LVT_MODE_MASK) != LVT_MODE_SMI)
		apic_write(reg, LVT_MASKED);
}

void apic_core_init(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;
	unsigned lvts;

	wrmsr(MSR_APIC_BASE, base);
	if (x2)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
	lvts = APIC_VERSION_MAX_LVT(apic_read(APIC_VERSION));
	apic_write(APIC_SPURIOUS, APIC_SOFT_ENABLE | VECTOR_SPURIOUS);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_LINT0, lint_is_nmi(0) ? LVT_MODE_NMI : LVT_MASKED);
	apic_write(APIC_LVT_LINT1, lint_is_nmi(1) ? LVT_MODE_NMI : LVT_MASKED);
	apic_write(APIC_LVT_ERROR, VECTOR_APIC_ERROR);
	if (lvts >= 4)
		mask_unless_smi(APIC_LVT_PERF);
	if (lvts >= 5)
		mask_unless_smi(APIC_LVT_THERMAL);
	if (lvts >= 6)
		mask_unless_smi(APIC_LVT_CMCI);
	apic_write(APIC_ESR, 0);
	apic_write(APIC_TIMER_DIVIDE, TIMER_DIVIDE_1);
	apic_write(APIC_LVT_TIMER, VECTOR_TIMER | (tsc_deadline ? LVT_TSC_DEADLINE : 0));
	/* SDM, "TSC-Deadline Mode": orders the write to memory before WRMSR to the deadline */
	__asm__ volatile("mfence" ::: "memory");
	apic_timer_stop();
	/* a service that the firmware began and did not end would hold lower vectors back */
	for (unsigned i = 0; i < 256 / 32; i++)
		apic_eoi();
}

/* ---- the timer ---- */

void apic_timer_calibrate(void)
{
	uint64_t start, ticks, tsc;

	if (tsc_deadline)
		return;
	apic_write(APIC_LVT_TIMER, VECTOR_TIMER | LVT_MASKED);
	apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
	start = rdtsc();
	clock_delay_us(CALIBRATE_US);
	ticks = UINT32_MAX - apic_read(APIC_TIMER_CURRENT);
	tsc = rdtsc() - start;
	apic_timer_stop();
	apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
	timer_per_tsc = (ticks << 32) / tsc;

	if (!ticks)
		panic("the local APIC timer does not count");
	log_debug("local APIC timer: %llu kHz",
		(unsigned long long)(ticks * 1000000 / clock_tsc_to_ns(tsc)));
}

void apic_timer_arm(uint64_t tsc)
{
	uint64_t now, ticks;

	if (tsc_deadline) {
		wrmsr(MSR_TSC_DEADLINE, MAX(tsc, 1ull)); /* 0 would disarm */
		return;
	}
	now = rdtsc();
	ticks = tsc > now ? (uint64_t)(((unsigned __int128)(tsc - now) * timer_per_tsc) >> 32) : 0;
	apic_write(APIC_TIMER_INITIAL, (uint32_t)MIN(MAX(ticks, 1ull), (uint64_t)UINT32_MAX));
}

void apic_timer_stop(void)
{
	if (tsc_deadline)
		wrmsr(MSR_TSC_DEADLINE, 0);
	else
		apic_write(APIC_TIMER_INITIAL, 0);
}
