#include "drivers/virtio/net.h"
#include "drivers/virtio/rng.h"
#include "tests/unit/fake_virtio.h"

static struct fake_virtio dev;

static struct pci_function place(void)
{
	return (struct pci_function){.bus = dev.pci->bus,
		.device = dev.pci->device,
		.vendor_id = (uint16_t)dev.pci->config[0],
		.device_id = (uint16_t)(dev.pci->config[0] >> 16)};
}

/* A machine with one network device, whose bus mastering the host has switched off. */
static void add_net(void)
{
	fake_reset();
	fake_virtio_add(&dev, 2, 1);
	dev.pci->config[FAKE_REG_COMMAND] &= ~FAKE_COMMAND_MASTER;
}

static int try_open(struct nic **nic)
{
	struct pci_function f = place();

	return virtio_net_open(&fake_env, &f, nic);
}

static struct nic *open_net(void)
{
	struct nic *nic = NULL;

	CHECK_EQ(try_open(&nic), 0);
	return nic;
}

/* It must fail with `error`, keep no memory and not master the bus. */
static void check_refused(int error)
{
	struct nic *nic;

	CHECK_EQ(try_open(&nic), error);
	CHECK_EQ(fake_dma_blocks(), 0);
	CHECK(!(dev.pci->config[FAKE_REG_COMMAND] & FAKE_COMMAND_MASTER));
}

struct received {
	struct fake_frame frames[300];
	unsigned count;
	struct nic *echo; /* send each frame back */
};

static struct received in;

static void receive(void *ctx, const uint8_t *frame, size_t length)
{
	struct received *r = ctx;
	struct fake_frame *f = &r->frames[r->count++ % ARRAY_SIZE(r->frames)];

	CHECK(length <= sizeof(f->data));
	f->length = length;
	memcpy(f->data, frame, length);
	if (r->echo)
		CHECK_EQ(nic_send(r->echo, frame, length), 0);
}

static unsigned poll(struct nic *nic, unsigned budget)
{
	in = (struct received){.count = 0};
	return nic_poll(nic, budget, receive, &in);
}

static void fill(uint8_t *frame, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++)
		frame[i] = (uint8_t)(i * 7 + seed);
}

/* Frames go both ways. */
static void check_works(struct nic *nic)
{
	uint8_t frame[NIC_FRAME_MAX];

	fill(frame, sizeof(frame), 1);
	CHECK(fake_virtio_receive(&dev, frame, 100));
	CHECK_EQ(poll(nic, 8), 1);
	CHECK(in.frames[0].length == 100 && memcmp(in.frames[0].data, frame, 100) == 0);
	dev.sent_count = 0;
	CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
	nic_flush(nic);
	CHECK_EQ(dev.sent_count, 1);
	CHECK(dev.sent[0].length == sizeof(frame) && memcmp(dev.sent[0].data, frame, 100) == 0);
}

/* ---- coming up ------------------------------------------------------------------------------- */

TEST(it_comes_up)
{
	static const uint8_t mac[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

	add_net();
	struct nic *nic = open_net();

	CHECK(memcmp(nic->mac, mac, 6) == 0);
	CHECK_EQ(nic->mtu, 1500);
	CHECK(nic->link_up && !nic->needs_poll);
	CHECK_STR(nic->driver, "virtio-net");
	CHECK_STR(nic->place, "00:02.0");
	CHECK_STR(dev.statuses, "0 1 3 b f ");
	CHECK_EQ(dev.queue[0].vector, 0);
	CHECK_EQ(dev.queue[1].vector, 0xffff);
	CHECK_EQ(dev.queue[0].notified, 1);
	check_works(nic);
}

TEST(only_known_features_are_accepted)
{
	add_net();
	dev.offered = UINT64_MAX;
	struct nic *nic = open_net();

	CHECK_EQ(dev.accepted, 1ull << 32 | 1ull << 33 | 1 << 16 | 1 << 5 | 1 << 3);
	CHECK_EQ(nic->mtu, 1500);
	add_net();
	dev.offered |= 1 << 3;
	dev.config[10] = 0x40; /* 576 */
	dev.config[11] = 0x02;
	CHECK_EQ(open_net()->mtu, 576);
	add_net();
	dev.offered |= 1 << 3;
	dev.config[11] = 0xff;
	CHECK_EQ(open_net()->mtu, 1500);
}

TEST(a_device_that_lacks_something_is_refused)
{
	add_net();
	dev.offered &= ~(1ull << 32);
	check_refused(ERR_UNSUPPORTED);
	CHECK(dev.status == 0 && strstr(dev.statuses, "83")); /* told that we failed, then reset */
	add_net();
	dev.offered &= ~(1ull << 5);
	check_refused(ERR_UNSUPPORTED);
	add_net();
	dev.refuses_features = true;
	check_refused(ERR_UNSUPPORTED);
	add_net();
	dev.queue[1].size_max = 0;
	check_refused(ERR_UNSUPPORTED);
	add_net();
	dev.config[0] = 0x53; /* a group address */
	check_refused(ERR_UNSUPPORTED);
	add_net();
	memset(dev.config, 0, 6);
	check_refused(ERR_UNSUPPORTED);
	add_net();
	dev.offered |= 1 << 3;
	dev.config[10] = dev.config[11] = 1; /* an MTU of 257 */
	check_refused(ERR_UNSUPPORTED);
}

TEST(another_device_is_left_alone)
{
	add_net();
	dev.pci->config[0] = 0x1af4 | 0x1042u << 16;
	check_refused(ERR_UNSUPPORTED);
	dev.pci->config[0] = 0x1af5 | 0x1041u << 16;
	check_refused(ERR_UNSUPPORTED);
	CHECK_STR(dev.statuses, "");
	dev.pci->config[0] = 0x1af4 | 0x1000u << 16; /* transitional, with the modern structures */
	open_net();
}

TEST(a_reset_that_never_ends_is_given_up)
{
	add_net();
	dev.never_resets = true;
	check_refused(ERR_IO);
	CHECK(fake_host.now_us < 2000000);
}

TEST(a_configuration_that_never_holds_still_is_given_up)
{
	add_net();
	dev.never_holds_still = true;
	check_refused(ERR_IO);
}

TEST(memory_that_runs_out_is_reported)
{
	for (unsigned n = 0; n < 2; n++) {
		add_net();
		fake_host.dma_left = n;
		check_refused(ERR_NOMEM);
	}
}

static uint32_t *structure(unsigned at)
{
	return &dev.pci->config[at / 4];
}

#define COMMON_AT FAKE_VIRTIO_CAP
#define NOTIFY_AT (FAKE_VIRTIO_CAP + 0x10)

TEST(structures_outside_of_their_bar_are_passed_over)
{
	static const struct {
		uint32_t bar, offset, length;
	} bad[] = {{6, 0, 0x38}, {255, 0, 0x38}, {4, 0x4000, 0x38}, {4, 0x3fe0, 0x38},
		{4, 0xffffffe0, 0x38}, {4, 0, 0x37}, {4, 0, 0}, {5, 0, 0x38}, {0, 0, 0x38}};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		add_net();
		structure(COMMON_AT)[1] = bad[i].bar;
		structure(COMMON_AT)[2] = bad[i].offset;
		structure(COMMON_AT)[3] = bad[i].length;
		check_refused(ERR_UNSUPPORTED);
	}
	add_net();
	structure(NOTIFY_AT)[3] = 0;
	check_refused(ERR_UNSUPPORTED);
}

TEST(the_first_usable_structure_is_taken)
{
	add_net();
	/* another common structure, ahead in the list, in a BAR that there isn't */
	fake_capability(dev.pci, 0xb0, 9, 1 << 8 | 16);
	structure(0xb0)[1] = 5;
	structure(0xb0)[3] = 0x38;
	check_works(open_net());
}

TEST(a_notification_address_outside_is_refused)
{
	add_net();
	dev.notify_off = 0x3ff;
	check_refused(ERR_IO); /* of queue 1 */
	add_net();
	structure(NOTIFY_AT)[4] = UINT32_MAX;
	check_refused(ERR_IO);
}

TEST(queue_sizes_are_the_largest_power_of_two)
{
	static const uint16_t sizes[][2] = {
		{1, 1}, {3, 2}, {255, 128}, {256, 256}, {1024, 256}, {0x8000, 256}, {0xffff, 256}};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		add_net();
		dev.queue[0].size_max = dev.queue[0].size = sizes[i][0];
		check_works(open_net());
		CHECK_EQ(dev.queue[0].size, sizes[i][1]);
	}
}

TEST(without_a_vector_it_is_polled)
{
	add_net();
	fake_host.vectors_left = 0;
	CHECK(open_net()->needs_poll);
	CHECK_EQ(dev.queue[0].vector, 0xffff);
	add_net();
	dev.has_no_vectors = true;
	CHECK(open_net()->needs_poll);
	add_net();
	structure(FAKE_VIRTIO_MSIX)[0] = 0; /* no MSI-X at all, and the list cut short */
	dev.pci->config[FAKE_REG_CAPS] = FAKE_VIRTIO_CAP + 0x34;
	struct nic *nic = open_net();

	CHECK(nic->needs_poll);
	CHECK(!nic_irq_enable(nic));
	check_works(nic);
}

/* ---- frames ---------------------------------------------------------------------------------- */

TEST(frames_come_in_order_and_within_the_budget)
{
	uint8_t frame[64];

	add_net();
	struct nic *nic = open_net();
	for (unsigned i = 0; i < 20; i++) {
		fill(frame, sizeof(frame), i);
		CHECK(fake_virtio_receive(&dev, frame, sizeof(frame)));
	}
	CHECK_EQ(poll(nic, 12), 12);
	CHECK_EQ(in.frames[11].data[0], 11);
	CHECK_EQ(poll(nic, 12), 8);
	CHECK_EQ(in.frames[0].data[0], 12);
	CHECK_EQ(poll(nic, 12), 0);
	CHECK_EQ(nic->counters.rx_frames, 20);
	CHECK_EQ(nic->counters.rx_bytes, 20 * 64);
}

TEST(receive_buffers_never_run_dry)
{
	uint8_t frame[NIC_FRAME_MAX];

	add_net();
	struct nic *nic = open_net();
	for (unsigned i = 0; i < 3000; i++) {
		fill(frame, sizeof(frame), i);
		CHECK(fake_virtio_receive(&dev, frame, sizeof(frame)));
		if (i % 200 == 199)
			while (poll(nic, 64))
				;
	}
	CHECK_EQ(nic->counters.rx_frames, 3000);
	unsigned n = 0;
	while (fake_virtio_receive(&dev, frame, 60))
		n++;
	CHECK_EQ(n, 256);
}

TEST(frames_of_a_wrong_size_are_dropped)
{
	static const struct {
		uint32_t length;
		bool good;
	} cases[] = {{0, false}, {11, false}, {12, false}, {25, false}, {26, true},
		{12 + 1514, true}, {12 + 1515, false}, {2048, false}};

	add_net();
	struct nic *nic = open_net();
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t errors = nic->counters.rx_errors;
		uint16_t id;

		CHECK(fake_virtio_take(&dev, 0, &id));
		fake_virtio_give(&dev, 0, id, cases[i].length);
		CHECK_EQ(poll(nic, 4), 1);
		CHECK_EQ(in.count, cases[i].good);
		CHECK_EQ(nic->counters.rx_errors - errors, !cases[i].good);
	}
}

TEST(a_burst_is_one_notification)
{
	uint8_t frame[200];

	add_net();
	struct nic *nic = open_net();
	uint64_t before = nic->counters.notifies;
	for (unsigned i = 0; i < 50; i++) {
		fill(frame, sizeof(frame), i);
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
	}
	CHECK_EQ(dev.sent_count, 0);
	nic_flush(nic);
	nic_flush(nic);
	CHECK_EQ(dev.queue[1].notified, 1);
	CHECK_EQ(nic->counters.notifies - before, 1);
	CHECK_EQ(dev.sent_count, 50);
	for (unsigned i = 0; i < 50; i++)
		CHECK(dev.sent[i].length == 200 && dev.sent[i].data[0] == (uint8_t)i);
	CHECK_EQ(nic->counters.tx_frames, 50);
	CHECK_EQ(nic->counters.tx_bytes, 50 * 200);
}

TEST(a_device_that_looks_by_itself_is_not_notified)
{
	uint8_t frame[200] = {0};

	add_net();
	struct nic *nic = open_net();
	dev.no_notify = 1;
	nic_send(nic, frame, sizeof(frame));
	nic_flush(nic);
	nic_send(nic, frame, sizeof(frame));
	nic_flush(nic);
	CHECK_EQ(dev.queue[1].notified, 1); /* it could say so only when it got the first */
}

TEST(short_frames_are_padded_with_zeros)
{
	uint8_t frame[NIC_FRAME_MAX];

	add_net();
	struct nic *nic = open_net();
	memset(frame, 0xff, sizeof(frame));
	for (unsigned i = 0; i < 256; i++) { /* every slot held something */
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
		nic_flush(nic);
	}
	dev.sent_count = 0;
	CHECK_EQ(nic_send(nic, frame, 20), 0);
	nic_flush(nic);
	CHECK_EQ(dev.sent[0].length, 60);
	for (unsigned i = 0; i < 60; i++)
		CHECK_EQ(dev.sent[0].data[i], i < 20 ? 0xff : 0);
}

TEST(a_full_ring_says_so_and_recovers)
{
	uint8_t frame[100];

	add_net();
	struct nic *nic = open_net();
	dev.holds_tx = true;
	for (unsigned i = 0; i < 256; i++) {
		fill(frame, sizeof(frame), i);
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
	}
	CHECK_EQ(nic_send(nic, frame, sizeof(frame)), ERR_AGAIN);
	nic_flush(nic);
	CHECK_EQ(nic_send(nic, frame, sizeof(frame)), ERR_AGAIN);
	CHECK_EQ(nic->counters.tx_full, 2);
	fake_virtio_transmit(&dev);
	CHECK_EQ(dev.sent_count, 256);
	CHECK_EQ(dev.sent[255].data[0], 255);
	for (unsigned i = 0; i < 256; i++)
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
}

TEST(a_long_burst_flushes_itself)
{
	uint8_t frame[100] = {0};

	add_net();
	struct nic *nic = open_net();
	for (unsigned i = 0; i < 600; i++)
		CHECK_EQ(nic_send(nic, frame, sizeof(frame)), 0);
	CHECK_EQ(dev.sent_count, 512);
	CHECK_EQ(dev.queue[1].notified, 2);
}

TEST(lengths_are_checked)
{
	uint8_t frame[2048] = {0};

	add_net();
	struct nic *nic = open_net();
	CHECK_EQ(nic_send(nic, frame, 0), ERR_INVALID);
	CHECK_EQ(nic_send(nic, frame, 13), ERR_INVALID);
	CHECK_EQ(nic_send(nic, frame, 14), 0);
	CHECK_EQ(nic_send(nic, frame, 1514), 0);
	CHECK_EQ(nic_send(nic, frame, 1515), ERR_TOOBIG);
	CHECK_EQ(nic_send(nic, frame, SIZE_MAX), ERR_TOOBIG);
}

TEST(a_frame_may_be_sent_while_one_is_received)
{
	uint8_t frame[300];

	add_net();
	struct nic *nic = open_net();
	fill(frame, sizeof(frame), 9);
	CHECK(fake_virtio_receive(&dev, frame, sizeof(frame)));
	in = (struct received){.echo = nic};
	CHECK_EQ(nic_poll(nic, 4, receive, &in), 1);
	nic_flush(nic);
	CHECK_EQ(dev.sent_count, 1);
	CHECK(memcmp(dev.sent[0].data, frame, sizeof(frame)) == 0);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

TEST(one_interrupt_comes_when_asked_for)
{
	uint8_t frame[60] = {0};

	add_net();
	struct nic *nic = open_net();
	CHECK(fake_virtio_receive(&dev, frame, 60));
	CHECK_EQ(nic->counters.interrupts, 0);
	CHECK(nic_irq_enable(nic)); /* the one that came before */
	nic_irq_disable(nic);
	poll(nic, 4);
	CHECK(!nic_irq_enable(nic));
	CHECK(fake_virtio_receive(&dev, frame, 60));
	CHECK(fake_virtio_receive(&dev, frame, 60));
	CHECK_EQ(nic->counters.interrupts, 1);
	nic_irq_disable(nic);
	CHECK_EQ(poll(nic, 4), 2);
	nic_send(nic, frame, 60); /* sending interrupts nobody */
	CHECK(!nic_irq_enable(nic));
	nic_flush(nic);
	CHECK_EQ(nic->counters.interrupts, 1);
}

TEST(the_link_goes_down_and_up)
{
	add_net();
	struct nic *nic = open_net();
	dev.config[6] = 0;
	CHECK(nic->link_up);
	nic_tick(nic);
	CHECK(!nic->link_up);
	dev.config[6] = 1;
	nic_tick(nic);
	CHECK(nic->link_up);
	add_net();
	dev.offered &= ~(1ull << 16);
	dev.config[6] = 0;
	CHECK(open_net()->link_up); /* it can't tell */
}

/* ---- breaking down --------------------------------------------------------------------------- */

TEST(a_device_that_needs_a_reset_gets_one)
{
	uint8_t frame[60] = {0};

	add_net();
	struct nic *nic = open_net();
	nic_send(nic, frame, 60);
	dev.status |= 64;
	nic_tick(nic);
	CHECK_EQ(nic->counters.resets, 1);
	CHECK_EQ(dev.status, 0x0f);
	check_works(nic);
	nic_tick(nic);
	CHECK_EQ(nic->counters.resets, 1);
}

TEST(a_device_that_lies_is_started_over)
{
	for (unsigned queue = 0; queue < 2; queue++) {
		uint8_t frame[60] = {0};

		add_net();
		struct nic *nic = open_net();
		fake_virtio_give(&dev, queue, 7777, 0);
		CHECK_EQ(poll(nic, 100), 0);
		CHECK(!nic_irq_enable(nic) || queue == 1);
		for (unsigned i = 0; i < 300; i++)
			nic_send(nic, frame, 60);
		nic_flush(nic);
		nic_tick(nic);
		CHECK_EQ(nic->counters.resets, 1);
		check_works(nic);
	}
}

TEST(a_device_that_stays_broken_is_tried_again)
{
	uint8_t frame[60] = {0};

	add_net();
	struct nic *nic = open_net();
	dev.status |= 64;
	dev.never_resets = true;
	nic_tick(nic);
	CHECK(!nic->link_up);
	CHECK_EQ(poll(nic, 4), 0);
	unsigned notified = dev.queue[1].notified;
	nic_send(nic, frame, 60);
	nic_flush(nic);
	CHECK_EQ(dev.queue[1].notified, notified);
	dev.never_resets = false;
	nic_tick(nic);
	CHECK(nic->link_up);
	CHECK_EQ(nic->counters.resets, 2);
	check_works(nic);
}

TEST(random_registers_are_survived)
{
	for (unsigned i = 0; i < 200; i++) {
		struct nic *nic;

		add_net();
		dev.answers_random = true;
		dev.seed = i;
		if (try_open(&nic) == 0) {
			nic_tick(nic);
			CHECK_EQ(poll(nic, 10), 0);
		} else {
			CHECK_EQ(fake_dma_blocks(), 0);
		}
		CHECK(fake_host.now_us < 3000000);
	}
}

/* ---- entropy --------------------------------------------------------------------------------- */

static void add_rng(void)
{
	fake_reset();
	fake_virtio_add(&dev, 3, 4);
	dev.offered = 1ull << 32;
	dev.queue[1].size_max = 0;
	dev.pci->config[FAKE_REG_COMMAND] &= ~FAKE_COMMAND_MASTER;
}

static void check_rng_is_off(void)
{
	CHECK_EQ(fake_dma_blocks(), 0);
	CHECK(!(dev.pci->config[FAKE_REG_COMMAND] & FAKE_COMMAND_MASTER));
}

TEST(entropy_is_drawn_once)
{
	uint8_t buf[40] = {0};

	add_rng();
	CHECK_EQ(virtio_rng_read(&fake_env, buf, 32), 32);
	CHECK(buf[0] == 0xa5 && buf[31] == 0xa5 && buf[32] == 0);
	CHECK_EQ(dev.status, 0);
	check_rng_is_off();
}

TEST(a_machine_without_entropy_gives_none)
{
	uint8_t buf[32];

	add_net();
	CHECK_EQ(virtio_rng_read(&fake_env, buf, 32), 0);
	add_rng();
	dev.offered = 0;
	CHECK_EQ(virtio_rng_read(&fake_env, buf, 32), 0);
	check_rng_is_off();
	add_rng();
	dev.never_resets = true;
	CHECK_EQ(virtio_rng_read(&fake_env, buf, 32), 0);
	check_rng_is_off();
	add_rng();
	dev.lies = true;
	CHECK_EQ(virtio_rng_read(&fake_env, buf, 32), 0);
	check_rng_is_off();
	add_rng();
	fake_host.dma_left = 0;
	CHECK_EQ(virtio_rng_read(&fake_env, buf, 32), 0);
	add_rng();
	dev.pci->config[0] = 0x1af4 | 0x1005u << 16; /* the model answers as 0x1044 only */
	CHECK_EQ(virtio_rng_read(&fake_env, buf, 32), 0);
	CHECK(fake_host.now_us > 1000000 && fake_host.now_us < 1100000);
	check_rng_is_off();
}
