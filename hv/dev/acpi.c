#include "hv/dev/acpi.h"

#include "lib/bytes.h"
#include "lib/string.h"

/* Where each table lies behind ACPI_GPA. */
enum { AT_RSDP = 0, AT_XSDT = 0x40, AT_MADT = 0x80, AT_FADT = 0xc0, AT_DSDT = 0x200 };

#define HEADER_SIZE   36u
#define RSDP_SIZE     36u
#define RSDP_OLD_SIZE 20u /* what its first checksum covers */
#define XSDT_SIZE     (HEADER_SIZE + 2 * 8)
#define MADT_SIZE     (HEADER_SIZE + 8 + 8)
#define FADT_SIZE     276u

#define LAPIC_ADDRESS 0xfee00000u /* nobody uses it: the APIC is in x2APIC mode */
#define LAPIC_ENABLED 1u

/* "Fixed ACPI Description Table Fixed Feature Flags": WBINVD works, no fixed power and sleep
 * buttons, there is a reset register, hardware-reduced. */
#define FADT_FLAGS (1u << 0 | 1u << 4 | 1u << 5 | 1u << 10 | 1u << 20)
/* "IA-PC Boot Architecture Flags": no VGA, no CMOS clock. */
#define FADT_BOOT  (1u << 2 | 1u << 5)

/* "Generic Address Structure" */
#define GAS_IO     1
#define GAS_BYTE   1

/* hv/dev/dsdt.asl, compiled. */
static const uint8_t dsdt[] = {
	0x44, 0x53, 0x44, 0x54, 0xcf, 0x00, 0x00, 0x00, 0x02, 0x86, 0x43, 0x52, 0x45, 0x45,
	0x4c, 0x20, 0x43, 0x52, 0x45, 0x45, 0x4c, 0x20, 0x20, 0x20, 0x01, 0x00, 0x00, 0x00,
	0x49, 0x4e, 0x54, 0x4c, 0x25, 0x09, 0x20, 0x20, 0x08, 0x5f, 0x53, 0x35, 0x5f, 0x12,
	0x08, 0x04, 0x0a, 0x05, 0x0a, 0x05, 0x00, 0x00, 0x10, 0x4c, 0x09, 0x5f, 0x53, 0x42,
	0x5f, 0x5b, 0x82, 0x28, 0x43, 0x4f, 0x4d, 0x31, 0x08, 0x5f, 0x48, 0x49, 0x44, 0x0c,
	0x41, 0xd0, 0x05, 0x01, 0x08, 0x5f, 0x55, 0x49, 0x44, 0x01, 0x08, 0x5f, 0x43, 0x52,
	0x53, 0x11, 0x0d, 0x0a, 0x0a, 0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08, 0x79,
	0x00, 0x5b, 0x82, 0x4a, 0x06, 0x50, 0x43, 0x49, 0x30, 0x08, 0x5f, 0x48, 0x49, 0x44,
	0x0c, 0x41, 0xd0, 0x0a, 0x03, 0x08, 0x5f, 0x55, 0x49, 0x44, 0x00, 0x08, 0x5f, 0x42,
	0x42, 0x4e, 0x00, 0x08, 0x5f, 0x43, 0x52, 0x53, 0x11, 0x48, 0x04, 0x0a, 0x44, 0x88,
	0x0d, 0x00, 0x02, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
	0x00, 0x47, 0x01, 0xf8, 0x0c, 0xf8, 0x0c, 0x01, 0x08, 0x88, 0x0d, 0x00, 0x01, 0x0c,
	0x03, 0x00, 0x00, 0x00, 0xc0, 0xff, 0xcf, 0x00, 0x00, 0x00, 0x10, 0x87, 0x17, 0x00,
	0x00, 0x0c, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe0, 0xff, 0xff, 0xff,
	0xe0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x79, 0x00,
};

_Static_assert(AT_DSDT + sizeof(dsdt) <= ACPI_SIZE, "the tables fit");

static uint8_t checksum(const uint8_t *p, unsigned size)
{
	unsigned sum = 0;

	while (size--)
		sum += *p++;
	return (uint8_t)-sum;
}

/* "System Description Table Header"; the rest of the table is there already. */
static void finish(uint8_t *table, const char *signature, uint8_t revision, uint32_t size)
{
	memcpy(table, signature, 4);
	store_le32(table + 4, size);
	table[8] = revision;
	memcpy(table + 10, "CREEL CREEL   ", 14);
	store_le32(table + 24, 1);
	memcpy(table + 28, "CREL", 4);
	store_le32(table + 32, 1);
	table[9] = checksum(table, size);
}

static void io_byte(uint8_t *gas, uint16_t port)
{
	gas[0] = GAS_IO;
	gas[1] = 8;
	gas[3] = GAS_BYTE;
	store_le64(gas + 4, port);
}

/* "Multiple APIC Description Table": one processor, and no I/O APIC. */
static void build_madt(uint8_t *t)
{
	uint8_t *entry = t + HEADER_SIZE + 8;

	store_le32(t + HEADER_SIZE, LAPIC_ADDRESS);
	entry[1] = 8; /* type 0, "Processor Local APIC", processor 0, APIC 0 */
	store_le32(entry + 4, LAPIC_ENABLED);
	finish(t, "APIC", 3, MADT_SIZE);
}

static void build_fadt(uint8_t *t)
{
	store_le32(t + 40, ACPI_GPA + AT_DSDT);
	store_le16(t + 109, FADT_BOOT);
	store_le32(t + 112, FADT_FLAGS);
	io_byte(t + 116, ACPI_RESET_PORT);
	t[128] = ACPI_RESET_VALUE;
	t[131] = 3; /* minor version */
	store_le64(t + 140, ACPI_GPA + AT_DSDT);
	io_byte(t + 244, ACPI_SLEEP_PORT);
	io_byte(t + 256, ACPI_STATUS_PORT);
	finish(t, "FACP", 6, FADT_SIZE);
}

void acpi_build(uint8_t tables[ACPI_SIZE])
{
	uint8_t *rsdp = tables + AT_RSDP, *xsdt = tables + AT_XSDT;

	memset(tables, 0, ACPI_SIZE);
	memcpy(tables + AT_DSDT, dsdt, sizeof(dsdt));
	build_madt(tables + AT_MADT);
	build_fadt(tables + AT_FADT);
	store_le64(xsdt + HEADER_SIZE, ACPI_GPA + AT_FADT);
	store_le64(xsdt + HEADER_SIZE + 8, ACPI_GPA + AT_MADT);
	finish(xsdt, "XSDT", 1, XSDT_SIZE);
	/* "Root System Description Pointer (RSDP) Structure" */
	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "CREEL ", 6);
	rsdp[15] = 2;
	store_le32(rsdp + 20, RSDP_SIZE);
	store_le64(rsdp + 24, ACPI_GPA + AT_XSDT);
	rsdp[8] = checksum(rsdp, RSDP_OLD_SIZE);
	rsdp[32] = checksum(rsdp, RSDP_SIZE);
}
