/* Which interface is chosen, and what is said when there is none. */
#include "drivers/nic.h"
#include "drivers/pci.h"
#include "tests/unit/fake_e1000.h"
#include "tests/unit/fake_virtio.h"

static struct fake_virtio virtio;
static struct fake_e1000 intel;

static bool masters(const struct fake_function *f)
{
	return f->config[FAKE_REG_COMMAND] & FAKE_COMMAND_MASTER;
}

static void add_both(void)
{
	fake_reset();
	fake_e1000_add(&intel, 1, FAKE_E1000_82540EM);
	fake_virtio_add(&virtio, 2, 1);
	pci_quiesce(&fake_env);
}

TEST(virtio_is_preferred)
{
	add_both();
	struct nic *nic = nic_probe(&fake_env);

	CHECK_STR(nic->driver, "virtio-net");
	CHECK(masters(virtio.pci) && !masters(intel.pci));
	CHECK_EQ(intel.resets, 0);
	CHECK(strstr(
		fake_host.log, "virtio-net: 00:02.0, 52:54:00:12:34:56, MTU 1500, MSI, link up"));
}

TEST(the_next_is_tried_when_one_fails)
{
	add_both();
	virtio.never_resets = true;
	struct nic *nic = nic_probe(&fake_env);

	CHECK_STR(nic->driver, "e1000");
	CHECK(!masters(virtio.pci) && masters(intel.pci));
	CHECK(strstr(fake_host.log,
		"virtio-net: 00:02.0 (1af4:1041) can't be brought up: device error"));
	CHECK(strstr(
		fake_host.log, "e1000: 00:01.0, 52:54:00:12:34:56, MTU 1500, polled, link up"));
	CHECK_EQ(fake_dma_blocks(), 2);
}

TEST(a_machine_without_one_says_what_it_has)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 5, 0, 0x14e4, 0x1657);
	f->config[FAKE_REG_CLASS] = 0x02000000;
	fake_add(0, 6, 0, 0x1234, 0x1111)->config[FAKE_REG_CLASS] = 0x03000000;
	CHECK(!nic_probe(&fake_env));
	CHECK(strstr(fake_host.log, "nic: no driver for 00:05.0 (14e4:1657)"));
	CHECK(!strstr(fake_host.log, "00:06.0"));
	CHECK(strstr(fake_host.log, "nic: no usable network interface"));
}

TEST(addresses_of_stations)
{
	CHECK(nic_mac_is_usable((const uint8_t[]){0x52, 0x54, 0, 0x12, 0x34, 0x56}));
	CHECK(nic_mac_is_usable((const uint8_t[]){0, 0, 0, 0, 0, 1}));
	CHECK(!nic_mac_is_usable((const uint8_t[]){0, 0, 0, 0, 0, 0}));
	CHECK(!nic_mac_is_usable((const uint8_t[]){1, 0, 0x5e, 0, 0, 1}));
	CHECK(!nic_mac_is_usable((const uint8_t[]){255, 255, 255, 255, 255, 255}));
}
