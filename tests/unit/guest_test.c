/* Guests from their image to their end, one call and one verb at a time, on a machine of paper. */
#include "hv/cpu.h"
#include "tests/fake_vm.h"
#include "tests/unit/test.h"

#define FRAMES 4096

#define CALL(...)       {.op = FAKE_CALL, .a = {__VA_ARGS__}}
#define CALL_R(r, ...)  {.op = FAKE_CALL, .from_reg = (r), .a = {__VA_ARGS__}}
#define SET(r, v)       {.op = FAKE_SET, .reg = (r), .a = {v}}
#define ADD(r, v)       {.op = FAKE_ADD, .reg = (r), .a = {v}}
#define COPY(r, from)   {.op = FAKE_SET, .reg = (r), .from_reg = 1, .a = {from}}
#define LOAD(r, at)     {.op = FAKE_LOAD, .reg = (r), .a = {at}}
#define STORE(at, v)    {.op = FAKE_STORE, .a = {at, v}}
#define STORE_R(at, r)  {.op = FAKE_STORE, .from_reg = 2, .a = {at, r}}
#define JUMP(to)        {.op = FAKE_JUMP, .a = {to}}
#define JUMP_0(r, to)   {.op = FAKE_JUMP_0, .reg = (r), .a = {to}}
#define EXIT(status)    CALL(CREEL_CALL_EXIT, status)
#define EXIT_R(r)       CALL_R(2, CREEL_CALL_EXIT, r)
#define SPIN            {.op = FAKE_SPIN}
#define RAISE(kind)     {.op = FAKE_EXIT, .a = {kind}}

static const struct guest_options plain;

static uint64_t run_image(const struct fake_op *ops, unsigned n, const struct guest_options *o)
{
	uint64_t image = fake_image("test", ops, n), id;

	CHECK_EQ(guest_run(image, o, &id), 0);
	CHECK_EQ(image_remove(image), 0);
	return id;
}

#define RUN_WITH(o, ...)                                                                           \
	({                                                                                         \
		static const struct fake_op ops_[] = {__VA_ARGS__};                                \
		run_image(ops_, ARRAY_SIZE(ops_), o);                                              \
	})
#define RUN(...) RUN_WITH(&plain, __VA_ARGS__)

static struct guest_info info_of(uint64_t id)
{
	struct guest_info info;

	CHECK_EQ(guest_get(id, &info), 0);
	return info;
}

static void remove_all(void)
{
	struct guest_info g;
	struct snapshot_info s;

	for (uint64_t id = 0; guest_next(id, &g) == 0; id = g.id) {
		if (g.state != GUEST_STOPPED)
			CHECK_EQ(guest_kill(g.id), 0);
		(void)guest_remove(g.id);
	}
	for (uint64_t id = 0; snapshot_next(id, &s) == 0; id = s.id)
		CHECK_EQ(snapshot_remove(s.id), 0);
}

/* The guest has exited, with this status. */
static void check_exit(uint64_t id, int status)
{
	struct guest_info g = info_of(id);

	if (g.state != GUEST_STOPPED || g.stop != STOP_EXIT || g.exit_status != status)
		fprintf(stderr, "guest is in state %d, stop %d, status %d: %s\n", g.state, g.stop,
			g.exit_status, g.reason);
	CHECK_EQ(g.state, GUEST_STOPPED);
	CHECK_EQ(g.stop, STOP_EXIT);
	CHECK_EQ(g.exit_status, status);
}

static void end(void)
{
	remove_all();
	fake_end();
}

TEST(guest_exits_with_its_status)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(STORE(FAKE_DATA, 5), LOAD(REG_RBX, FAKE_DATA), EXIT_R(REG_RBX));

	fake_run(10);
	check_exit(id, 5);
	CHECK_STR(info_of(id).reason, "exited with status 5");
	end();
}
