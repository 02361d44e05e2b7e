/*
 * ACPI specification 6.5, "ACPI Software Programming Model" and "Multiple APIC Description Table";
 * DMAR: VT-d specification, "BIOS Considerations"; IVRS: AMD I/O Virtualization Technology
 * specification, "I/O Virtualization ACPI Table".
 */
#include "hv/acpi.h"

#include "lib/bytes.h"
#include "lib/string.h"

#define RSDP_V1_SIZE 20
#define RSDP_V2_SIZE 36
#define RSDP_MAX_SIZE PAGE_SIZE
#define RSDP_REVISION 15
#define RSDP_RSDT    16
#define RSDP_LENGTH  20
#define RSDP_XSDT    24

#define HEADER_SIZE   36
#define HEADER_LENGTH 4

#define MADT_ENTRIES   44
#define MADT_LAPIC     0
#define MADT_IOAPIC    1
#define MADT_LAPIC_NMI 4
#define MADT_X2APIC    9
#define MADT_X2APIC_NMI 10
#define MADT_ENABLED   (1u << 0)
#define MADT_UID_ALL_8 0xff

#define FADT_DSDT        40
#define FADT_SMI_COMMAND 48
#define FADT_ACPI_ENABLE 52
#define FADT_PM1A_CONTROL 64
#define FADT_PM1B_CONTROL 68
#define FADT_PM_TIMER    76
#define FADT_PM_TIMER_LENGTH 91
#define FADT_CENTURY     108
#define FADT_FLAGS       112
#define   FADT_TIMER_32BIT (1u << 8)
#define   FADT_CAN_RESET   (1u << 10)
#define FADT_V1_SIZE     116
#define FADT_RESET       116
#define FADT_RESET_VALUE 128
#define FADT_X_DSDT      140
#define FADT_X_PM1A_CONTROL 172
#define FADT_X_PM1B_CONTROL 184
#define FADT_X_PM_TIMER  208 /* generic address: space, width, offset, access, address */
#define   GAS_SIZE       12
#define   GAS_IO         1

#define SRAT_ENTRIES 48
#define SRAT_LAPIC   0
#define SRAT_X2APIC  2

#define DMAR_ENTRIES 48
#define DMAR_DRHD    0
#define IVRS_ENTRIES 48

#define SENTENCE_MAX 128

struct table {
	const uint8_t *bytes;
	size_t size;
};

struct parser {
	struct acpi_info *info;
	const struct acpi_source *source;
};

PRINTF(2, 3) static void note(const struct parser *p, const char *format, ...)
{
	char sentence[SENTENCE_MAX];
	va_list ap;

	if (!p->source->note)
		return;
	va_start(ap, format);
	vfmt(sentence, sizeof(sentence), format, ap);
	va_end(ap);
	p->source->note(p->source->ctx, sentence);
}

static bool sum_is_zero(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return sum == 0;
}

/* A signature for a sentence: printable, whatever the firmware wrote. */
static void printable(char out[5], const uint8_t *signature)
{
	for (unsigned i = 0; i < 4; i++)
		out[i] = signature[i] >= ' ' && signature[i] <= '~' ? (char)signature[i] : '?';
	out[4] = 0;
}

/* Map a table and check its length and sum. */
static bool open_table(const struct parser *p, uint64_t physical, struct table *out)
{
	const uint8_t *header = p->source->map(p->source->ctx, physical, HEADER_SIZE);
	char name[5];
	uint32_t size;

	if (!header) {
		note(p, "ACPI: a table is said to be at %llx, which cannot be", (unsigned long long)physical);
		return false;
	}
	printable(name, header);
	size = load_le32(header + HEADER_LENGTH);
	if (size < HEADER_SIZE || size > ACPI_MAX_TABLE_SIZE) {
		note(p, "ACPI: table %s has a length of %u bytes", name, size);
		return false;
	}
	out->bytes = p->source->map(p->source->ctx, physical, size);
	out->size = size;
	if (!out->bytes) {
		note(p, "ACPI: table %s reaches beyond memory", name);
		return false;
	}
	if (!sum_is_zero(out->bytes, out->size)) {
		note(p, "ACPI: table %s has a wrong checksum", name);
		return false;
	}
	return true;
}

/*
 * Entries of one shape follow each other in MADT and SRAT (type and length, a byte each) and in DMAR
 * and IVRS (wider). Each is passed on whole; a length that is 0 or too long ends the table.
 */
typedef void entry_fn(const struct parser *p, unsigned type, const uint8_t *entry, size_t size);

static void for_entries(const struct parser *p, const struct table *t, size_t first, bool wide,
	const char *name, entry_fn *fn)
{
	size_t at = first, head = wide ? 4 : 2;

	while (at < t->size) {
		const uint8_t *entry = t->bytes + at;
		size_t left = t->size - at, size = 0;

		if (left >= head)
			size = wide ? load_le16(entry + 2) : entry[1];
		if (size < head || size > left) {
			note(p, "ACPI: %s has a malformed entry at byte %zu", name, at);
			return;
		}
		/* DMAR types have 16 bits; those of IVRS 8, with flags behind */
		fn(p, entry[0], entry, size);
		at += size;
	}
}

/* ---- MADT ---- */

static void add_cpu(const struct parser *p, uint32_t id, uint32_t uid)
{
	struct acpi_info *info = p->info;

	for (unsigned i = 0; i < info->cpu_count; i++) {
		if (info->cpus[i].apic_id == id) {
			note(p, "ACPI: MADT names the processor with APIC id %u twice", id);
			return;
		}
	}
	if (info->cpu_count == ACPI_MAX_CPUS) {
		note(p, "ACPI: MADT names more than %u processors", ACPI_MAX_CPUS);
		return;
	}
	info->cpus[info->cpu_count++] = (struct acpi_cpu){ .apic_id = id, .uid = uid };
}

static void add_nmi(const struct parser *p, uint32_t uid, uint8_t lint)
{
	struct acpi_info *info = p->info;

	if (lint > 1 || info->nmi_count == ACPI_MAX_NMIS)
		note(p, "ACPI: MADT's NMI at pin %u is left out", lint);
	else
		info->nmis[info->nmi_count++] = (struct acpi_nmi){ .uid = uid, .lint = lint };
}

static void madt_entry(const struct parser *p, unsigned type, const uint8_t *e, size_t size)
{
	struct acpi_info *info = p->info;

	switch (type) {
	case MADT_LAPIC:
		if (size >= 8 && load_le32(e + 4) & MADT_ENABLED)
			add_cpu(p, e[3], e[2]);
		break;
	case MADT_X2APIC:
		if (size >= 16 && load_le32(e + 8) & MADT_ENABLED)
			add_cpu(p, load_le32(e + 4), load_le32(e + 12));
		break;
	case MADT_LAPIC_NMI:
		if (size >= 6)
			add_nmi(p, e[2] == MADT_UID_ALL_8 ? ACPI_ALL_CPUS : e[2], e[5]);
		break;
	case MADT_X2APIC_NMI:
		if (size >= 12)
			add_nmi(p, load_le32(e + 4), e[8]);
		break;
	case MADT_IOAPIC:
		if (size >= 12 && info->ioapic_count < ACPI_MAX_IOAPICS)
			info->ioapics[info->ioapic_count++] = load_le32(e + 4);
		break;
	default:
		break;
	}
}

static void parse_madt(const struct parser *p, const struct table *t)
{
	if (p->info->cpu_count) {
		note(p, "ACPI: a second MADT is left out");
		return;
	}
	for_entries(p, t, MADT_ENTRIES, false, "MADT", madt_entry);
}

/* ---- FADT ---- */

/* A port of two bytes, by the wider field where the table has one. */
static uint16_t power_port(const struct table *t, size_t narrow, size_t wide)
{
	const uint8_t *gas = t->bytes + wide;
	uint64_t port = load_le32(t->bytes + narrow);

	if (t->size >= wide + GAS_SIZE && load_le64(gas + 4))
		port = gas[0] == ACPI_IO ? load_le64(gas + 4) : 0;
	return port < UINT16_MAX ? (uint16_t)port : 0;
}

static void parse_dsdt(const struct parser *p, const struct table *fadt)
{
	uint64_t at = load_le32(fadt->bytes + FADT_DSDT);
	struct table dsdt;

	if (fadt->size >= FADT_X_DSDT + 8 && load_le64(fadt->bytes + FADT_X_DSDT))
		at = load_le64(fadt->bytes + FADT_X_DSDT);
	if (at && open_table(p, at, &dsdt) && memcmp(dsdt.bytes, "DSDT", 4) == 0)
		p->info->has_s5 = acpi_find_s5(dsdt.bytes + HEADER_SIZE, dsdt.size - HEADER_SIZE,
			p->info->s5_type);
}

static void parse_power(const struct parser *p, const struct table *t)
{
	struct acpi_info *info = p->info;
	const uint8_t *gas = t->bytes + FADT_RESET;
	uint32_t smi = load_le32(t->bytes + FADT_SMI_COMMAND);

	if (t->size > FADT_RESET_VALUE && load_le32(t->bytes + FADT_FLAGS) & FADT_CAN_RESET) {
		info->reset = (struct acpi_register){gas[0], load_le64(gas + 4)};
		info->reset_value = t->bytes[FADT_RESET_VALUE];
	}
	info->pm1_control[0] = power_port(t, FADT_PM1A_CONTROL, FADT_X_PM1A_CONTROL);
	info->pm1_control[1] = power_port(t, FADT_PM1B_CONTROL, FADT_X_PM1B_CONTROL);
	info->smi_command = smi <= UINT16_MAX ? (uint16_t)smi : 0;
	info->acpi_enable = t->bytes[FADT_ACPI_ENABLE];
	parse_dsdt(p, t);
}

static void parse_fadt(const struct parser *p, const struct table *t)
{
	struct acpi_info *info = p->info;
	const uint8_t *gas = t->bytes + FADT_X_PM_TIMER;
	uint64_t port = 0;

	if (t->size < FADT_V1_SIZE) {
		note(p, "ACPI: FADT is only %zu bytes long", t->size);
		return;
	}
	if (t->bytes[FADT_PM_TIMER_LENGTH] == 4)
		port = load_le32(t->bytes + FADT_PM_TIMER);
	if (t->size >= FADT_X_PM_TIMER + GAS_SIZE && load_le64(gas + 4))
		port = gas[0] == GAS_IO ? load_le64(gas + 4) : 0;
	if (port > UINT16_MAX - 3)
		note(p, "ACPI: the PM timer's port %llx is none", (unsigned long long)port);
	else
		info->pm_timer_port = (uint16_t)port;
	info->pm_timer_32bit = load_le32(t->bytes + FADT_FLAGS) & FADT_TIMER_32BIT;
	info->cmos_century = t->bytes[FADT_CENTURY];
	parse_power(p, t);
}

/* ---- SRAT: may stand before the MADT, so it is read last ---- */

static void set_node(const struct parser *p, uint32_t apic_id, uint32_t node)
{
	for (unsigned i = 0; i < p->info->cpu_count; i++)
		if (p->info->cpus[i].apic_id == apic_id)
			p->info->cpus[i].node = node;
}

static void srat_entry(const struct parser *p, unsigned type, const uint8_t *e, size_t size)
{
	if (type == SRAT_LAPIC && size >= 16 && load_le32(e + 4) & MADT_ENABLED)
		set_node(p, e[3],
			e[2] | (uint32_t)e[9] << 8 | (uint32_t)e[10] << 16 | (uint32_t)e[11] << 24);
	if (type == SRAT_X2APIC && size >= 24 && load_le32(e + 12) & MADT_ENABLED)
		set_node(p, load_le32(e + 8), load_le32(e + 4));
}

/* ---- DMAR and IVRS ---- */

static void add_iommu(const struct parser *p, enum acpi_iommu_kind kind, uint64_t base)
{
	struct acpi_info *info = p->info;

	/* IVRS describes one unit up to three times, in newer and newer forms */
	for (unsigned i = 0; i < info->iommu_count; i++)
		if (info->iommus[i].base == base)
			return;
	if (!base || base % PAGE_SIZE || info->iommu_count == ACPI_MAX_IOMMUS) {
		note(p, "ACPI: an IOMMU at %llx is left out", (unsigned long long)base);
		return;
	}
	info->iommus[info->iommu_count++] = (struct acpi_iommu){ .kind = kind, .base = base };
}

static void dmar_entry(const struct parser *p, unsigned type, const uint8_t *e, size_t size)
{
	if (type == DMAR_DRHD && e[1] == 0 && size >= 16)
		add_iommu(p, ACPI_IOMMU_INTEL, load_le64(e + 8));
}

static void ivrs_entry(const struct parser *p, unsigned type, const uint8_t *e, size_t size)
{
	if ((type == 0x10 || type == 0x11 || type == 0x40) && size >= 24)
		add_iommu(p, ACPI_IOMMU_AMD, load_le64(e + 8));
}

/* ---- the root ---- */

static bool open_root(const struct parser *p, uint64_t physical, struct table *root, size_t *width)
{
	const uint8_t *rsdp = p->source->map(p->source->ctx, physical, RSDP_V1_SIZE);
	uint64_t rsdt, xsdt = 0;

	if (!rsdp || memcmp(rsdp, "RSD PTR ", 8) != 0 || !sum_is_zero(rsdp, RSDP_V1_SIZE)) {
		note(p, "ACPI: no valid root pointer at %llx", (unsigned long long)physical);
		return false;
	}
	rsdt = load_le32(rsdp + RSDP_RSDT);
	if (rsdp[RSDP_REVISION] >= 2) {
		uint32_t size = 0;

		rsdp = p->source->map(p->source->ctx, physical, RSDP_V2_SIZE);
		if (rsdp)
			size = load_le32(rsdp + RSDP_LENGTH);
		if (size >= RSDP_V2_SIZE && size <= RSDP_MAX_SIZE)
			rsdp = p->source->map(p->source->ctx, physical, size);
		else
			rsdp = NULL;
		if (rsdp && sum_is_zero(rsdp, size))
			xsdt = load_le64(rsdp + RSDP_XSDT);
		else
			note(p, "ACPI: the root pointer's second part is not valid");
	}
	*width = sizeof(uint64_t);
	if (xsdt && open_table(p, xsdt, root) && memcmp(root->bytes, "XSDT", 4) == 0)
		return true;
	*width = sizeof(uint32_t);
	return rsdt && open_table(p, rsdt, root) && memcmp(root->bytes, "RSDT", 4) == 0;
}

static void parse_table(const struct parser *p, uint64_t physical, struct table *srat)
{
	struct table t;

	if (!open_table(p, physical, &t))
		return;
	if (memcmp(t.bytes, "APIC", 4) == 0)
		parse_madt(p, &t);
	else if (memcmp(t.bytes, "FACP", 4) == 0)
		parse_fadt(p, &t);
	else if (memcmp(t.bytes, "SRAT", 4) == 0)
		*srat = t;
	else if (memcmp(t.bytes, "DMAR", 4) == 0)
		for_entries(p, &t, DMAR_ENTRIES, true, "DMAR", dmar_entry);
	else if (memcmp(t.bytes, "IVRS", 4) == 0)
		for_entries(p, &t, IVRS_ENTRIES, true, "IVRS", ivrs_entry);
}

void acpi_parse(struct acpi_info *info, uint64_t rsdp, const struct acpi_source *source)
{
	struct parser p = { info, source };
	struct table root, srat = { NULL, 0 };
	size_t width, count;

	memset(info, 0, sizeof(*info));
	if (!rsdp || !open_root(&p, rsdp, &root, &width))
		return;
	info->present = true;
	count = (root.size - HEADER_SIZE) / width;
	if (count > ACPI_MAX_TABLES) {
		note(&p, "ACPI: only %u of %zu tables are looked at", ACPI_MAX_TABLES, count);
		count = ACPI_MAX_TABLES;
	}
	for (size_t i = 0; i < count; i++) {
		const uint8_t *entry = root.bytes + HEADER_SIZE + i * width;

		parse_table(&p, width == sizeof(uint64_t) ? load_le64(entry) : load_le32(entry), &srat);
	}
	if (srat.bytes)
		for_entries(&p, &srat, SRAT_ENTRIES, false, "SRAT", srat_entry);
}
