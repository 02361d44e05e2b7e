#include "drivers/pci.h"
#include "tests/unit/fake_machine.h"

#define HEADER_BRIDGE 1u
#define CAP_MSI       0x05
#define CAP_MSIX      0x11

static void set_header(struct fake_function *f, unsigned type, bool multifunction)
{
	f->config[FAKE_REG_HEADER] = type << 16 | (multifunction ? 0x800000u : 0);
}

static void set_class(struct fake_function *f, unsigned class, unsigned subclass)
{
	f->config[FAKE_REG_CLASS] = class << 24 | subclass << 16;
}

static struct fake_function *add_bridge(
	uint8_t bus, uint8_t device, unsigned secondary, unsigned subordinate)
{
	struct fake_function *f = fake_add(bus, device, 0, 0x8086, 0x3420);

	set_header(f, HEADER_BRIDGE, false);
	set_class(f, 6, 4);
	f->config[FAKE_REG_BUSES] = bus | secondary << 8 | subordinate << 16;
	return f;
}

static struct pci_function at(const struct fake_function *f)
{
	return (struct pci_function){.bus = f->bus,
		.device = f->device,
		.function = f->function,
		.header_type = (uint8_t)(f->config[FAKE_REG_HEADER] >> 16 & 0x7f)};
}

static bool masters(const struct fake_function *f)
{
	return f->config[FAKE_REG_COMMAND] & FAKE_COMMAND_MASTER;
}

/* ---- enumeration ----------------------------------------------------------------------------- */

struct seen {
	char places[256];
	unsigned stop_after;
};

static int note(void *ctx, const struct pci_function *f)
{
	struct seen *s = ctx;
	char place[PCI_PLACE_SIZE];

	pci_place(f, place);
	strcat(s->places, place);
	strcat(s->places, " ");
	return s->stop_after && --s->stop_after == 0 ? 7 : 0;
}

TEST(walk_finds_every_function_once)
{
	struct seen s = {.places = ""};

	fake_reset();
	set_header(fake_add(0, 0, 0, 0x8086, 1), 0, false);
	set_header(fake_add(0, 3, 0, 0x8086, 2), 0, true);
	fake_add(0, 3, 2, 0x8086, 3);
	fake_add(0, 3, 7, 0x8086, 4);
	fake_add(128, 31, 0, 0x8086, 5); /* behind a second root that no bridge leads to */
	fake_add(255, 31, 0, 0x8086, 6);
	CHECK_EQ(pci_walk(note, &s), 0);
	CHECK_STR(s.places, "00:00.0 00:03.0 00:03.2 00:03.7 80:1f.0 ff:1f.0 ");
}

TEST(walk_ignores_what_is_not_there)
{
	struct seen s = {.places = ""};

	fake_reset();
	fake_add(0, 1, 0, 0x8086, 1)->all_functions = true; /* ignores the function number */
	fake_add(0, 2, 1, 0x8086, 2);                       /* no function 0 */
	fake_add(0, 4, 0, 0x0000, 3);
	fake_add(0, 5, 0, 0x0001, 0xffff); /* not ready yet */
	CHECK_EQ(pci_walk(note, &s), 0);
	CHECK_STR(s.places, "00:01.0 ");
}

TEST(walk_ends_when_told)
{
	struct seen s = {.stop_after = 2};

	fake_reset();
	for (uint8_t i = 0; i < 4; i++)
		fake_add(0, i, 0, 0x8086, 1);
	CHECK_EQ(pci_walk(note, &s), 7);
	CHECK_STR(s.places, "00:00.0 00:01.0 ");
}

/* ---- bus mastering and power ----------------------------------------------------------------- */

TEST(quiesce_stops_devices_before_bridges)
{
	struct fake_function *bridge, *host, *usb, *nic, *isa;

	fake_reset();
	host = fake_add(0, 0, 0, 0x8086, 1);
	set_class(host, 6, 0);
	bridge = add_bridge(0, 1, 1, 1);
	usb = fake_add(0, 2, 0, 0x8086, 2);
	isa = fake_add(0, 31, 0, 0x8086, 3);
	set_class(isa, 6, 1);
	nic = fake_add(1, 0, 0, 0x8086, 4);
	pci_quiesce(&fake_env);
	CHECK(masters(host));
	CHECK(!masters(bridge) && !masters(usb) && !masters(nic) && !masters(isa));
	CHECK_EQ(bridge->master_off_order, 4);
	CHECK(strstr(fake_host.log, "switched off on 4 functions"));
}

TEST(quiesce_keeps_the_rest_of_the_command_and_no_status)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 2, 0, 0x8086, 2);
	f->config[FAKE_REG_COMMAND] = 0xf9000107;
	pci_quiesce(&fake_env);
	CHECK_EQ(f->config[FAKE_REG_COMMAND], 0xf9000103);
}

TEST(quiesce_names_what_will_not_stop)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 2, 0, 0x1234, 0x5678);
	f->writable[FAKE_REG_COMMAND] = 0;
	pci_quiesce(&fake_env);
	CHECK(strstr(fake_host.log, "00:02.0 (1234:5678) goes on mastering the bus"));
}

TEST(mastering_opens_the_bridges_on_the_way_and_no_others)
{
	struct fake_function *root, *leaf, *other, *before, *wild, *unset, *nic;

	fake_reset();
	root = add_bridge(0, 1, 1, 5);
	other = add_bridge(0, 2, 6, 9);
	before = add_bridge(0, 4, 2, 3);
	wild = add_bridge(3, 0, 2, 255); /* claims buses before its own */
	unset = add_bridge(0, 3, 0, 0);
	leaf = add_bridge(1, 0, 4, 4);
	nic = fake_add(4, 0, 0, 0x8086, 1);
	pci_quiesce(&fake_env);

	struct pci_function f = at(nic);

	CHECK_EQ(pci_master_on(&f), 0);
	CHECK(masters(nic) && masters(root) && masters(leaf));
	CHECK(!masters(other) && !masters(before) && !masters(wild) && !masters(unset));
	pci_master_off(&f);
	CHECK(!masters(nic) && masters(root));
}

TEST(enable_decodes_memory_without_mastering)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 1);
	f->config[FAKE_REG_COMMAND] = 0;

	struct pci_function p = at(f);

	CHECK_EQ(pci_enable(&fake_env, &p), 0);
	CHECK_EQ(f->config[FAKE_REG_COMMAND], 0x402); /* memory; INTx off */
	f->writable[FAKE_REG_COMMAND] = 0;
	f->config[FAKE_REG_COMMAND] = 0;
	CHECK_EQ(pci_enable(&fake_env, &p), ERR_IO);
	CHECK_EQ(pci_master_on(&p), ERR_IO);
}

TEST(enable_wakes_a_sleeping_function)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 1);
	fake_capability(f, 0x40, 1, 0x0003);
	f->config[0x44 / 4] = 0x103; /* D3, PME enabled */
	f->writable[0x44 / 4] = 0x103;
	f->clears[0x44 / 4] = 0x8000;

	struct pci_function p = at(f);

	CHECK_EQ(pci_enable(&fake_env, &p), 0);
	CHECK_EQ(f->config[0x44 / 4] & 3, 0);
	CHECK(fake_host.now_us >= 10000);
	f->config[0x44 / 4] = 3;
	f->writable[0x44 / 4] = 0;
	CHECK_EQ(pci_enable(&fake_env, &p), ERR_IO);
}

/* ---- base address registers ------------------------------------------------------------------ */

TEST(bars_are_measured)
{
	struct fake_function *f;
	struct pci_bar bar;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 1);
	f->config[FAKE_REG_COMMAND] = 7;
	fake_bar(f, 0, 0xfebc0000, 0x20000, false);
	f->config[FAKE_REG_BAR0 + 1] = 0xc001; /* 64 ports, the upper half hard-wired */
	f->writable[FAKE_REG_BAR0 + 1] = 0xffc0;
	fake_bar(f, 2, 0xe000000000, 0x4000, true);
	fake_bar(f, 4, 0x8000000000, 0x200000000, true); /* 8 GiB: size bits in the upper half */

	struct pci_function p = at(f);

	CHECK_EQ(pci_bar(&p, 0, &bar), 0);
	CHECK(bar.base == 0xfebc0000 && bar.size == 0x20000 && !bar.is_io);
	CHECK_EQ(pci_bar(&p, 1, &bar), 0);
	CHECK(bar.base == 0xc000 && bar.size == 64 && bar.is_io);
	CHECK_EQ(pci_bar(&p, 2, &bar), 0);
	CHECK(bar.base == 0xe000000000 && bar.size == 0x4000 && !bar.is_io);
	CHECK_EQ(pci_bar(&p, 3, &bar), ERR_NOENT); /* the upper half of 2 */
	CHECK_EQ(pci_bar(&p, 4, &bar), 0);
	CHECK(bar.base == 0x8000000000 && bar.size == 0x200000000);
	CHECK_EQ(pci_bar(&p, 5, &bar), ERR_NOENT);
	CHECK_EQ(pci_bar(&p, 6, &bar), ERR_NOENT);
	CHECK(!f->decoded_while_sizing);
	CHECK_EQ(f->config[FAKE_REG_COMMAND], 7);
	CHECK_EQ(f->config[FAKE_REG_BAR0], 0xfebc0000);
	CHECK_EQ(f->config[FAKE_REG_BAR0 + 3], 0xe0);
}

TEST(bars_that_contradict_themselves_are_refused)
{
	struct fake_function *f;
	struct pci_bar bar;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 1);

	struct pci_function p = at(f);

	CHECK_EQ(pci_bar(&p, 0, &bar), ERR_NOENT); /* no such register */
	fake_bar(f, 0, 0, 0x1000, false);
	CHECK_EQ(pci_bar(&p, 0, &bar), ERR_NOENT); /* no address */
	f->config[FAKE_REG_BAR0] = 0x80000002;     /* below 1 MiB, of old */
	CHECK_EQ(pci_bar(&p, 0, &bar), ERR_INVALID);
	fake_bar(f, 0, 0x80000000, 0x1000, false);
	f->writable[FAKE_REG_BAR0] = 0xff0ff000; /* a hole in the mask */
	CHECK_EQ(pci_bar(&p, 0, &bar), ERR_INVALID);
	f->config[FAKE_REG_BAR0] = 0x80001000;
	f->sizing_answer = 0xffff0000; /* the address is not a multiple of that size */
	CHECK_EQ(pci_bar(&p, 0, &bar), ERR_INVALID);
	f->sizing_answer = 0;
	fake_bar(f, 0, 0x80000000, 0x1000, false);
	f->config[FAKE_REG_BAR0 + 5] = 0x80000004; /* 64 bits wide, without an upper half */
	CHECK_EQ(pci_bar(&p, 5, &bar), ERR_INVALID);
	set_header(f, HEADER_BRIDGE, false);
	p = at(f);
	CHECK_EQ(pci_bar(&p, 0, &bar), ERR_NOENT);
}

TEST(map_bar_stays_inside)
{
	struct fake_function *f;
	struct fake_window *w;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 1);
	fake_bar(f, 0, 0xe000000000, 0x4000, true);
	f->config[FAKE_REG_BAR0 + 2] = 0xc001;
	f->writable[FAKE_REG_BAR0 + 2] = 0xffffffe0;
	w = fake_window(f, 0xe000000000, 0x4000);

	struct pci_function p = at(f);

	CHECK(pci_map_bar(&fake_env, &p, 0, 0, 0x4000) == w->memory);
	CHECK(pci_map_bar(&fake_env, &p, 0, 0x3ff0, 0x10) == w->memory + 0x3ff0);
	CHECK(!pci_map_bar(&fake_env, &p, 0, 0x3ff0, 0x11));
	CHECK(!pci_map_bar(&fake_env, &p, 0, 0, 0x4001));
	CHECK(!pci_map_bar(&fake_env, &p, 0, 0, 0));
	CHECK(!pci_map_bar(&fake_env, &p, 0, UINT64_MAX, 2));
	CHECK(!pci_map_bar(&fake_env, &p, 0, 2, UINT64_MAX));
	CHECK(!pci_map_bar(&fake_env, &p, 2, 0, 4)); /* ports */
	CHECK(!pci_map_bar(&fake_env, &p, 7, 0, 4));
	CHECK_EQ(fake_host.maps_refused, 0);
}

/* ---- capabilities ---------------------------------------------------------------------------- */

static unsigned find(const struct fake_function *f, uint8_t id, unsigned size)
{
	struct pci_function p = at(f);
	struct pci_capabilities walk = pci_capabilities(&p);

	return pci_capability_next(&p, &walk, id, size);
}

TEST(capabilities_are_found_in_order)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 1);
	CHECK_EQ(find(f, 9, 4), 0);
	fake_capability(f, 0xfc, 9, 0);
	fake_capability(f, 0x50, 9, 0);
	fake_capability(f, 0x43, 5, 0); /* the low two bits mean nothing */

	struct pci_function p = at(f);
	struct pci_capabilities walk = pci_capabilities(&p);

	CHECK_EQ(pci_capability_next(&p, &walk, 9, 4), 0x50);
	CHECK_EQ(pci_capability_next(&p, &walk, 9, 4), 0xfc);
	CHECK_EQ(pci_capability_next(&p, &walk, 9, 4), 0);
	CHECK_EQ(pci_capability_next(&p, &walk, 9, 4), 0);
	CHECK_EQ(find(f, 5, 4), 0x40);
	CHECK_EQ(find(f, 9, 8), 0x50);
	f->config[0x50 / 4] = 0xfc00; /* now nothing but the one at the very end, too short */
	CHECK_EQ(find(f, 9, 8), 0);
	f->config[FAKE_REG_COMMAND] &= ~FAKE_STATUS_CAPS;
	CHECK_EQ(find(f, 5, 4), 0);
}

TEST(capability_lists_that_run_in_circles_end)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 1);
	f->config[FAKE_REG_COMMAND] |= FAKE_STATUS_CAPS;
	f->config[FAKE_REG_CAPS] = 0x60;
	f->config[0x60 / 4] = 9 | 0x6000; /* points at itself */
	CHECK_EQ(find(f, 5, 4), 0);

	struct pci_function p = at(f);
	struct pci_capabilities walk = pci_capabilities(&p);
	unsigned n = 0;

	while (pci_capability_next(&p, &walk, 9, 4))
		n++;
	CHECK_EQ(n, 48);
	f->config[0x60 / 4] = 9 | 0x7000;
	f->config[0x70 / 4] = 9 | 0x6000;
	CHECK_EQ(find(f, 5, 4), 0);
	f->config[FAKE_REG_CAPS] = 4 * FAKE_REG_CLASS; /* into the header */
	f->config[FAKE_REG_CLASS] = 9;
	CHECK_EQ(find(f, 9, 4), 0);
}

/* ---- message interrupts ---------------------------------------------------------------------- */

#define MSI_AT 0x50

static struct fake_function *add_msi(uint32_t control)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 1);
	fake_capability(f, MSI_AT, CAP_MSI, control);
	for (unsigned i = 0; i < 6; i++)
		f->writable[MSI_AT / 4 + i] = UINT32_MAX;
	f->writable[MSI_AT / 4] = 0x710000;
	f->config[MSI_AT / 4 + 4] = UINT32_MAX;
	return f;
}

TEST(msi_in_its_four_layouts)
{
	for (unsigned layout = 0; layout < 4; layout++) {
		bool wide = layout & 1, mask = layout & 2;
		/* enabled for eight vectors by the firmware */
		struct fake_function *f = add_msi(0x31 | (wide ? 0x80 : 0) | (mask ? 0x100 : 0));
		struct pci_function p = at(f);
		const uint32_t *c = &f->config[MSI_AT / 4];

		CHECK_EQ(pci_msi_enable(&p, 0xfee01000, 0x51), 0);
		CHECK_EQ(c[0] >> 16 & 0x71, 1);
		CHECK_EQ(c[1], 0xfee01000);
		if (wide)
			CHECK_EQ(c[2], 0);
		CHECK_EQ(c[wide ? 3 : 2], 0x51);
		if (mask)
			CHECK_EQ(c[wide ? 4 : 3], 0);
		else if (wide)
			CHECK_EQ(c[4], UINT32_MAX);
		CHECK_EQ(pci_msi_enable(&p, 0x1fee01000, 0x51), wide ? 0 : ERR_UNSUPPORTED);
		CHECK_EQ(pci_msi_enable(&p, 0xfee01000, 0x10000), ERR_UNSUPPORTED);
	}
}

TEST(msi_that_is_absent_or_cut_off)
{
	struct fake_function *f = add_msi(0);
	struct pci_function p = at(f);

	f->config[FAKE_REG_CAPS] = 0;
	CHECK_EQ(pci_msi_enable(&p, 0xfee01000, 0x51), ERR_UNSUPPORTED);
	fake_capability(f, 0xf4, CAP_MSI, 0x180); /* 64 bits and a mask need 24 bytes */
	CHECK_EQ(pci_msi_enable(&p, 0xfee01000, 0x51), ERR_INVALID);
}

#define MSIX_AT 0x70

static struct fake_function *add_msix(unsigned count, uint32_t table)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 1);
	f->config[FAKE_REG_COMMAND] = FAKE_COMMAND_MEMORY;
	fake_bar(f, 1, 0xfeb00000, 0x1000, false);
	fake_capability(f, MSIX_AT, CAP_MSIX, count - 1);
	f->writable[MSIX_AT / 4] = 0xc0000000;
	f->config[MSIX_AT / 4 + 1] = table;
	return f;
}

TEST(msix_carries_one_message)
{
	struct fake_function *f = add_msix(3, 0x800 | 1);
	struct fake_window *w = fake_window(f, 0xfeb00000, 0x1000);
	struct pci_function p = at(f);
	const uint32_t *entry = (const uint32_t *)(w->memory + 0x800);

	memset(w->memory, 0xee, 0x1000);
	CHECK_EQ(pci_msix_enable(&fake_env, &p, 0x1fee01000, 0x51), 0);
	CHECK(entry[0] == 0xfee01000 && entry[1] == 1 && entry[2] == 0x51 && entry[3] == 0);
	CHECK(entry[7] == 1 && entry[11] == 1);
	CHECK_EQ(entry[12], 0xeeeeeeee);
	CHECK_EQ(f->config[MSIX_AT / 4] >> 30, 2);
}

TEST(msix_tables_outside_of_their_bar_are_refused)
{
	static const struct {
		unsigned count;
		uint32_t table;
	} bad[] = {
		{257, 1}, {2048, 1}, {1, 0x1000 | 1}, {1, 0xfffffff8 | 1}, {1, 0}, {1, 6}, {1, 7}};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake_function *f = add_msix(bad[i].count, bad[i].table);
		struct pci_function p = at(f);

		fake_window(f, 0xfeb00000, 0x1000);
		CHECK_EQ(pci_msix_enable(&fake_env, &p, 0xfee01000, 0x51), ERR_INVALID);
		CHECK_EQ(f->config[MSIX_AT / 4] >> 31, 0);
	}
	struct fake_function *f = add_msix(1, 1);
	struct pci_function p = at(f);

	f->config[FAKE_REG_CAPS] = 0;
	CHECK_EQ(pci_msix_enable(&fake_env, &p, 0xfee01000, 0x51), ERR_UNSUPPORTED);
}

TEST(a_link_is_kept_awake)
{
	struct fake_function *f;

	fake_reset();
	f = fake_add(0, 1, 0, 0x8086, 0x10d3);

	struct pci_function p = at(f);

	pci_link_awake(&p); /* not PCI Express */
	fake_capability(f, 0x60, 0x10, 2);
	f->config[0x70 / 4] = 0x10110043;
	f->writable[0x70 / 4] = 0xffff;
	f->clears[0x70 / 4] = 0xc0000000;
	pci_link_awake(&p);
	CHECK_EQ(f->config[0x70 / 4], 0x10110040);
}

/* ---- anything at all ------------------------------------------------------------------------- */

static void scribble(struct fake_function *f, uint64_t *seed)
{
	for (unsigned i = 1; i < FAKE_CONFIG_DWORDS; i++) {
		f->config[i] = (uint32_t)test_random(seed);
		f->writable[i] = (uint32_t)test_random(seed) | (uint32_t)test_random(seed);
	}
	f->config[FAKE_REG_COMMAND] |= FAKE_STATUS_CAPS;
	f->config[FAKE_REG_HEADER] &= 0xff83ffff;
	/* capability lists of some length, with ids that we look for */
	for (unsigned i = 16; i < FAKE_CONFIG_DWORDS; i++) {
		static const uint8_t ids[] = {1, 5, 9, 0x11};

		if (test_random(seed) % 2)
			f->config[i] = (f->config[i] & 0xffffff00) | ids[test_random(seed) % 4];
	}
}

TEST(random_configuration_spaces_are_survived)
{
	uint64_t seed = 42;
	struct seen s;

	for (unsigned round = 0; round < 300; round++) {
		struct fake_function *f;
		struct pci_bar bar;

		fake_reset();
		for (uint8_t i = 0; i < 3; i++) {
			f = fake_add(i, i, 0, 0x8086, i);
			scribble(f, &seed);
		}
		s = (struct seen){.places = ""};
		pci_walk(note, &s);
		pci_quiesce(&fake_env);

		struct pci_function p = at(f);

		p.header_type = 0;
		for (unsigned i = 0; i < 8; i++) {
			if (pci_bar(&p, i, &bar) == 0)
				CHECK(bar.base + bar.size - 1 >= bar.base);
		}
		pci_msi_enable(&p, 0xfee01000, 0x51);
		pci_msix_enable(&fake_env, &p, 0xfee01000, 0x51);
		pci_enable(&fake_env, &p);
		pci_master_on(&p);
	}
}
