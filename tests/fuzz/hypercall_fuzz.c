/*
 * Any calls with any registers, from a guest and its forks, on a machine of paper. Whatever they ask for,
 * each is stopped in the end and all that it had is free again.
 */
#include "tests/fake_vm.h"
#include "tests/unit/test.h"

#define FRAMES 1024
#define TURNS  200
#define OP_TICKS 5000 /* so that a guest which loops over exits ends its slices soon */

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

/* Small, near the ends of something, or anything. */
static uint64_t next_word(void)
{
	static const uint64_t ends[] = {0, FAKE_DATA, 16 * MIB, PAGE_SIZE, 1ull << 32, 1ull << 48,
		1ull << 63, CREEL_MESSAGE_MAX, CREEL_FORK_MAX, CREEL_RANDOM_MAX, STREAM_CAPACITY};
	uint8_t how = next_byte();
	uint64_t v = 0;

	if (how < 0x60)
		return how;
	if (how < 0xe0)
		return ends[how % ARRAY_SIZE(ends)] + next_byte() - 8;
	for (unsigned i = 0; i < sizeof(v); i++)
		v = v << 8 | next_byte();
	return v;
}

static bool any_call(struct core *core, struct vcpu *v, struct vm_exit *out)
{
	static const uint8_t arguments[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10};

	(void)core;
	v->regs[REG_RAX] = left ? next_byte() % (CREEL_CALL_COUNT + 1) : CREEL_CALL_EXIT;
	for (unsigned i = 0; i < ARRAY_SIZE(arguments); i++)
		v->regs[arguments[i]] = next_word();
	*out = (struct vm_exit){.kind = EXIT_IO,
		.rip = out->rip,
		.next_rip = out->rip, /* the next one is made at the same place */
		.io = {.port = CREEL_PORT, .size = 4}};
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fake_op program[] = {{.op = FAKE_HOST}};
	const struct guest_options o = {
		.input_open = true, .max_guests = 20, .max_snapshots = 5, .max_pages = 300};
	struct guest_info g;
	struct snapshot_info s;
	uint64_t id;

	input = data;
	left = size;
	fake_start(1, FRAMES, 0);
	fake_host_op = any_call;
	fake_op_ticks = OP_TICKS;
	uint64_t image = fake_image("fuzz", program, 1);

	CHECK_EQ(guest_run(image, &o, &id), 0);
	CHECK_EQ(guest_input(id, data, size), (int64_t)MIN(size, STREAM_CAPACITY + 0ul));
	fake_run(TURNS);
	for (id = 0; guest_next(id, &g) == 0; id = g.id) {
		if (g.state != GUEST_STOPPED)
			CHECK_EQ(guest_kill(g.id), 0);
		(void)guest_remove(g.id);
	}
	for (id = 0; snapshot_next(id, &s) == 0; id = s.id)
		CHECK_EQ(snapshot_remove(s.id), 0);
	CHECK_EQ(image_remove(image), 0);
	fake_end();
	return 0;
}
