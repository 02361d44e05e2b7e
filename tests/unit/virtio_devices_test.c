/* The virtio devices of Linux guests, and what drivers do to them that none may. */
#include "net/checksum.h"
#include "tests/unit/virtio_driver.h"

static struct world world;
static struct paper_guest p;

static void start(const struct virtio_model *model, uint64_t value)
{
	if (!world.frames) {
		world_init(&world, FRAMES, 1, &world_caps_npt, 15);
		/* The tables of accounts stay. */
		guest_create(&p, &world, model, value);
		guest_destroy(&p, &world);
		world.free_at_start = world_idle_frames(&world);
	}
	guest_create(&p, &world, model, value);
	set_up(&p);
}

static void end(void)
{
	guest_destroy(&p, &world);
	CHECK_EQ(world_idle_frames(&world), world.free_at_start);
}

static void count_up(void *buf, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)buf)[i] = (uint8_t)(i + 1);
}

static int random_notified(void)
{
	return vrng_notify(&p.v, &p.env, count_up);
}

static bool broken(void)
{
	return virtio_read(&p.v, 0x14, 1) & VIRTIO_NEEDS_RESET;
}

/* ---- transport -------------------------------------------------------------------------------- */

TEST(capabilities_lead_to_structures_in_the_io_bar)
{
	unsigned seen = 0;

	start(&vconsole_model, 0);
	CHECK_EQ(virtio_config_read(&p.v, 0, 4), 0x1043u << 16 | 0x1af4);
	CHECK(virtio_config_read(&p.v, 6, 2) & 0x10);
	for (unsigned at = virtio_config_read(&p.v, 0x34, 1); at; at = virtio_config_read(&p.v, at + 1, 1)) {
		CHECK(at >= 0x40 && at % 4 == 0 && at < 0x100);
		if (virtio_config_read(&p.v, at, 1) == 0x11)
			continue;
		CHECK_EQ(virtio_config_read(&p.v, at, 1), 9);
		CHECK_EQ(virtio_config_read(&p.v, at + 4, 1), 0);
		uint32_t type = virtio_config_read(&p.v, at + 3, 1);

		if (type != 5)
			CHECK(virtio_config_read(&p.v, at + 8, 4) + virtio_config_read(&p.v, at + 12, 4) <=
				VIRTIO_PORTS);
		seen |= 1u << type;
	}
	CHECK_EQ(seen, 0x3e);
	end();
}

TEST(bars_are_sized_and_move_anywhere)
{
	unsigned offset;

	start(&vrng_model, 0);
	CHECK(virtio_owns_port(&p.v, VIRTIO_PORT + VIRTIO_PORTS + 4, &offset));
	CHECK_EQ(offset, 4);
	(void)virtio_config_write(&p.v, &p.env, 0x10, 4, UINT32_MAX);
	CHECK_EQ(virtio_config_read(&p.v, 0x10, 4), ~(VIRTIO_PORTS - 1) | 1);
	CHECK(!virtio_owns_port(&p.v, 0xffff, &offset));
	(void)virtio_config_write(&p.v, &p.env, 0x14, 4, UINT32_MAX);
	CHECK_EQ(virtio_config_read(&p.v, 0x14, 4), 0xfffff000);
	/* The table is where no memory is: what would be signalled is lost. */
	describe(&p, 0, 0, BUFFER(0), 16, DESC_WRITE, 0);
	offer(&p, 0, 0);
	CHECK_EQ(random_notified(), 0);
	CHECK_EQ(used_index(&p, 0), 1);
	CHECK(!raised(&p, 0x40));
	/* Over RAM: what lies there is the table, and no harm is done. */
	(void)virtio_config_write(&p.v, &p.env, 0x14, 4, (uint32_t)BUFFER(1));
	offer(&p, 0, 0);
	CHECK_EQ(random_notified(), 0);
	CHECK_EQ(used_index(&p, 0), 2);
	end();
}

TEST(the_window_in_configuration_space_reaches_the_registers)
{
	start(&vrng_model, 0);
	(void)virtio_config_write(&p.v, &p.env, 0x98, 4, 0x12);
	(void)virtio_config_write(&p.v, &p.env, 0x9c, 4, 2);
	CHECK_EQ(virtio_config_read(&p.v, 0xa0, 4) & 0xffff, 1); /* number of queues */
	(void)virtio_config_write(&p.v, &p.env, 0x98, 4, 0x14);
	(void)virtio_config_write(&p.v, &p.env, 0x9c, 4, 1);
	CHECK_EQ(virtio_config_write(&p.v, &p.env, 0xa0, 1, 0).kind, VIRTIO_RESET);
	CHECK(!virtio_ready(&p.v));
	for (uint32_t length = 0; length < 20; length += 3) {
		(void)virtio_config_write(&p.v, &p.env, 0x98, 4, UINT32_MAX - length);
		(void)virtio_config_write(&p.v, &p.env, 0x9c, 4, length);
		CHECK_EQ(virtio_config_read(&p.v, 0xa0, 4), 0);
	}
	end();
}

TEST(features_that_were_not_offered_are_refused)
{
	start(&vrng_model, 0);
	out(&p, 0x14, 1, 0);
	out(&p, 0x0c, 4, 1u << 28);
	out(&p, 0x08, 4, 1);
	out(&p, 0x0c, 4, 1);
	out(&p, 0x14, 1, 3 | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	CHECK_EQ(virtio_read(&p.v, 0x14, 1), 3);
	CHECK(!virtio_ready(&p.v));
	end();
}

TEST(queues_outside_memory_are_not_enabled)
{
	static const uint64_t bad[][3] = {
		{RAM_SIZE, 0x1000, 0x2000},
		{0x1000, RAM_SIZE - 16, 0x2000},
		{0x1000, 0x2000, RAM_SIZE - 64},
		{0x1008, 0x2000, 0x3000},
		{0x1000, 0x2001, 0x3000},
		{0x1000, 0x2000, 0x3002},
		{UINT64_MAX - 15, 0x2000, 0x3000},
		{VBLK_GPA, 0x2000, 0x3000},
		{VIRTIO_MEMORY, 0x2000, 0x3000},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		start(&vrng_model, 0);
		out(&p, 0x14, 1, 0);
		out(&p, 0x16, 2, 0);
		for (unsigned k = 0; k < 3; k++) {
			out(&p, 0x20 + 8 * k, 4, (uint32_t)bad[i][k]);
			out(&p, 0x24 + 8 * k, 4, (uint32_t)(bad[i][k] >> 32));
		}
		out(&p, 0x1c, 2, 1);
		CHECK_EQ(virtio_read(&p.v, 0x1c, 2), 0);
		CHECK(broken());
		end();
	}
}

/* ---- rings ------------------------------------------------------------------------------------ */

TEST(a_chain_is_served_and_signalled)
{
	start(&vrng_model, 0);
	describe(&p, 0, 3, BUFFER(0), 10, DESC_WRITE | DESC_NEXT, 5);
	describe(&p, 0, 5, BUFFER(1) + PAGE_SIZE - 4, 8, DESC_WRITE, 0);
	offer(&p, 0, 3);
	CHECK_EQ(random_notified(), 0);
	CHECK_EQ(used_index(&p, 0), 1);
	CHECK_EQ(get(&p, RING(0) + USED + 4, 4), 3);
	CHECK_EQ(get(&p, RING(0) + USED + 8, 4), 18);
	CHECK_EQ(get(&p, BUFFER(0) + 9, 1), 10);
	CHECK_EQ(get(&p, BUFFER(1) + PAGE_SIZE - 4, 8), 0x1211100f0e0d0c0b);
	CHECK(raised(&p, 0x40));
	end();
}

TEST(rings_that_cannot_be_right_break_the_device)
{
	for (unsigned how = 0; how < 8; how++) {
		start(&vrng_model, 0);
		describe(&p, 0, 0, BUFFER(0), 16, DESC_WRITE, 0);
		switch (how) {
		case 0: /* a loop */
			describe(&p, 0, 0, BUFFER(0), 16, DESC_WRITE | DESC_NEXT, 0);
			break;
		case 1: /* a huge length */
			describe(&p, 0, 0, BUFFER(0), UINT32_MAX, DESC_WRITE, 0);
			break;
		case 2: /* outside memory */
			describe(&p, 0, 0, RAM_SIZE - 8, 16, DESC_WRITE, 0);
			break;
		case 3: /* on the disk */
			describe(&p, 0, 0, VBLK_GPA, 16, DESC_WRITE, 0);
			break;
		case 4: /* no such descriptor */
			describe(&p, 0, 0, BUFFER(0), 16, DESC_WRITE | DESC_NEXT, VRING_SIZE_MAX);
			break;
		case 5: /* readable behind writable */
			describe(&p, 0, 0, BUFFER(0), 16, DESC_WRITE | DESC_NEXT, 1);
			describe(&p, 0, 1, BUFFER(0), 16, 0, 0);
			break;
		case 6: /* an indirect one, which was not offered */
			describe(&p, 0, 0, BUFFER(0), 16, 4, 0);
			break;
		default: /* the index jumps */
			p.avail[0] = VRING_SIZE_MAX;
			break;
		}
		offer(&p, 0, 0);
		CHECK_EQ(random_notified(), 0);
		CHECK(broken());
		CHECK_EQ(used_index(&p, 0), 0);
		CHECK_EQ(virtio_write(&p.v, &p.env, 0x3c, 2, 0).kind, VIRTIO_NOTHING);
		out(&p, 0x14, 1, 0);
		CHECK(!broken());
		end();
	}
}

TEST(rings_go_round)
{
	start(&vrng_model, 0);
	for (unsigned i = 0; i < 70000; i++) {
		if (i < VRING_SIZE_MAX)
			describe(&p, 0, i, BUFFER(0), 4, DESC_WRITE, 0);
		offer(&p, 0, (uint16_t)(i % VRING_SIZE_MAX));
		CHECK_EQ(random_notified(), 0);
		CHECK_EQ(used_index(&p, 0), (uint16_t)(i + 1));
	}
	CHECK(!broken());
	end();
}

/* ---- MSI-X ------------------------------------------------------------------------------------ */

static void signal_once(void)
{
	describe(&p, 0, 0, BUFFER(0), 4, DESC_WRITE, 0);
	offer(&p, 0, 0);
	CHECK_EQ(random_notified(), 0);
}

TEST(a_masked_vector_is_pending_until_it_is_not)
{
	start(&vrng_model, 0);
	set_entry(&p, 0, 0xfee00000, 0x40, 1);
	signal_once();
	CHECK(!raised(&p, 0x40));
	CHECK_EQ(get(&p, VIRTIO_MEMORY + PAGE_SIZE + 0x800, 1), 1);
	virtio_retry(&p.v, &p.env);
	CHECK(!raised(&p, 0x40));
	set_entry(&p, 0, 0xfee00000, 0x40, 0);
	virtio_retry(&p.v, &p.env);
	CHECK(raised(&p, 0x40));
	CHECK_EQ(get(&p, VIRTIO_MEMORY + PAGE_SIZE + 0x800, 1), 0);
	CHECK_EQ(p.v.pending, 0);
	end();
}

TEST(wild_messages_are_lost)
{
	static const struct {
		uint64_t address;
		uint32_t data;
	} wild[] = {
		{0, 0x40}, {BUFFER(0), 0x40}, {UINT64_MAX, 0x40}, {0x1fee00000, 0x40},
		{0xfee01000, 0x40}, {0xfed00000, 0x40}, {0xfee00000, 0x440}, {0xfee00000, 0x240},
		{0xfee00000, 0x0f}, {0xfee00000, 0x00},
	};
	const uint32_t none[8] = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(wild); i++) {
		start(&vrng_model, 0);
		set_entry(&p, 0, wild[i].address, wild[i].data, 0);
		signal_once();
		CHECK_EQ(memcmp(p.lapic.irr, none, sizeof(none)), 0);
		end();
	}
	start(&vrng_model, 0);
	set_entry(&p, 0, 0xfee01004, 0x55, 0); /* logical, to the first of cluster 0 */
	signal_once();
	CHECK(raised(&p, 0x55));
	end();
}

/* ---- console ---------------------------------------------------------------------------------- */

static struct {
	char out[VCONSOLE_PORTS][256];
	size_t out_size[VCONSOLE_PORTS], room;
	const char *in[VCONSOLE_PORTS];
} wires;

static size_t take(void *ctx, enum vconsole_port port, uint8_t *buf, size_t size)
{
	size_t n = wires.in[port] ? MIN(strlen(wires.in[port]), size) : 0;

	(void)ctx;
	if (n)
		memcpy(buf, wires.in[port], n);
	wires.in[port] += n;
	return n;
}

static int64_t give(void *ctx, enum vconsole_port port, const uint8_t *data, size_t size)
{
	size_t n = MIN(size, wires.room);

	(void)ctx;
	memcpy(wires.out[port] + wires.out_size[port], data, n);
	wires.out_size[port] += n;
	wires.room -= n;
	return (int64_t)n;
}

static const struct vconsole_owner owner = {.take = take, .put = give};
static struct vconsole console;

static int console_notified(unsigned queue)
{
	return vconsole_notify(&console, &p.v, &p.env, queue, &owner);
}

static void tell(uint32_t port, uint16_t event, uint16_t value)
{
	uint8_t m[8];

	store_le32(m, port);
	store_le16(m + 4, event);
	store_le16(m + 6, value);
	put(&p, BUFFER(3), m, sizeof(m));
	describe(&p, 3, 0, BUFFER(3), sizeof(m), 0, 0);
	offer(&p, 3, 0);
	CHECK_EQ(console_notified(3), 0);
}

static void start_console(void)
{
	memset(&wires, 0, sizeof(wires));
	wires.room = 200;
	vconsole_reset(&console);
	start(&vconsole_model, 0);
	for (unsigned i = 0; i < 8; i++) {
		describe(&p, 2, i, BUFFER(8) + i * 64, 64, DESC_WRITE, 0);
		offer(&p, 2, (uint16_t)i);
	}
	tell(0, 0, 1);
	tell(0, 3, 1);
	tell(1, 3, 1);
	tell(0, 6, 1);
	tell(1, 6, 1);
}

TEST(the_console_has_a_tty_and_the_agents_port)
{
	char name[16] = "";

	start_console();
	CHECK_EQ(used_index(&p, 2), 6);
	CHECK_EQ(get(&p, BUFFER(8), 8), 0x0001000100000000);       /* add 0 */
	CHECK_EQ(get(&p, BUFFER(8) + 64, 8), 0x0001000100000001);  /* add 1 */
	CHECK_EQ(get(&p, BUFFER(8) + 128, 8), 0x0001000400000000); /* 0 is a console */
	CHECK_EQ(get(&p, BUFFER(8) + 256, 8), 0x0001000700000001); /* the name of 1 */
	CHECK_EQ(gmem_read(&p.mem, BUFFER(8) + 256 + 8, name, 15), 0);
	CHECK_STR(name, "org.creel.agent");
	CHECK_EQ(get(&p, RING(2) + USED + 4 + 4 * 8 + 4, 4), 8 + 15);
	end();
}

TEST(output_waits_for_room_and_loses_nothing)
{
	static const char text[] = "0123456789abcdefghij";

	start_console();
	put(&p, BUFFER(0), text, 20);
	describe(&p, 1, 0, BUFFER(0), 7, DESC_NEXT, 1);
	describe(&p, 1, 1, BUFFER(0) + 7, 13, 0, 0);
	offer(&p, 1, 0);
	wires.room = 9;
	CHECK_EQ(console_notified(1), VCONSOLE_WAIT);
	CHECK_EQ(used_index(&p, 1), 0);
	wires.room = 1;
	CHECK_EQ(console_notified(1), VCONSOLE_WAIT);
	wires.room = 100;
	CHECK_EQ(console_notified(1), 0);
	CHECK_EQ(used_index(&p, 1), 1);
	CHECK_EQ(wires.out_size[0], 20);
	CHECK_EQ(memcmp(wires.out[0], text, 20), 0);
	describe(&p, 5, 0, BUFFER(0), 5, 0, 0);
	offer(&p, 5, 0);
	CHECK_EQ(console_notified(5), 0);
	CHECK_EQ(wires.out_size[1], 5);
	end();
}

TEST(input_waits_for_buffers_and_an_open_port)
{
	start_console();
	wires.in[1] = "a question";
	CHECK(!vconsole_receives(&console, &p.v, &p.mem, VCONSOLE_AGENT));
	describe(&p, 4, 0, BUFFER(4), 4, DESC_WRITE, 0);
	offer(&p, 4, 0);
	CHECK(vconsole_receives(&console, &p.v, &p.mem, VCONSOLE_AGENT));
	CHECK_EQ(vconsole_fill(&console, &p.v, &p.env, VCONSOLE_AGENT, &owner), 0);
	CHECK_EQ(used_index(&p, 4), 1);
	CHECK_EQ(get(&p, BUFFER(4), 8), 0x00000000u + 'a' + (' ' << 8) + ('q' << 16) + ((uint64_t)'u' << 24));
	CHECK_STR(wires.in[1], "estion");
	tell(1, 6, 0);
	offer(&p, 4, 0);
	CHECK(!vconsole_receives(&console, &p.v, &p.mem, VCONSOLE_AGENT));
	CHECK_EQ(vconsole_fill(&console, &p.v, &p.env, VCONSOLE_AGENT, &owner), 0);
	CHECK_STR(wires.in[1], "estion");
	end();
}

/* ---- disk ------------------------------------------------------------------------------------- */

/* A request of one data buffer; its status. */
static unsigned ask_disk(uint32_t type, uint64_t sector, uint32_t size)
{
	uint8_t header[16] = {0};

	store_le32(header, type);
	store_le64(header + 8, sector);
	put(&p, BUFFER(0), header, sizeof(header));
	put(&p, BUFFER(1), "\xee", 1);
	describe(&p, 0, 0, BUFFER(0), sizeof(header), DESC_NEXT, size ? 1 : 2);
	describe(&p, 0, 1, BUFFER(2), size, DESC_NEXT | (type == 1 ? 0 : DESC_WRITE), 2);
	describe(&p, 0, 2, BUFFER(1), 1, DESC_WRITE, 0);
	offer(&p, 0, 0);
	CHECK_EQ(vblk_notify(&p.v, &p.env), 0);
	return (unsigned)get(&p, BUFFER(1), 1);
}

TEST(sectors_are_kept_and_none_is_beyond_the_end)
{
	start(&vblk_model, DISK_SIZE / 512);
	CHECK_EQ(virtio_read(&p.v, 0x40, 4), DISK_SIZE / 512);
	put(&p, BUFFER(2), "first", 6);
	put(&p, BUFFER(2) + 512, "second", 7);
	CHECK_EQ(ask_disk(1, 7, 1024), 0);
	CHECK_EQ(get(&p, VBLK_GPA + 7 * 512, 5), get(&p, BUFFER(2), 5));
	put(&p, BUFFER(2), "xxxxxxxx", 8);
	CHECK_EQ(ask_disk(0, 8, 512), 0);
	CHECK_EQ(get(&p, BUFFER(2), 6), 0x646e6f636573); /* "second" */
	CHECK_EQ(ask_disk(4, 0, 0), 0);
	CHECK_EQ(ask_disk(0, DISK_SIZE / 512 - 1, 512), 0);
	CHECK_EQ(ask_disk(0, DISK_SIZE / 512, 512), 1);
	CHECK_EQ(ask_disk(1, DISK_SIZE / 512 - 1, 1024), 1);
	CHECK_EQ(ask_disk(1, UINT64_MAX, 512), 1);
	CHECK_EQ(ask_disk(1, UINT64_MAX / 512, 512), 1);
	CHECK_EQ(ask_disk(0, 0, 100), 1);
	CHECK_EQ(ask_disk(99, 0, 512), 2);
	CHECK(!broken());
	end();
}

TEST(a_request_without_a_header_or_a_status_breaks_the_disk)
{
	start(&vblk_model, DISK_SIZE / 512);
	describe(&p, 0, 0, BUFFER(0), 15, DESC_NEXT, 1);
	describe(&p, 0, 1, BUFFER(1), 1, DESC_WRITE, 0);
	offer(&p, 0, 0);
	CHECK_EQ(vblk_notify(&p.v, &p.env), 0);
	CHECK(broken());
	end();
	start(&vblk_model, DISK_SIZE / 512);
	describe(&p, 0, 0, BUFFER(0), 16, 0, 0);
	offer(&p, 0, 0);
	CHECK_EQ(vblk_notify(&p.v, &p.env), 0);
	CHECK(broken());
	end();
}

/* ---- network ---------------------------------------------------------------------------------- */

#define GUEST 77u

static struct vnet net;

/* Sends a frame; the size of the answer, 0: none. */
static unsigned send_frame(const uint8_t *frame, unsigned size)
{
	uint8_t header[12] = {0};
	uint16_t before = used_index(&p, 0);

	describe(&p, 0, 0, BUFFER(2), 2048, DESC_WRITE, 0);
	offer(&p, 0, 0);
	put(&p, BUFFER(0), header, sizeof(header));
	put(&p, BUFFER(1), frame, size);
	describe(&p, 1, 0, BUFFER(0), sizeof(header), DESC_NEXT, 1);
	describe(&p, 1, 1, BUFFER(1), size, 0, 0);
	offer(&p, 1, 0);
	CHECK_EQ(vnet_notify(&net, &p.v, &p.env, 1), 0);
	CHECK(!broken());
	if (used_index(&p, 0) == before) {
		p.avail[0]--;
		put16(&p, RING(0) + AVAIL + 2, p.avail[0]);
		return 0;
	}
	return (unsigned)get(&p, RING(0) + USED + 4 + before % VRING_SIZE_MAX * 8 + 4, 4) - 12;
}

static void put_address(uint8_t *to, uint32_t address)
{
	for (unsigned i = 0; i < 4; i++)
		to[i] = (uint8_t)(address >> 8 * (3 - i));
}

/* As `guest` asks. */
static void make_arp_of(uint64_t guest, uint8_t f[42], uint32_t to)
{
	static const uint8_t kind[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};

	memset(f, 0xff, 42);
	vnet_mac(guest, f + 6);
	memcpy(f + 12, kind, sizeof(kind));
	vnet_mac(guest, f + 22);
	put_address(f + 28, vnet_gateway(guest) + 1);
	put_address(f + 38, to);
}

static void make_arp(uint8_t f[42], uint32_t to)
{
	make_arp_of(GUEST, f, to);
}

static const uint8_t gateway_mac[] = {2, 0xc7, 0xee, 0, 0, 1};

/* From GUEST to its gateway. */
static const uint8_t ping[] = {8, 0, 0x45, 0, 0, 29, 0, 0, 0, 0, 64, 1, 0xaf, 0xf5,
	0x64, 0x40, 0x01, 0x36, 0x64, 0x40, 0x01, 0x35, 8, 0, 0xb5, 0xfd, 1, 2, 0, 0, 0x41};

#define PING_SIZE (12 + sizeof(ping))

static void make_ping(uint8_t f[PING_SIZE])
{
	memcpy(f, gateway_mac, 6);
	vnet_mac(GUEST, f + 6);
	memcpy(f + 12, ping, sizeof(ping));
}

TEST(only_the_gateway_answers_and_only_arp_and_ping)
{
	uint32_t gateway = vnet_gateway(GUEST);
	uint8_t f[60];

	net = (struct vnet){0};
	start(&vnet_model, GUEST);
	CHECK_EQ(virtio_read(&p.v, 0x44, 2), GUEST << 8);
	make_arp(f, gateway);
	CHECK_EQ(send_frame(f, 42), 42);
	CHECK_EQ(get(&p, BUFFER(2) + 12, 6), 0x4d0000eec706); /* to us */
	CHECK_EQ(get(&p, BUFFER(2) + 12 + 21, 1), 2);
	make_arp(f, gateway + 1);
	CHECK_EQ(send_frame(f, 42), 0);
	make_arp(f, gateway);
	for (unsigned size = 0; size < 42; size++)
		CHECK_EQ(send_frame(f, size), 0);
	make_ping(f);
	CHECK_EQ(send_frame(f, PING_SIZE), PING_SIZE);
	CHECK_EQ(gmem_read(&p.mem, BUFFER(2) + 12, f, PING_SIZE), 0);
	CHECK_EQ(checksum_fold(checksum_add(0, f + 14, 20)), 0);
	CHECK_EQ(checksum_fold(checksum_add(0, f + 34, PING_SIZE - 34)), 0);
	make_ping(f);
	CHECK_EQ(get(&p, BUFFER(2) + 12 + 34, 1), 0);
	CHECK_EQ(get(&p, BUFFER(2) + 12 + 26, 4), get(&p, BUFFER(1) + 30, 4));
	f[42] ^= 1; /* the sum is wrong */
	CHECK_EQ(send_frame(f, PING_SIZE), 0);
	f[42] ^= 1;
	f[17]++; /* longer than the frame */
	CHECK_EQ(send_frame(f, PING_SIZE), 0);
	end();
}

TEST(who_lies_about_itself_gets_no_answer)
{
	const uint32_t gateway = vnet_gateway(GUEST), other = vnet_gateway(GUEST + 1);
	/* Bytes of a frame that are another guest's, the gateway's, or nobody's. */
	static const unsigned arp_bytes[] = {11, 27, 31}, ping_bytes[] = {0, 5, 11};
	uint8_t f[60];

	net = (struct vnet){0};
	start(&vnet_model, GUEST);
	for (unsigned i = 0; i < ARRAY_SIZE(arp_bytes); i++) {
		make_arp(f, gateway);
		f[arp_bytes[i]] ^= 4;
		CHECK_EQ(send_frame(f, 42), 0);
	}
	make_arp(f, gateway);
	memset(f + 28, 0, 4); /* RFC 5227, "Probe": it has no address yet */
	CHECK_EQ(send_frame(f, 42), 42);
	make_arp(f, other);
	CHECK_EQ(send_frame(f, 42), 0);
	make_arp_of(GUEST + 1, f, other);
	CHECK_EQ(send_frame(f, 42), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(ping_bytes); i++) {
		make_ping(f);
		f[ping_bytes[i]] ^= 4;
		CHECK_EQ(send_frame(f, PING_SIZE), 0);
	}
	make_ping(f); /* from the neighbour, with a sum that is right */
	f[29] += 4;
	f[25] -= 4;
	CHECK_EQ(send_frame(f, PING_SIZE), 0);
	make_ping(f); /* to the neighbour's gateway */
	f[33] += 4;
	f[25] -= 4;
	CHECK_EQ(send_frame(f, PING_SIZE), 0);
	make_ping(f);
	CHECK_EQ(send_frame(f, PING_SIZE), PING_SIZE);
	end();
}

/* An answer is written over the index of the ring that it is in answer to, so that there is always more. */
TEST(one_notification_ends_though_the_ring_fills_itself)
{
	const gpa_t index = RING(1) + AVAIL + 2;
	uint8_t f[64] = {0};

	net = (struct vnet){0};
	start(&vnet_model, GUEST);
	make_ping(f);
	f[17] = 32; /* 4 bytes of data, of which two will be flags, and two the index */
	f[25] -= 3;
	store_le16(f + 44, 127);
	memset(f + 36, 0, 2);
	store_be16(f + 36, checksum_fold(checksum_add(0, f + 34, 12)));
	put(&p, BUFFER(1), f, 46);
	describe(&p, 1, 0, BUFFER(0), 12, DESC_NEXT, 1);
	describe(&p, 1, 1, BUFFER(1), 46, 0, 0);
	for (unsigned i = 0; i < VRING_SIZE_MAX; i++) {
		offer(&p, 1, 0);
		describe(&p, 0, i, i < VRING_SIZE_MAX - 1 ? BUFFER(4) : index - 12 - 44, 12 + 46, DESC_WRITE, 0);
		offer(&p, 0, (uint16_t)i);
	}
	CHECK_EQ(vnet_notify(&net, &p.v, &p.env, 1), ERR_AGAIN);
	CHECK_EQ(used_index(&p, 1), VRING_SIZE_MAX);
	CHECK(!broken());
	CHECK_EQ(vnet_notify(&net, &p.v, &p.env, 1), 0);
	CHECK_EQ(used_index(&p, 1), 127);
	end();
}

TEST(a_guest_that_became_another_is_silent_until_it_knows)
{
	uint8_t f[42];

	net = (struct vnet){0};
	start(&vnet_model, GUEST);
	vnet_become(&net, &p.v, GUEST + 1);
	make_arp_of(GUEST + 1, f, vnet_gateway(GUEST + 1));
	CHECK_EQ(send_frame(f, 42), 0);
	CHECK_EQ(net.dropped, 1);
	vnet_release(&net);
	CHECK_EQ(send_frame(f, 42), 42);
	end();
}

TEST(frames_without_a_buffer_for_the_answer_are_lost)
{
	uint8_t f[42];

	net = (struct vnet){0};
	start(&vnet_model, GUEST);
	make_arp(f, vnet_gateway(GUEST));
	put(&p, BUFFER(1), f, 42);
	describe(&p, 1, 0, BUFFER(0), 12, DESC_NEXT, 1);
	describe(&p, 1, 1, BUFFER(1), 42, 0, 0);
	offer(&p, 1, 0);
	CHECK_EQ(vnet_notify(&net, &p.v, &p.env, 1), 0);
	CHECK_EQ(used_index(&p, 1), 1);
	CHECK_EQ(net.dropped, 1);
	end();
}
