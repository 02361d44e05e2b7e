#include "drivers/e1000/e1000.h"
#include "tests/unit/fake_e1000.h"

static struct fake_e1000 dev;

static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

static void add(uint16_t device_id)
{
	fake_reset();
	fake_e1000_add(&dev, 2, device_id);
	dev.pci->config[FAKE_REG_COMMAND] &= ~FAKE_COMMAND_MASTER;
}

static int try_open(struct nic **nic)
{
	struct pci_function f = {.device = dev.pci->device,
		.vendor_id = (uint16_t)dev.pci->config[0],
		.device_id = (uint16_t)(dev.pci->config[0] >> 16)};

	return e1000_open(&fake_env, &f, nic);
}

static struct nic *open_nic(uint16_t device_id)
{
	struct nic *nic = NULL;

	add(device_id);
	CHECK_EQ(try_open(&nic), 0);
	return nic;
}

static void check_refused(int error)
{
	struct nic *nic;

	CHECK_EQ(try_open(&nic), error);
	CHECK_EQ(fake_dma_blocks(), 0);
	CHECK(!(dev.pci->config[FAKE_REG_COMMAND] & FAKE_COMMAND_MASTER));
}

struct received {
	struct fake_e1000_frame frames[300];
	unsigned count;
};

static struct received in;

static void receive(void *ctx, const uint8_t *frame, size_t length)
{
	struct received *r = ctx;
	struct fake_e1000_frame *f = &r->frames[r->count++ % ARRAY_SIZE(r->frames)];

	CHECK(length >= 14 && length <= 1514);
	f->length = length;
	memcpy(f->data, frame, length);
}

static unsigned poll(struct nic *nic, unsigned budget)
{
	in.count = 0;
	return nic_poll(nic, budget, receive, &in);
}

/* A frame to us. */
static void fill(uint8_t *frame, size_t length, unsigned seed)
{
	memcpy(frame, mac, 6);
	for (size_t i = 6; i < length; i++)
		frame[i] = (uint8_t)(i * 7 + seed);
}

static enum fake_e1000_verdict wire(unsigned seed, size_t length)
{
	uint8_t frame[1514];

	fill(frame, length, seed);
	return fake_e1000_wire(&dev, frame, length);
}

static uint32_t reg(uint32_t offset)
{
	return dev.reg[offset / 4];
}

/* ---- coming up ------------------------------------------------------------------------------- */

TEST(it_comes_up)
{
	static const uint16_t ids[] = {FAKE_E1000_82540EM, FAKE_E1000_82574L, 0x100f};

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		struct nic *nic = open_nic(ids[i]);

		CHECK(memcmp(nic->mac, mac, 6) == 0);
		CHECK_EQ(nic->mtu, 1500);
		CHECK(nic->link_up);
		CHECK_EQ(nic->needs_poll, ids[i] != FAKE_E1000_82574L);
		CHECK_STR(nic->driver, "e1000");
		CHECK_STR(nic->place, "00:02.0");
		CHECK_EQ(dev.resets, 1);
		CHECK_EQ(reg(0x5400), 0x12005452);
		CHECK_EQ(reg(0x5404), 0x80005634);
		for (uint32_t m = 0; m < 128; m++)
			CHECK_EQ(reg(0x5200 + 4 * m), 0);
		CHECK_EQ(reg(0x0100) & 0x18, 0); /* not promiscuous */
		CHECK_EQ(reg(0x00d0), 0);        /* no interrupts yet */
	}
}

TEST(an_address_without_an_eeprom_is_read_from_the_filter)
{
	struct nic *nic;

	add(FAKE_E1000_82540EM);
	dev.has_no_eeprom = true;
	check_refused(ERR_IO); /* the reset left no address at all */
	CHECK(fake_host.now_us < 1000000);
	add(FAKE_E1000_82540EM);
	dev.eeprom[0] = 0x0101; /* a group address */
	check_refused(ERR_IO);
	add(FAKE_E1000_82540EM);
	memset(dev.eeprom, 0, sizeof(dev.eeprom));
	check_refused(ERR_IO);
	add(FAKE_E1000_82540EM);
	CHECK_EQ(try_open(&nic), 0);
}

TEST(waits_are_bounded)
{
	struct nic *nic;

	add(FAKE_E1000_82540EM);
	dev.never_resets = true;
	check_refused(ERR_IO);
	CHECK(fake_host.now_us < 1000000);
	add(FAKE_E1000_82574L);
	dev.never_stops_mastering = true; /* the reset cuts it off */
	CHECK_EQ(try_open(&nic), 0);
	CHECK(fake_host.now_us < 1000000);
}

TEST(other_devices_and_bad_windows_are_refused)
{
	add(0x1000);
	check_refused(ERR_UNSUPPORTED);
	add(FAKE_E1000_82540EM);
	dev.pci->config[0] = 0x1234 | 0x100eu << 16;
	check_refused(ERR_UNSUPPORTED);
	add(FAKE_E1000_82540EM);
	fake_bar(dev.pci, 0, 0xfebc0000, 0x10000, false);
	check_refused(ERR_IO);
	add(FAKE_E1000_82540EM);
	dev.pci->config[FAKE_REG_BAR0] = 0;
	check_refused(ERR_IO);
	for (unsigned n = 0; n < 2; n++) {
		add(FAKE_E1000_82540EM);
		fake_host.dma_left = n;
		check_refused(ERR_NOMEM);
	}
}

/* ---- receive --------------------------------------------------------------------------------- */

TEST(the_filter_lets_our_frames_through)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	uint8_t frame[60];

	CHECK_EQ(wire(1, 60), FAKE_RECEIVED);
	memset(frame, 0xff, 60);
	CHECK_EQ(fake_e1000_wire(&dev, frame, 60), FAKE_RECEIVED);
	frame[0] = 0x02;
	CHECK_EQ(fake_e1000_wire(&dev, frame, 60), FAKE_FILTERED);
	CHECK_EQ(poll(nic, 8), 2);
}

TEST(frames_come_in_order_around_the_ring)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	unsigned seen = 0;

	for (unsigned i = 0; i < 3000; i++) {
		CHECK_EQ(wire(i, 60 + i % 1455), FAKE_RECEIVED);
		if (i % 100 != 99)
			continue;
		while (poll(nic, 37)) {
			for (unsigned k = 0; k < in.count; k++, seen++) {
				CHECK_EQ(in.frames[k].length, 60 + seen % 1455);
				CHECK_EQ(in.frames[k].data[6], (uint8_t)(42 + seen));
			}
		}
	}
	CHECK_EQ(seen, 3000);
	CHECK_EQ(nic->counters.rx_frames, 3000);
}

TEST(a_full_receive_ring_loses_only_what_is_too_much)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	unsigned missed = 0;

	for (unsigned round = 0; round < 5; round++) {
		unsigned taken = 0;

		while (wire(taken, 60) == FAKE_RECEIVED)
			taken++;
		missed++;
		CHECK(taken > 255 - 32 && taken <= 255);
		CHECK(round || taken == 255);
		CHECK_EQ(poll(nic, 500), taken);
		CHECK_EQ(in.frames[taken - 1].data[6], (uint8_t)(42 + taken - 1));
	}
	nic_tick(nic);
	CHECK_EQ(nic->counters.rx_missed, missed);
	nic_tick(nic);
	CHECK_EQ(nic->counters.rx_missed, missed);
}

TEST(entries_are_given_back_in_batches)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);

	for (unsigned i = 0; i < 320; i++) {
		CHECK_EQ(wire(i, 60), FAKE_RECEIVED);
		CHECK_EQ(poll(nic, 4), 1);
	}
	CHECK_EQ(nic->counters.notifies, 10);
	CHECK_EQ(reg(0x2818), 319 % 256);
}

TEST(damaged_and_odd_frames_are_dropped)
{
	static const struct {
		uint16_t length;
		uint8_t status, errors;
		bool good;
	} cases[] = {{60, 3, 0, true}, {60, 3, 0x80, false}, {60, 3, 0x01, false}, {0, 3, 0, false},
		{13, 3, 0, false}, {14, 3, 0, true}, {1514, 3, 0, true}, {1515, 3, 0, false},
		{0xffff, 3, 0, false}, {60, 3, 0, true}};
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	uint8_t frame[60];
	unsigned bad = 0;

	fill(frame, 60, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		CHECK(fake_e1000_fill(
			&dev, frame, 60, cases[i].length, cases[i].status, cases[i].errors));
		CHECK_EQ(poll(nic, 4), 1);
		CHECK_EQ(in.count, cases[i].good);
		bad += !cases[i].good;
		CHECK_EQ(nic->counters.rx_errors, bad);
	}
}

TEST(a_frame_in_pieces_is_dropped_to_its_end)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	uint8_t frame[60];

	fill(frame, 60, 0);
	CHECK(fake_e1000_fill(&dev, frame, 60, 2048, 1, 0));
	CHECK(fake_e1000_fill(&dev, frame, 60, 2048, 1, 0));
	CHECK_EQ(poll(nic, 4), 2);
	CHECK_EQ(in.count, 0);
	CHECK(fake_e1000_fill(&dev, frame, 60, 100, 3, 0)); /* looks like a whole frame */
	CHECK_EQ(poll(nic, 4), 1);
	CHECK_EQ(in.count, 0);
	CHECK_EQ(nic->counters.rx_errors, 1);
	CHECK_EQ(wire(5, 60), FAKE_RECEIVED);
	CHECK_EQ(poll(nic, 4), 1);
	CHECK_EQ(in.count, 1);
}

/* ---- transmit -------------------------------------------------------------------------------- */

TEST(a_burst_is_one_register_write)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	unsigned before = dev.tails_written;
	uint8_t frame[200];

	for (unsigned i = 0; i < 50; i++) {
		fill(frame, sizeof(frame), i);
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
	}
	CHECK_EQ(dev.sent_count, 0);
	nic_flush(nic);
	nic_flush(nic);
	CHECK_EQ(dev.tails_written, before + 1);
	CHECK_EQ(dev.sent_count, 50);
	for (unsigned i = 0; i < 50; i++)
		CHECK(dev.sent[i].length == 200 && dev.sent[i].data[6] == (uint8_t)(42 + i));
	CHECK_EQ(nic->counters.tx_frames, 50);
	CHECK_EQ(nic->counters.tx_bytes, 10000);
}

TEST(a_full_transmit_ring_says_so_and_recovers)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	uint8_t frame[100];

	fill(frame, sizeof(frame), 0);
	for (unsigned round = 0; round < 5; round++) {
		dev.holds_tx = true;
		for (unsigned i = 0; i < 255; i++)
			CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), ERR_AGAIN);
		nic_flush(nic);
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), ERR_AGAIN);
		dev.holds_tx = false;
		fake_e1000_transmit(&dev);
		CHECK_EQ(dev.sent_count, 255 * (round + 1));
	}
	CHECK_EQ(nic->counters.tx_full, 10);
}

TEST(frames_are_sent_around_the_ring)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	uint8_t frame[1514];

	for (unsigned i = 0; i < 3000; i++) {
		fill(frame, 60 + i % 1455, i);
		CHECK_EQ(nic_send(nic, frame, 60 + i % 1455), 0);
		nic_flush(nic);
		CHECK_EQ(dev.sent_count, i + 1);
		const struct fake_e1000_frame *f = &dev.sent[i % ARRAY_SIZE(dev.sent)];
		CHECK_EQ(f->length, 60 + i % 1455);
		CHECK(memcmp(f->data, frame, f->length) == 0);
	}
}

TEST(short_frames_are_padded_with_zeros)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	uint8_t frame[1514];

	memset(frame, 0xff, sizeof(frame));
	for (unsigned i = 0; i < 256; i++) {
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
		nic_flush(nic);
	}
	CHECK_EQ(nic_send(nic, frame, 20), 0);
	nic_flush(nic);
	CHECK_EQ(dev.sent[256].length, 60);
	for (unsigned i = 0; i < 60; i++)
		CHECK_EQ(dev.sent[256].data[i], i < 20 ? 0xff : 0);
}

TEST(a_long_burst_flushes_itself)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	unsigned before = dev.tails_written;
	uint8_t frame[100];

	fill(frame, sizeof(frame), 0);
	for (unsigned i = 0; i < 600; i++)
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
	CHECK_EQ(dev.sent_count, 510);
	CHECK_EQ(dev.tails_written, before + 2);
}

TEST(lengths_are_checked)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	uint8_t frame[2048] = {0};

	CHECK_EQ(nic_send(nic, frame, 13), ERR_INVALID);
	CHECK_EQ(nic_send(nic, frame, 14), 0);
	CHECK_EQ(nic_send(nic, frame, 1514), 0);
	CHECK_EQ(nic_send(nic, frame, 1515), ERR_TOOBIG);
	CHECK_EQ(nic_send(nic, frame, SIZE_MAX), ERR_TOOBIG);
}

/* ---- interrupts, link, statistics ------------------------------------------------------------ */

TEST(one_interrupt_comes_when_asked_for)
{
	struct nic *nic = open_nic(FAKE_E1000_82574L);

	for (unsigned round = 0; round < 3; round++) {
		uint64_t before = nic->counters.interrupts;

		CHECK(!nic_irq_enable(nic));
		CHECK_EQ(nic->counters.interrupts, before);
		CHECK_EQ(wire(2, 60), FAKE_RECEIVED);
		CHECK_EQ(nic->counters.interrupts, before + 1);
		CHECK_EQ(reg(0xc0), 0); /* else each enabling would bring it again */
		CHECK_EQ(wire(3, 60), FAKE_RECEIVED);
		CHECK_EQ(nic->counters.interrupts, before + 1);
		nic_irq_disable(nic);
		CHECK_EQ(poll(nic, 4), 2);
		CHECK(!nic_irq_enable(nic)); /* one for the second frame, too late, harmless */
		CHECK_EQ(nic->counters.interrupts, before + 2);
	}
}

TEST(frames_that_came_before_are_seen)
{
	struct nic *nic = open_nic(FAKE_E1000_82574L);

	CHECK_EQ(wire(1, 60), FAKE_RECEIVED);
	CHECK_EQ(nic->counters.interrupts, 0);
	CHECK(nic_irq_enable(nic));
	nic_irq_disable(nic);
	CHECK_EQ(poll(nic, 4), 1);
}

TEST(the_link_of_an_express_part_stays_awake)
{
	open_nic(FAKE_E1000_82574L);
	CHECK_EQ(dev.pci->config[FAKE_E1000_EXPRESS / 4 + 4] & 3, 0);
}

TEST(without_msi_it_is_polled_and_masked)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);

	CHECK(nic->needs_poll);
	CHECK(!nic_irq_enable(nic));
	CHECK_EQ(reg(0xd0), 0);
	CHECK_EQ(wire(1, 60), FAKE_RECEIVED);
	CHECK(nic_irq_enable(nic));
	add(FAKE_E1000_82574L);
	fake_host.vectors_left = 0;
	CHECK_EQ(try_open(&nic), 0);
	CHECK(nic->needs_poll);
}

TEST(the_link_and_the_damage_are_seen)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);

	dev.link_down = true;
	dev.reg[0x4000 / 4] = 5;
	nic_tick(nic);
	CHECK(!nic->link_up);
	CHECK_EQ(nic->counters.rx_errors, 5);
	dev.link_down = false;
	nic_tick(nic);
	CHECK(nic->link_up);
	CHECK_EQ(nic->counters.rx_errors, 5);
}

TEST(a_transmitter_that_hangs_is_started_over)
{
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	uint8_t frame[60];

	fill(frame, sizeof(frame), 0);
	CHECK_EQ(wire(1, 60), FAKE_RECEIVED);
	CHECK_EQ(poll(nic, 4), 1);
	dev.holds_tx = true;
	nic_send(nic, frame, sizeof(frame));
	nic_tick(nic);
	nic_tick(nic);
	CHECK_EQ(nic->counters.resets, 0); /* it was not told of the frame */
	nic_flush(nic);
	dev.link_down = true;
	nic_tick(nic);
	nic_tick(nic);
	CHECK_EQ(nic->counters.resets, 0);
	dev.link_down = false;
	nic_tick(nic);
	fake_e1000_transmit(&dev); /* it was only slow */
	nic_send(nic, frame, sizeof(frame));
	nic_flush(nic);
	nic_tick(nic);
	CHECK_EQ(nic->counters.resets, 0);
	nic_tick(nic);
	CHECK_EQ(nic->counters.resets, 1);
	CHECK_EQ(dev.resets, 2);
	dev.holds_tx = false;
	dev.sent_count = 0;
	CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
	nic_flush(nic);
	CHECK_EQ(dev.sent_count, 1);
	CHECK_EQ(wire(1, 60), FAKE_RECEIVED);
	CHECK_EQ(poll(nic, 4), 1);
}

/* Anything in a descriptor: receive() checks that what we pass on lies within its slot. */
TEST(random_descriptors_are_survived)
{
	uint64_t seed = 5;
	struct nic *nic = open_nic(FAKE_E1000_82540EM);
	uint8_t frame[60];

	fill(frame, 60, 0);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t r = test_random(&seed);

		fake_e1000_fill(&dev, frame, 60, (uint16_t)r, (uint8_t)(r >> 16) | 1,
			r >> 32 & 1 ? 0 : (uint8_t)(r >> 24));
		poll(nic, r >> 40 & 7);
	}
	while (poll(nic, 64))
		;
	CHECK_EQ(wire(1, 60), FAKE_RECEIVED);
}
