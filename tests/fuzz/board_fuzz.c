/*
 * A Linux guest that does anything at its ports, MSRs and memory, and to the rings of its devices,
 * on a machine of paper with all of the hypervisor's core: while it does, it is forked, frozen and
 * rolled back, and clients give it input. It ends at most itself, and all that it had is free
 * again.
 */
#include "hv/cpu.h"
#include "hv/dev/acpi.h"
#include "hv/dev/board.h"
#include "hv/dev/kvmclock.h"
#include "tests/fake_linux.h"
#include "tests/fuzz/virtio_requests.h"

#define FRAMES   2048
#define TURNS    60
#define OP_TICKS 5000

#define RING(slot, queue) ((uint64_t)(0x200000 + (slot)*0x10000 + (queue)*0x1000))
#define AVAIL             0x400u
#define USED              0x800u
#define BUFFER            0x300000ull
#define DESC_SIZE         16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *input;
static size_t left;

static uint8_t next_byte(void)
{
	if (!left)
		return 0;
	left--;
	return *input++;
}

static uint64_t next_bytes(unsigned n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | next_byte();
	return v;
}

static uint64_t next_address(void)
{
	static const uint64_t near[] = {0, BUFFER, BUFFER + PAGE_SIZE, FAKE_LINUX_MEMORY,
		VIRTIO_MEMORY, 1ull << 46, UINT64_MAX, 1ull << 32, FAKE_LINUX_ENTRY, 0xfee00000};
	uint8_t how = next_byte();

	if (how < 0xf0)
		return near[how % ARRAY_SIZE(near)] + next_byte() - 16;
	return next_bytes(8);
}

/* ---- exits ------------------------------------------------------------------------------------ */

static void at_port(struct vcpu *v, struct vm_exit *out, bool in)
{
	static const uint16_t near[] = {UART_PORT, BUS_PORT, BUS_PORT + 4, ACPI_SLEEP_PORT,
		VIRTIO_PORT + VIRTIO_PORTS, CREEL_PORT};
	uint8_t how = next_byte();

	out->kind = EXIT_IO;
	out->io.in = in;
	out->io.size = (uint8_t)(1u << how % 3);
	out->io.port = how < 0x80   ? (uint16_t)(near[how / 3 % ARRAY_SIZE(near)] + next_byte() % 8)
		       : how < 0xf8 ? (uint16_t)(VIRTIO_PORT + VIRTIO_PORTS +
						 next_bytes(2) % (4 * VIRTIO_PORTS))
				    : (uint16_t)next_bytes(2);
	v->regs[REG_RAX] = next_byte() & 1 ? next_byte() : next_bytes(4);
}

static void at_config(struct vcpu *v, struct vm_exit *out, bool data)
{
	uint8_t how = next_byte();

	out->kind = EXIT_IO;
	out->io.in = data && (how & 0x80);
	out->io.size = data ? (uint8_t)(1u << how % 3) : 4;
	out->io.port = data ? (uint16_t)(BUS_PORT + 4 + how / 3 % 4) : BUS_PORT;
	v->regs[REG_RAX] = data ? next_bytes(4) : 1u << 31 | how % 6u << 11 | next_byte();
}

static void at_msr(struct vcpu *v, struct vm_exit *out, bool write)
{
	static const uint32_t near[] = {0x800, 0x808, 0x80f, 0x830, 0x832, 0x6e0, KVMCLOCK_MSR_WALL,
		KVMCLOCK_MSR_CLOCK, 0xc0000080, 0xc0010000, 0x1b, 0x277};
	uint8_t how = next_byte();
	uint64_t value = next_byte() & 1   ? next_byte()
			 : next_byte() & 1 ? next_address()
					   : next_bytes(8);

	out->kind = write ? EXIT_MSR_WRITE : EXIT_MSR_READ;
	v->regs[REG_RCX] =
		how < 0xf0 ? near[how % ARRAY_SIZE(near)] + next_byte() % 16 : next_bytes(4);
	v->regs[REG_RAX] = (uint32_t)value;
	v->regs[REG_RDX] = value >> 32;
}

/* ---- memory ----------------------------------------------------------------------------------- */

/* The guest's own stores, as far as it has the memory. */
static void store(struct guest *g, uint64_t gpa, uint64_t value, unsigned size)
{
	(void)!gmem_write(&g->machine.mem, 0, gpa, &value, size);
}

static void describe(struct guest *g)
{
	unsigned slot = 1 + next_byte() % 4, queue = next_byte() % VIRTIO_QUEUES;
	uint64_t at = RING(slot, queue) + next_byte() % 8 * DESC_SIZE;
	uint8_t flags = next_byte();

	store(g, at, next_address(), 8);
	store(g, at + 8, flags & 0x80 ? next_bytes(4) : next_byte(), 4);
	store(g, at + 12, flags & 0x40 ? flags : flags & 3, 2);
	store(g, at + 14, next_byte() % 9, 2);
}

static void offer(struct guest *g)
{
	unsigned slot = 1 + next_byte() % 4, queue = next_byte() % VIRTIO_QUEUES;
	uint64_t ring = RING(slot, queue) + AVAIL;
	uint8_t n = next_byte();

	for (unsigned i = 0; i < 8; i++)
		store(g, ring + 4 + (n + i) % 64 * 2, next_byte() % 9, 2);
	store(g, ring + 2, n, 2);
}

/* Does to a device what drivers do, as "Device Initialization" has it; a write each. */
static void set_up(struct guest *g)
{
	struct board *b = g->machine.board;
	unsigned slot = 1 + next_byte() % 4;
	struct virtio *v = &b->virtio[slot];
	const struct virtio_env env = {.mem = &g->machine.mem, .core = 0, .lapic = &b->lapic};
	const uint32_t writes[][3] = {{0x14, 1, 3}, {0x08, 4, 0},
		{0x0c, 4, (uint32_t)v->model->features}, {0x08, 4, 1}, {0x0c, 4, 1}, {0x14, 1, 11}};

	for (unsigned i = 0; i < ARRAY_SIZE(writes); i++)
		(void)virtio_write(v, &env, writes[i][0], writes[i][1], writes[i][2]);
	for (unsigned n = 0; n < v->model->queues; n++) {
		const uint32_t queue[][3] = {{0x16, 2, n}, {0x1a, 2, n},
			{0x20, 4, (uint32_t)RING(slot, n)},
			{0x28, 4, (uint32_t)RING(slot, n) + AVAIL},
			{0x30, 4, (uint32_t)RING(slot, n) + USED}, {0x1c, 2, 1}};

		for (unsigned i = 0; i < ARRAY_SIZE(queue); i++)
			(void)virtio_write(v, &env, queue[i][0], queue[i][1], queue[i][2]);
		store(g, VIRTIO_MEMORY + slot * PAGE_SIZE + n * 16, 0xfee00000, 8);
		store(g, VIRTIO_MEMORY + slot * PAGE_SIZE + n * 16 + 8, 0x40 + n, 8);
	}
	(void)virtio_write(v, &env, 0x14, 1, 15);
	(void)virtio_config_write(v, &env, 0x42, 2, 0x8000);
	(void)lapic_write(&b->lapic, 0x80f, 0x1ff);
}

/* A chain as the device wants it, but for a byte, and the notification of it. */
static void request(struct guest *g, struct vcpu *v, struct vm_exit *out)
{
	unsigned slot = 1 + next_byte() % 4, what = next_byte();
	struct virtio *d = &g->machine.board->virtio[slot];
	unsigned type = d->model->type, queue = request_queue(type);
	uint64_t ring = RING(slot, queue), sizes[] = {0, 512, 1};
	uint8_t b[REQUEST_MAX];

	sizes[0] = request_make(b, type, d->value, what);
	if (what & 0x80)
		b[next_byte() % REQUEST_MAX] = next_byte();
	(void)!gmem_write(&g->machine.mem, 0, BUFFER, b, sizeof(b));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		bool writes = i == 2 || type == TYPE_RANDOM || (i == 1 && b[0] != 1);

		store(g, ring + i * DESC_SIZE, BUFFER + i * PAGE_SIZE, 8);
		store(g, ring + i * DESC_SIZE + 8, sizes[i], 4);
		store(g, ring + i * DESC_SIZE + 12,
			(type == TYPE_BLOCK && i < 2 ? 1u : 0) | (writes ? 2u : 0), 2);
		store(g, ring + i * DESC_SIZE + 14, i + 1, 2);
	}
	for (unsigned n = 0; n < d->model->queues; n++) {
		struct vring *q = &d->queue[n];

		if (n != queue && n % 2 == 0) {
			store(g, RING(slot, n), BUFFER + 8 * PAGE_SIZE, 8);
			store(g, RING(slot, n) + 8, 2048ull | 2ull << 32, 8);
		}
		store(g, RING(slot, n) + AVAIL + 4 + q->taken % 64 * 2, 0, 2);
		store(g, RING(slot, n) + AVAIL + 2, q->taken + 1ull, 2);
	}
	out->kind = EXIT_IO;
	out->io.in = false;
	out->io.size = 2;
	out->io.port = (uint16_t)(VIRTIO_PORT + slot * VIRTIO_PORTS + 0x3c);
	v->regs[REG_RAX] = type == TYPE_CONSOLE && what & 0x40 ? 1 + (what & 4) : queue;
}

static void touch(struct vm_exit *out)
{
	out->kind = EXIT_MEMORY;
	out->memory.gpa = next_address();
	out->memory.access = next_byte() & 1 ? GMEM_WRITE : GMEM_READ;
}

static bool any_exit(struct core *core, struct vcpu *v, struct vm_exit *out)
{
	struct guest *g = core->current;

	out->next_rip = out->rip; /* the next one is made at the same place */
	if (!left) {
		out->kind = EXIT_SHUTDOWN;
		return true;
	}
	switch (next_byte() % 20) {
	case 0:
		at_port(v, out, true);
		return true;
	case 1:
	case 2:
	case 3:
		at_port(v, out, false);
		return true;
	case 4:
		at_config(v, out, false);
		return true;
	case 5:
		at_config(v, out, true);
		return true;
	case 6:
		at_msr(v, out, false);
		return true;
	case 7:
		at_msr(v, out, true);
		return true;
	case 8:
		out->kind = next_byte() & 1 ? EXIT_HLT : EXIT_CPUID;
		v->regs[REG_RAX] = next_byte() & 1 ? 0x40000000u + next_byte() : next_byte();
		return true;
	case 9:
		touch(out);
		return true;
	case 10:
		set_up(g);
		return false;
	case 11:
	case 12:
		describe(g);
		return false;
	case 13:
		offer(g);
		return false;
	case 14:
	case 15:
	case 16:
	case 17:
		request(g, v, out);
		return true;
	default: /* a notification, as the driver makes it */
		out->kind = EXIT_IO;
		out->io.in = false;
		out->io.size = 2;
		out->io.port =
			(uint16_t)(VIRTIO_PORT + (1 + next_byte() % 4) * VIRTIO_PORTS + 0x3c);
		v->regs[REG_RAX] = next_byte() % 6;
		return true;
	}
}

/* ---- clients ---------------------------------------------------------------------------------- */

static void look_at(uint64_t id)
{
	static uint8_t out[512];
	struct guest_info info;

	CHECK_EQ(guest_get(id, &info), 0);
	CHECK(strlen(info.reason) < sizeof(info.reason));
	for (unsigned s = STREAM_OUT; s < STREAM_OUT_END; s++) {
		uint64_t at = 0;
		bool ended;

		CHECK(guest_output(id, (enum guest_stream)s, &at, out, sizeof(out), &ended) <=
			(int64_t)sizeof(out));
	}
}

static void clients(uint64_t guest, uint64_t *snapshot)
{
	const struct guest_options o = {.input_open = true};
	uint64_t fork;

	switch (next_byte() % 8) {
	case 0:
		(void)guest_input(guest, input, MIN(left, (size_t)40));
		break;
	case 1:
		(void)guest_agent_send(guest, input, MIN(left, (size_t)40));
		break;
	case 2:
		if (!*snapshot)
			(void)guest_snapshot(guest, OWNER_HOST, "", snapshot);
		break;
	case 3:
		(void)guest_fork(guest, &o, &fork);
		break;
	case 4:
		if (*snapshot)
			(void)guest_rollback(guest, *snapshot);
		break;
	default:
		look_at(guest);
		break;
	}
}

static void clean_up(void)
{
	struct guest_info g;
	struct snapshot_info s;
	uint64_t id;

	for (id = 0; guest_next(id, &g) == 0; id = g.id) {
		look_at(g.id);
		if (g.state != GUEST_STOPPED)
			CHECK_EQ(guest_kill(g.id), 0);
		(void)guest_remove(g.id);
	}
	for (id = 0; snapshot_next(id, &s) == 0; id = s.id)
		CHECK_EQ(snapshot_remove(s.id), 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct guest_options o = {.input_open = true, .max_guests = 8, .max_pages = 800};
	uint64_t id, snapshot = 0;

	input = data;
	left = size;
	fake_start(1, FRAMES, 0);
	fake_host_op = any_exit;
	fake_op_ticks = OP_TICKS;
	uint64_t image = fake_linux_image("fuzz");

	CHECK_EQ(guest_run(image, &o, &id), 0);
	for (unsigned i = 0; i < TURNS; i++) {
		if (left)
			clients(id, &snapshot);
		fake_run(1);
	}
	clean_up();
	CHECK_EQ(image_remove(image), 0);
	fake_end();
	return 0;
}
