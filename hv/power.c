#include "hv/power.h"

#include "hv/acpi.h"
#include "hv/clock.h"
#include "hv/console.h"
#include "hv/cpu.h"
#include "hv/host.h"
#include "hv/hostmap.h"
#include "hv/log.h"
#include "hv/piix4.h"

#define DELAY_US 300000u /* in which the answer to who asked leaves */
#define STEP_US  200000u /* before the next way is tried */

/* ACPI specification 6.5, "PM1 Control Registers". */
#define PM1_SCI_ENABLE    (1u << 0)
#define PM1_SLP_TYP_SHIFT 10
#define PM1_SLP_TYP       (7u << PM1_SLP_TYP_SHIFT)
#define PM1_SLP_ENABLE    (1u << 13)
#define PM1_REGISTERS     2
#define ENABLE_MS         300 /* in which the firmware hands power management over */

/* "Generic Address Structure", an address in PCI configuration space of bus 0. */
#define PCI_DEVICE_SHIFT   32
#define PCI_FUNCTION_SHIFT 16
#define PCI_ADDRESS        0xcf8
#define PCI_DATA           0xcfc
#define PCI_ENABLE         0x80000000u

/* The chip sets' own: reset control register, and the keyboard controller's line to the processor. */
#define RESET_CONTROL      0xcf9
#define RESET_HARD         0x02
#define RESET_GO           0x06
#define KEYBOARD           0x64
#define KEYBOARD_FULL      0x02
#define KEYBOARD_PULSE     0xfe
#define KEYBOARD_TRIES     1000

static struct acpi_register reset;
static uint8_t reset_value, s5_type[PM1_REGISTERS], acpi_enable;
static uint16_t pm1_control[PM1_REGISTERS], smi_command;
static bool can_switch_off;

static uint64_t due_us = UINT64_MAX;
static enum host_power wanted;

void power_init(const struct acpi_info *acpi)
{
	uint16_t piix4 = acpi->present ? 0 : piix4_power_base();

	reset = acpi->reset;
	reset_value = acpi->reset_value;
	acpi_enable = acpi->acpi_enable;
	smi_command = acpi->smi_command;
	for (unsigned i = 0; i < PM1_REGISTERS; i++) {
		pm1_control[i] = acpi->pm1_control[i];
		s5_type[i] = acpi->s5_type[i];
	}
	if (piix4)
		pm1_control[0] = (uint16_t)(piix4 + PIIX4_PM_CONTROL);
	can_switch_off = pm1_control[0] && (piix4 || acpi->has_s5);
	/* device memory is mapped while it can be, not when the host is about to end */
	if (reset.space == ACPI_MEMORY && reset.address && !hostmap_mmio(reset.address, 1))
		reset.address = 0;
}

int host_power(enum host_power what)
{
	if (what == HOST_POWER_OFF && !can_switch_off)
		return ERR_UNSUPPORTED;
	if (due_us == UINT64_MAX) {
		wanted = what;
		due_us = clock_us() + DELAY_US;
		log_warn("%s, as a client has asked",
			what == HOST_REBOOT ? "the host restarts" : "the host switches itself off");
	}
	return OK;
}

/* ---- restarting: whatever works first ---- */

static void write_pci(uint64_t address, uint8_t value)
{
	uint32_t slot = (uint32_t)(address >> PCI_DEVICE_SHIFT & 31) << 3 |
			(uint32_t)(address >> PCI_FUNCTION_SHIFT & 7);
	uint32_t offset = (uint32_t)address & 0xff;

	out32(PCI_ADDRESS, PCI_ENABLE | slot << 8 | (offset & ~3u));
	out8((uint16_t)(PCI_DATA + (offset & 3)), value);
}

static void reset_by_acpi(void)
{
	if (!reset.address)
		return;
	if (reset.space == ACPI_IO && reset.address <= UINT16_MAX)
		out8((uint16_t)reset.address, reset_value);
	else if (reset.space == ACPI_PCI)
		write_pci(reset.address, reset_value);
	else if (reset.space == ACPI_MEMORY)
		*(volatile uint8_t *)reset.address = reset_value;
	clock_delay_us(STEP_US);
}

static void reset_by_chipset(void)
{
	out8(RESET_CONTROL, RESET_HARD);
	out8(RESET_CONTROL, RESET_GO);
	clock_delay_us(STEP_US);
}

static void reset_by_keyboard(void)
{
	for (unsigned i = 0; i < KEYBOARD_TRIES && in8(KEYBOARD) & KEYBOARD_FULL; i++)
		cpu_relax();
	out8(KEYBOARD, KEYBOARD_PULSE);
	clock_delay_us(STEP_US);
}

/* An exception that no table has a gate for. */
NORETURN static void reset_by_triple_fault(void)
{
	const struct cpu_table none = {0};

	lidt(&none);
	__asm__ volatile("int3");
	cpu_halt();
}

NORETURN static void restart(void)
{
	cpu_cli();
	console_flush();
	reset_by_acpi();
	reset_by_chipset();
	reset_by_keyboard();
	reset_by_triple_fault();
}

/* ---- switching off ---- */

static void take_over_power_management(void)
{
	if (in16(pm1_control[0]) & PM1_SCI_ENABLE || !smi_command || !acpi_enable)
		return;
	out8(smi_command, acpi_enable);
	for (unsigned i = 0; i < ENABLE_MS && !(in16(pm1_control[0]) & PM1_SCI_ENABLE); i++)
		clock_delay_us(1000);
}

static void switch_off(void)
{
	take_over_power_management();
	for (unsigned i = 0; i < PM1_REGISTERS; i++) {
		uint16_t port = pm1_control[i];
		unsigned value;

		if (!port)
			continue;
		value = (in16(port) & ~(PM1_SLP_TYP | PM1_SLP_ENABLE)) |
			(unsigned)s5_type[i] << PM1_SLP_TYP_SHIFT;
		out16(port, (uint16_t)value);
		out16(port, (uint16_t)(value | PM1_SLP_ENABLE));
	}
	clock_delay_us(STEP_US);
	log_error("the machine did not switch itself off");
}

uint64_t power_poll(uint64_t now_us)
{
	if (now_us < due_us)
		return due_us;
	due_us = UINT64_MAX;
	if (wanted == HOST_REBOOT)
		restart();
	switch_off();
	return due_us;
}
