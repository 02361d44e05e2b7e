/* The devices of Linux guests that are pure. */
#include "hv/dev/acpi.h"
#include "hv/dev/bus.h"
#include "hv/dev/kvmclock.h"
#include "hv/dev/lapic.h"
#include "hv/dev/uart.h"
#include "lib/bytes.h"
#include "tests/unit/test.h"

static uint8_t sum(const uint8_t *p, unsigned size)
{
	unsigned s = 0;

	while (size--)
		s += *p++;
	return (uint8_t)s;
}

static const uint8_t *table(const uint8_t *tables, uint64_t gpa, const char *signature)
{
	CHECK(gpa >= ACPI_GPA && gpa < ACPI_GPA + ACPI_SIZE - 36);
	const uint8_t *t = tables + (gpa - ACPI_GPA);
	uint32_t size = load_le32(t + 4);

	CHECK_EQ(memcmp(t, signature, 4), 0);
	CHECK(size >= 36 && gpa + size <= ACPI_GPA + ACPI_SIZE);
	CHECK_EQ(sum(t, size), 0);
	return t;
}

TEST(acpi_tables_are_found_and_sum_up)
{
	uint8_t tables[ACPI_SIZE];

	memset(tables, 0xcc, sizeof(tables));
	acpi_build(tables);
	CHECK_EQ(memcmp(tables, "RSD PTR ", 8), 0);
	CHECK_EQ(sum(tables, 20), 0);
	CHECK_EQ(sum(tables, 36), 0);
	const uint8_t *xsdt = table(tables, load_le64(tables + 24), "XSDT");

	CHECK_EQ(load_le32(xsdt + 4), 36 + 2 * 8);
	const uint8_t *fadt = table(tables, load_le64(xsdt + 36), "FACP");
	const uint8_t *madt = table(tables, load_le64(xsdt + 44), "APIC");

	(void)table(tables, load_le64(fadt + 140), "DSDT");
	CHECK(load_le32(fadt + 112) & 1u << 20);
	CHECK_EQ(load_le64(fadt + 248), ACPI_SLEEP_PORT);
	CHECK_EQ(madt[44], 0);
	CHECK_EQ(madt[45], 8);
}

static struct lapic enabled(void)
{
	struct lapic l;

	lapic_reset(&l);
	CHECK(lapic_write(&l, 0x80f, 0x1ff));
	return l;
}

TEST(lapic_delivers_by_priority)
{
	struct lapic l = enabled();

	CHECK_EQ(lapic_next(&l), -1);
	lapic_raise(&l, 0x31);
	lapic_raise(&l, 0xec);
	lapic_raise(&l, 15);
	CHECK_EQ(lapic_next(&l), 0xec);
	lapic_accept(&l, 0xec);
	CHECK_EQ(lapic_next(&l), -1);
	lapic_raise(&l, 0xef);
	CHECK_EQ(lapic_next(&l), -1); /* of the same class */
	lapic_raise(&l, 0xf0);
	CHECK_EQ(lapic_next(&l), 0xf0);
	lapic_accept(&l, 0xf0);
	CHECK(lapic_write(&l, 0x80b, 0));
	CHECK_EQ(lapic_next(&l), -1);
	CHECK(lapic_write(&l, 0x80b, 0));
	CHECK_EQ(lapic_next(&l), 0xef);
	CHECK(lapic_write(&l, 0x808, 0xe0));
	CHECK_EQ(lapic_next(&l), -1);
	CHECK(lapic_write(&l, 0x808, 0xdf));
	CHECK_EQ(lapic_next(&l), 0xef);
	lapic_accept(&l, 0xef);
	CHECK(lapic_write(&l, 0x80b, 0));
	CHECK_EQ(lapic_next(&l), -1); /* 0x31 is below the task priority */
	CHECK(lapic_write(&l, 0x808, 0));
	CHECK_EQ(lapic_next(&l), 0x31);
	CHECK(lapic_write(&l, 0x80f, 0xff));
	CHECK_EQ(lapic_next(&l), -1); /* switched off */
}

TEST(lapic_lazy_is_what_waits_alone)
{
	struct lapic l = enabled();

	lapic_raise_lazily(&l, 15);
	CHECK(!lapic_requested(&l));
	lapic_raise_lazily(&l, 0x31);
	lapic_raise_lazily(&l, 0x31);
	CHECK_EQ(l.lazy, 0x31);
	CHECK_EQ(lapic_next(&l), 0x31);
	lapic_raise_lazily(&l, 0x32);
	CHECK_EQ(l.lazy, 0); /* two of them are enough to exit for */
	lapic_accept(&l, 0x32);
	lapic_accept(&l, 0x31);
	lapic_raise_lazily(&l, 0x31);
	lapic_raise(&l, 0xec);
	CHECK_EQ(l.lazy, 0);
	lapic_accept(&l, 0xec);
	lapic_raise_lazily(&l, 0x31); /* has waited for another already */
	CHECK_EQ(l.lazy, 0);
	lapic_accept(&l, 0x31);
	lapic_raise_lazily(&l, 0x31);
	CHECK_EQ(l.lazy, 0x31);
	lapic_accept(&l, 0x31);
	CHECK_EQ(l.lazy, 0);
}

TEST(lapic_sends_to_itself_only)
{
	struct lapic l = enabled();

	CHECK(lapic_write(&l, 0x830, 1ull << 32 | 0x40)); /* to processor 1 */
	CHECK(lapic_write(&l, 0x830, 0xc0040));           /* to all others */
	CHECK(lapic_write(&l, 0x830, 0x440));             /* an NMI */
	CHECK_EQ(lapic_next(&l), -1);
	CHECK(lapic_write(&l, 0x830, 0x40));
	CHECK_EQ(lapic_next(&l), 0x40);
	CHECK(lapic_write(&l, 0x830, 1ull << 32 | 0x851));
	CHECK_EQ(lapic_next(&l), 0x51);
	CHECK(lapic_write(&l, 0x830, 0x40062));
	CHECK_EQ(lapic_next(&l), 0x62);
	CHECK(lapic_write(&l, 0x83f, 0x73));
	CHECK_EQ(lapic_next(&l), 0x73);
	CHECK(!lapic_write(&l, 0x83f, 0x173));
	CHECK(!lapic_write(&l, 0x830, 1 << 12));
}

TEST(lapic_timer_fires_once)
{
	struct lapic l = enabled();

	lapic_set_deadline(&l, 100);
	CHECK_EQ(l.deadline, 0); /* not in this mode */
	CHECK(lapic_write(&l, 0x832, 0x400ec));
	lapic_set_deadline(&l, 100);
	lapic_tick(&l, 99);
	CHECK_EQ(lapic_next(&l), -1);
	lapic_tick(&l, 100);
	CHECK_EQ(lapic_next(&l), 0xec);
	lapic_accept(&l, 0xec);
	CHECK(lapic_write(&l, 0x80b, 0));
	lapic_tick(&l, 1000);
	CHECK_EQ(lapic_next(&l), -1);
	lapic_set_deadline(&l, 2000);
	CHECK(lapic_write(&l, 0x832, 0x500ec));
	lapic_tick(&l, 2000);
	CHECK_EQ(lapic_next(&l), -1); /* masked: lost */
	CHECK(lapic_write(&l, 0x832, 0x400ec));
	lapic_set_deadline(&l, 3000);
	CHECK(lapic_write(&l, 0x832, 0xec));
	CHECK_EQ(l.deadline, 0);
}

TEST(lapic_faults_on_what_is_not_there)
{
	struct lapic l = enabled(), before;
	uint64_t value;

	before = l;
	CHECK(!lapic_read(&l, 0x80b, &value));
	CHECK(!lapic_read(&l, 0x800, &value));
	CHECK(!lapic_read(&l, 0x831, &value));
	CHECK(!lapic_read(&l, 0x8ff, &value));
	CHECK(!lapic_write(&l, 0x802, 0));
	CHECK(!lapic_write(&l, 0x80b, 1));
	CHECK(!lapic_write(&l, 0x80d, 1));
	CHECK(!lapic_write(&l, 0x808, 0x100));
	CHECK(!lapic_write(&l, 0x832, 0x80000));
	CHECK(!lapic_write(&l, 0x837, 0x20000));
	CHECK_EQ(memcmp(&l, &before, sizeof(l)), 0);
	for (uint32_t msr = LAPIC_MSR_FIRST; msr <= LAPIC_MSR_LAST; msr++) {
		for (unsigned bit = 0; bit < 64; bit++)
			(void)lapic_write(&l, msr, 1ull << bit);
		(void)lapic_read(&l, msr, &value);
	}
	CHECK(lapic_read(&l, 0x80d, &value));
	CHECK_EQ(value, 1);
}

TEST(uart_polls)
{
	struct uart u = {0};

	CHECK_EQ(uart_read(&u, 5, -1), 0x60);
	CHECK_EQ(uart_read(&u, 5, 'x'), 0x61);
	CHECK(uart_takes(&u, 0) && !uart_takes(&u, 5));
	CHECK_EQ(uart_read(&u, 0, 'x'), 'x');
	CHECK(uart_sends(&u, 0) && !uart_sends(&u, 1));
	uart_write(&u, 3, 0x83);
	CHECK(!uart_sends(&u, 0) && !uart_takes(&u, 0));
	uart_write(&u, 0, 1);
	uart_write(&u, 1, 2);
	CHECK_EQ(uart_read(&u, 0, 'x'), 1);
	CHECK_EQ(uart_read(&u, 1, 'x'), 2);
	uart_write(&u, 3, 3);
	CHECK_EQ(uart_read(&u, 1, -1), 0);
	uart_write(&u, 7, 0x5a);
	CHECK_EQ(uart_read(&u, 7, -1), 0x5a);
	uart_write(&u, 4, 0x1a); /* loop, RTS, OUT2 */
	CHECK_EQ(uart_read(&u, 6, -1) & 0xf0, 0x90);
	CHECK(!uart_sends(&u, 0));
	uart_write(&u, 4, 0xb);
	uart_write(&u, 2, 1);
	CHECK_EQ(uart_read(&u, 2, -1), 0xc1);
	uart_write(&u, 1, 3);
	CHECK_EQ(uart_read(&u, 2, 'x'), 0xc4);
	CHECK_EQ(uart_read(&u, 2, -1), 0xc2);
	CHECK_EQ(uart_read(&u, 2, -1), 0xc1);
}

TEST(pci_has_a_host_bridge)
{
	struct bus b = {0};

	CHECK_EQ(bus_read(&b, 4, 4), UINT32_MAX);
	bus_write(&b, 0, 4, 0x80000000);
	CHECK_EQ(bus_read(&b, 0, 4), 0x80000000);
	CHECK_EQ(bus_read(&b, 4, 4), 0x00081b36);
	CHECK_EQ(bus_read(&b, 6, 2), 0x0008);
	bus_write(&b, 0, 1, 0xff);
	CHECK_EQ(bus_read(&b, 0, 4), 0x80000000);
	CHECK_EQ(bus_read(&b, 0, 1), UINT32_MAX);
	bus_write(&b, 0, 4, 0x80000008);
	CHECK_EQ(bus_read(&b, 4, 4) >> 16, 0x0600);
	bus_write(&b, 4, 4, UINT32_MAX);
	CHECK_EQ(bus_read(&b, 4, 4) >> 16, 0x0600);
	bus_write(&b, 0, 4, 0x800000fc);
	CHECK_EQ(bus_read(&b, 7, 1), 0);
	bus_write(&b, 0, 4, 0x80000800);
	CHECK_EQ(bus_read(&b, 4, 4), UINT32_MAX);
	bus_write(&b, 0, 4, 0x81000000); /* a register above 255 */
	CHECK_EQ(bus_read(&b, 4, 4), UINT32_MAX);
}

/* As Linux computes it: pvclock_scale_delta(). */
static uint64_t clock_ns(const uint8_t *page, uint64_t tsc)
{
	uint64_t delta = tsc - load_le64(page + 8);
	int8_t shift = (int8_t)page[28];

	delta = shift < 0 ? delta >> -shift : delta << shift;
	return load_le64(page + 16) +
	       (uint64_t)((unsigned __int128)delta * load_le32(page + 24) >> 32);
}

TEST(kvmclock_counts_nanoseconds)
{
	static const uint64_t khz[] = {1000, 100000, 999999, 1000000, 1000001, 2596124, 6000000};
	uint8_t page[KVMCLOCK_SIZE];

	for (unsigned i = 0; i < sizeof(khz) / sizeof(khz[0]); i++) {
		uint64_t start = 12345 * khz[i], hour = 3600000 * khz[i];

		CHECK_EQ(kvmclock_time(page, start, khz[i]), 32);
		CHECK_EQ(load_le32(page) & 1, 0);
		CHECK_EQ(clock_ns(page, start), 12345000000);
		uint64_t ns = clock_ns(page, start + hour) - 12345000000;

		CHECK(ns <= 3600000000000 && ns > 3600000000000 - 100000);
	}
	CHECK_EQ(kvmclock_wall(page, 1700000000123456789), 12);
	CHECK_EQ(load_le32(page + 4), 1700000000);
	CHECK_EQ(load_le32(page + 8), 123456789);
}
