/* ACPI tables, good and bad. Firmware memory is a sparse set of buffers; each is its own allocation, so
 * that AddressSanitizer sees every byte read beyond what map() promised. */
#include "hv/acpi.h"
#include "lib/bytes.h"
#include "tests/unit/test.h"

#define MAX_BLOCKS 16
#define RSDP_AT    0xe0000ull
#define ROOT_AT    0x100000ull
#define TABLE_AT(n) (0x200000ull + (uint64_t)(n) * 0x100000)

static struct block {
	uint64_t at;
	uint8_t *bytes;
	size_t size;
} blocks[MAX_BLOCKS];
static unsigned block_count, notes;
static uint8_t *copies[4096]; /* what map() gave out, exactly as long as was asked for */
static unsigned copy_count;
static struct acpi_info info;

static const void *map(void *ctx, uint64_t physical, uint64_t size)
{
	(void)ctx;
	for (unsigned i = 0; i < block_count; i++) {
		const struct block *b = &blocks[i];

		if (physical < b->at || physical - b->at > b->size || size > b->size - (physical - b->at))
			continue;
		CHECK(copy_count < 4096);
		uint8_t *copy = malloc(size);

		memcpy(copy, b->bytes + (physical - b->at), size);
		copies[copy_count++] = copy;
		return copy;
	}
	return NULL;
}

static void note(void *ctx, const char *sentence)
{
	(void)ctx;
	CHECK(strlen(sentence) > 10);
	notes++;
}

static const struct acpi_source source = {.map = map, .note = note};

static void reset(void)
{
	for (unsigned i = 0; i < block_count; i++)
		free(blocks[i].bytes);
	block_count = 0;
}

static void parse(uint64_t rsdp)
{
	notes = 0;
	acpi_parse(&info, rsdp, &source);
	for (unsigned i = 0; i < copy_count; i++)
		free(copies[i]);
	copy_count = 0;
}

static uint8_t *place(uint64_t at, size_t size)
{
	CHECK(block_count < MAX_BLOCKS);
	blocks[block_count] = (struct block){.at = at, .bytes = calloc(1, size), .size = size};
	return blocks[block_count++].bytes;
}

static void set_sum(uint8_t *table, size_t size, size_t sum_at)
{
	uint8_t sum = 0;

	table[sum_at] = 0;
	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + table[i]);
	table[sum_at] = (uint8_t)-sum;
}

static void seal(uint8_t *table, size_t size)
{
	store_le32(table + 4, (uint32_t)size);
	set_sum(table, size, 9);
}

static uint8_t *table(uint64_t at, const char *signature, size_t size)
{
	uint8_t *t = place(at, size);

	memcpy(t, signature, 4);
	seal(t, size);
	return t;
}

/* A root with an XSDT (revision 2) or RSDT (0) that names tables 0 to n - 1. */
static void make_root(unsigned revision, unsigned n)
{
	size_t width = revision >= 2 ? 8 : 4;
	uint8_t *rsdp = place(RSDP_AT, 36), *root = table(ROOT_AT, width == 8 ? "XSDT" : "RSDT", 36 + n * width);

	memcpy(rsdp, "RSD PTR ", 8);
	rsdp[15] = (uint8_t)revision;
	if (revision >= 2)
		store_le64(rsdp + 24, ROOT_AT);
	else
		store_le32(rsdp + 16, ROOT_AT);
	store_le32(rsdp + 20, 36);
	set_sum(rsdp, 20, 8);
	set_sum(rsdp, 36, 32);
	for (unsigned i = 0; i < n; i++) {
		if (width == 8)
			store_le64(root + 36 + i * 8, TABLE_AT(i));
		else
			store_le32(root + 36 + i * 4, (uint32_t)TABLE_AT(i));
	}
	seal(root, 36 + n * width);
}

static uint8_t *put_lapic(uint8_t *e, uint8_t uid, uint8_t id, uint32_t flags)
{
	e[0] = 0;
	e[1] = 8;
	e[2] = uid;
	e[3] = id;
	store_le32(e + 4, flags);
	return e + 8;
}

/* Three xAPIC processors, one of them disabled, one x2APIC, an I/O APIC, an NMI for all. */
#define MADT_SIZE (44 + 3 * 8 + 16 + 12 + 6)

static uint8_t *make_madt(unsigned slot)
{
	uint8_t *t = table(TABLE_AT(slot), "APIC", MADT_SIZE), *e = t + 44;

	e = put_lapic(e, 1, 0, 1);
	e = put_lapic(e, 2, 2, 1);
	e = put_lapic(e, 3, 3, 0);
	e[0] = 9;
	e[1] = 16;
	store_le32(e + 4, 0x123);
	store_le32(e + 8, 1);
	store_le32(e + 12, 77);
	e += 16;
	e[0] = 1;
	e[1] = 12;
	store_le32(e + 4, 0xfec00000);
	e += 12;
	e[0] = 4;
	e[1] = 6;
	e[2] = 0xff;
	e[5] = 1;
	seal(t, MADT_SIZE);
	return t;
}

static uint8_t *make_fadt(unsigned slot)
{
	uint8_t *t = table(TABLE_AT(slot), "FACP", 244);

	store_le32(t + 76, 0x608);
	t[91] = 4;
	t[108] = 0x32;
	store_le32(t + 112, 1u << 8);
	seal(t, 244);
	return t;
}

TEST(acpi_none)
{
	parse(0);
	CHECK(!info.present);
	CHECK_EQ(notes, 0);
}

static void check_good(void)
{
	CHECK(info.present);
	CHECK_EQ(notes, 0);
	CHECK_EQ(info.cpu_count, 3);
	CHECK_EQ(info.cpus[0].apic_id, 0);
	CHECK_EQ(info.cpus[1].apic_id, 2);
	CHECK_EQ(info.cpus[1].uid, 2);
	CHECK_EQ(info.cpus[2].apic_id, 0x123);
	CHECK_EQ(info.cpus[2].uid, 77);
	CHECK_EQ(info.ioapic_count, 1);
	CHECK_EQ(info.ioapics[0], 0xfec00000);
	CHECK_EQ(info.nmi_count, 1);
	CHECK_EQ(info.nmis[0].uid, ACPI_ALL_CPUS);
	CHECK_EQ(info.nmis[0].lint, 1);
	CHECK_EQ(info.pm_timer_port, 0x608);
	CHECK(info.pm_timer_32bit);
	CHECK_EQ(info.cmos_century, 0x32);
}

TEST(acpi_good_tables_by_xsdt_and_rsdt)
{
	for (unsigned revision = 0; revision <= 2; revision += 2) {
		reset();
		make_root(revision, 2);
		make_madt(0);
		make_fadt(1);
		parse(RSDP_AT);
		check_good();
	}
}

TEST(acpi_wrong_checksums_leave_the_table_out)
{
	reset();
	make_root(2, 2);
	make_madt(0)[50] ^= 1;
	make_fadt(1);
	parse(RSDP_AT);
	CHECK_EQ(info.cpu_count, 0);
	CHECK_EQ(info.pm_timer_port, 0x608);
	CHECK_EQ(notes, 1);

	reset();
	make_root(2, 0);
	blocks[0].bytes[10] ^= 1; /* the root pointer */
	parse(RSDP_AT);
	CHECK(!info.present);
	CHECK_EQ(notes, 1);
}

TEST(acpi_a_bad_second_part_of_the_root_falls_back_to_the_rsdt)
{
	reset();
	make_root(0, 1);
	make_madt(0);
	blocks[0].bytes[15] = 2;
	set_sum(blocks[0].bytes, 20, 8);
	blocks[0].bytes[33] ^= 1;
	parse(RSDP_AT);
	CHECK(info.present);
	CHECK_EQ(info.cpu_count, 3);
	CHECK_EQ(notes, 1);
}

TEST(acpi_lengths_beyond_memory_or_reason)
{
	static const uint32_t lengths[] = {0, 35, 5u << 20, UINT32_MAX, MADT_SIZE + 1};

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint8_t *madt;

		reset();
		make_root(2, 2);
		madt = make_madt(0);
		make_fadt(1);
		store_le32(madt + 4, lengths[i]);
		parse(RSDP_AT);
		CHECK_EQ(info.cpu_count, 0);
		CHECK_EQ(info.pm_timer_port, 0x608);
		CHECK_EQ(notes, 1);
	}
}

TEST(acpi_entries_that_are_empty_or_too_long_end_the_table)
{
	static const uint8_t lengths[] = {0, 1, 255};

	for (unsigned i = 0; i < sizeof(lengths); i++) {
		uint8_t *madt;

		reset();
		make_root(2, 1);
		madt = make_madt(0);
		madt[44 + 8 + 1] = lengths[i]; /* the second entry */
		seal(madt, MADT_SIZE);
		parse(RSDP_AT);
		CHECK_EQ(info.cpu_count, 1);
		CHECK_EQ(notes, 1);
	}
}

TEST(acpi_a_processor_counts_once)
{
	uint8_t *madt;

	reset();
	make_root(2, 2);
	madt = make_madt(0);
	make_madt(1); /* a second table is left out, too */
	put_lapic(madt + 44 + 8, 2, 0, 1);
	seal(madt, MADT_SIZE);
	parse(RSDP_AT);
	CHECK_EQ(info.cpu_count, 2);
	CHECK_EQ(notes, 2);
}

TEST(acpi_more_processors_than_we_can_hold)
{
	size_t size = 44 + (ACPI_MAX_CPUS + 10) * 16;
	uint8_t *t;

	reset();
	make_root(2, 1);
	t = table(TABLE_AT(0), "APIC", size);
	for (uint32_t i = 0; i < ACPI_MAX_CPUS + 10; i++) {
		uint8_t *e = t + 44 + i * 16;

		e[0] = 9;
		e[1] = 16;
		store_le32(e + 4, i);
		store_le32(e + 8, 1);
	}
	seal(t, size);
	parse(RSDP_AT);
	CHECK_EQ(info.cpu_count, ACPI_MAX_CPUS);
	CHECK_EQ(notes, 10);
}

TEST(acpi_nodes_come_from_the_srat_wherever_it_stands)
{
	uint8_t *t;

	reset();
	make_root(2, 2);
	make_madt(1);
	t = table(TABLE_AT(0), "SRAT", 48 + 16 + 24);
	t[48] = 0;
	t[49] = 16;
	t[50] = 5;
	t[51] = 2;
	store_le32(t + 52, 1);
	t[64] = 2;
	t[65] = 24;
	store_le32(t + 64 + 4, 9);
	store_le32(t + 64 + 8, 0x123);
	store_le32(t + 64 + 12, 1);
	seal(t, 48 + 16 + 24);
	parse(RSDP_AT);
	CHECK_EQ(info.cpus[0].node, 0);
	CHECK_EQ(info.cpus[1].node, 5);
	CHECK_EQ(info.cpus[2].node, 9);
}

TEST(acpi_iommus)
{
	uint8_t *t;

	reset();
	make_root(2, 2);
	t = table(TABLE_AT(0), "DMAR", 48 + 16 + 24);
	store_le16(t + 48 + 2, 16); /* a DRHD */
	store_le64(t + 48 + 8, 0xfed90000);
	store_le16(t + 64, 1); /* an RMRR */
	store_le16(t + 64 + 2, 24);
	seal(t, 48 + 16 + 24);
	t = table(TABLE_AT(1), "IVRS", 48 + 2 * 24);
	for (unsigned i = 0; i < 2; i++) { /* the same unit, described twice */
		t[48 + i * 24] = i ? 0x11 : 0x10;
		store_le16(t + 48 + i * 24 + 2, 24);
		store_le64(t + 48 + i * 24 + 8, 0xfeb80000);
	}
	seal(t, 48 + 2 * 24);
	parse(RSDP_AT);
	CHECK_EQ(notes, 0);
	CHECK_EQ(info.iommu_count, 2);
	CHECK_EQ(info.iommus[0].kind, ACPI_IOMMU_INTEL);
	CHECK_EQ(info.iommus[0].base, 0xfed90000);
	CHECK_EQ(info.iommus[1].kind, ACPI_IOMMU_AMD);
	CHECK_EQ(info.iommus[1].base, 0xfeb80000);
}

TEST(acpi_pm_timer_must_be_a_port)
{
	uint8_t *t;

	reset();
	make_root(2, 1);
	t = make_fadt(0);
	t[208] = 0; /* in memory */
	store_le64(t + 208 + 4, 0xfed00000);
	seal(t, 244);
	parse(RSDP_AT);
	CHECK_EQ(info.pm_timer_port, 0);
	t[208] = 1;
	store_le64(t + 208 + 4, 0x10000);
	seal(t, 244);
	parse(RSDP_AT);
	CHECK_EQ(info.pm_timer_port, 0);
	CHECK_EQ(notes, 1);
}

/* Random damage, with checksums made right again: nothing out of bounds, and limits hold. */
TEST(acpi_damaged_tables)
{
	uint64_t state = 99;

	for (unsigned round = 0; round < 20000; round++) {
		reset();
		make_root(test_random(&state) % 2 ? 2 : 0, 3);
		make_madt(0);
		make_fadt(1);
		table(TABLE_AT(2), test_random(&state) % 2 ? "SRAT" : "DMAR", 48 + 40);
		for (unsigned i = 1 + (unsigned)(test_random(&state) % 4); i--;) {
			struct block *b = &blocks[test_random(&state) % block_count];

			b->bytes[test_random(&state) % b->size] = (uint8_t)test_random(&state);
			if (b->at == RSDP_AT) {
				set_sum(b->bytes, 20, 8);
				set_sum(b->bytes, 36, 32);
			} else {
				set_sum(b->bytes, b->size, 9);
			}
		}
		parse(RSDP_AT);
		CHECK(info.cpu_count <= ACPI_MAX_CPUS && info.nmi_count <= ACPI_MAX_NMIS);
		CHECK(info.iommu_count <= ACPI_MAX_IOMMUS && info.ioapic_count <= ACPI_MAX_IOAPICS);
	}
	reset();
}

/* ---- soft off ---- */

static bool find_s5(const void *aml, size_t size, uint8_t type[2])
{
	uint8_t *copy = malloc(size ? size : 1);

	memcpy(copy, aml, size);
	bool found = acpi_find_s5(copy, size, type);
	free(copy);
	return found;
}

#define FINDS(a, b, ...)                                                                           \
	do {                                                                                       \
		static const uint8_t aml[] = {__VA_ARGS__};                                        \
		uint8_t type[2] = {99, 99};                                                        \
		CHECK(find_s5(aml, sizeof(aml), type));                                            \
		CHECK_EQ(type[0], a);                                                              \
		CHECK_EQ(type[1], b);                                                              \
	} while (0)
#define FINDS_NOT(...)                                                                             \
	do {                                                                                       \
		static const uint8_t aml[] = {__VA_ARGS__};                                        \
		uint8_t type[2];                                                                   \
		CHECK(!find_s5(aml, sizeof(aml), type));                                           \
	} while (0)

TEST(acpi_s5_in_the_forms_that_firmware_writes)
{
	FINDS(0, 0, 0x08, '_', 'S', '5', '_', 0x12, 0x06, 4, 0, 0, 0, 0);             /* QEMU */
	FINDS(7, 7, 0x08, '_', 'S', '5', '_', 0x12, 0x08, 4, 0x0a, 7, 0x0a, 7, 0, 0); /* many boards */
	FINDS(5, 3, 1, 2, 3, 0x08, '\\', '_', 'S', '5', '_', 0x12, 0x06, 2, 0x0a, 5, 0x0a, 3);
	FINDS(1, 1, 0x08, '_', 'S', '5', '_', 0x12, 0x03, 1, 1);
	FINDS(6, 2, 0x08, '_', 'S', '5', '_', 0x12, 0x48, 0, 2, 0x0b, 6, 9, 0x0a, 2);
	/* named in passing before */
	FINDS(7, 7, '_', 'S', '5', '_', 0x08, '_', 'S', '5', '_', 0x12, 0x06, 2, 0x0a, 7, 0x0a, 7);
}

TEST(acpi_s5_that_is_malformed_is_none)
{
	FINDS_NOT('_', 'S', '5', '_');
	FINDS_NOT(0x08, '_', 'S', '5', '_');
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12);
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12, 0x40);
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x11, 0x06, 4, 0, 0, 0, 0);
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12, 0x07, 4, 0, 0, 0, 0);       /* longer than the table */
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12, 0x03, 4, 0, 0, 0, 0);       /* shorter than it says */
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12, 0x00, 4, 0, 0, 0, 0);
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12, 0xff, 0xff, 0xff, 0xff, 4, 0, 0);
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12, 0x06, 0, 0, 0, 0, 0);
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12, 0x06, 2, 0x0a, 8, 0x0a, 0); /* no such type */
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12, 0x06, 2, 'A', 'B', 'C', 'D');
	FINDS_NOT(0x08, '_', 'S', '5', '_', 0x12, 0x06, 2, 0x0c, 1, 2, 3);
}

TEST(acpi_s5_in_noise_is_never_read_beyond_its_end)
{
	uint64_t seed = 5;
	uint8_t aml[24], type[2];
	unsigned found = 0;

	for (unsigned i = 0; i < 300000; i++) {
		size_t size = test_random(&seed) % (sizeof(aml) + 1);

		for (size_t b = 0; b < sizeof(aml); b++)
			aml[b] = (uint8_t)(test_random(&seed) % 16);
		memcpy(aml, "\x08_S5_\x12", 6);
		if (find_s5(aml, size, type)) {
			CHECK(type[0] < 8 && type[1] < 8);
			found++;
		}
	}
	CHECK(found > 100);
}

TEST(acpi_fadt_tells_how_to_reset_and_switch_off)
{
	static const uint8_t body[] = {0x08, '_', 'S', '5', '_', 0x12, 0x06, 2, 0x0a, 5, 0x0a, 6};
	uint8_t *fadt, *dsdt;

	reset();
	make_root(2, 1);
	fadt = make_fadt(0);
	dsdt = table(TABLE_AT(5), "DSDT", 36 + sizeof(body));
	memcpy(dsdt + 36, body, sizeof(body));
	seal(dsdt, 36 + sizeof(body));
	store_le32(fadt + 40, (uint32_t)TABLE_AT(5));
	store_le32(fadt + 48, 0xb2);
	fadt[52] = 0xf1;
	store_le32(fadt + 64, 0x604);
	store_le32(fadt + 112, 1u << 10);
	fadt[116] = ACPI_IO;
	store_le64(fadt + 120, 0xcf9);
	fadt[128] = 0x0f;
	seal(fadt, 244);
	parse(RSDP_AT);
	CHECK_EQ(info.reset.space, ACPI_IO);
	CHECK_EQ(info.reset.address, 0xcf9);
	CHECK_EQ(info.reset_value, 0x0f);
	CHECK_EQ(info.pm1_control[0], 0x604);
	CHECK_EQ(info.pm1_control[1], 0);
	CHECK_EQ(info.smi_command, 0xb2);
	CHECK_EQ(info.acpi_enable, 0xf1);
	CHECK(info.has_s5);
	CHECK_EQ(info.s5_type[0], 5);
	CHECK_EQ(info.s5_type[1], 6);
	/* without the flag the register is not to be used; a DSDT that is damaged tells nothing */
	store_le32(fadt + 112, 0);
	seal(fadt, 244);
	dsdt[40] ^= 1;
	parse(RSDP_AT);
	CHECK_EQ(info.reset.address, 0);
	CHECK(!info.has_s5);
}
