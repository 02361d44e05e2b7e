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

/* ---- the world around a test ------------------------------------------------------------------ */

/* From here on frames are only in quarantine, for core 1: allocation says "try again". The core that is
 * waited for has entered a guest, and not left it since. */
static void starve(uint64_t *spare)
{
	uint64_t doomed = RUN(SPIN);

	fake_turn(1);
	*spare = RUN(SPIN);
	fake_turn(1);
	CHECK_EQ(guest_kill(doomed), 0);
	CHECK_EQ(guest_remove(doomed), 0);
	fake_reap();
	for (unsigned i = 0; i < core_count; i++)
		frame_core_drain(&hv.pool, i);
	CHECK(hv.pool.quarantine_used != 0);
	hv.pool.reserve = hv.pool.total;
}

static void feed(void)
{
	hv.pool.reserve = 0;
}

static struct guest *guest_by_id(uint64_t id)
{
	struct object *o = registry_find(&hv.registry, id, OBJECT_GUEST);

	CHECK(o);
	object_unpin(&hv.registry, o, 0);
	return guest_of(o);
}

static void type(uint64_t id, const char *text)
{
	CHECK_EQ(guest_input(id, (const uint8_t *)text, strlen(text)), (int64_t)strlen(text));
}

static void check_output(uint64_t id, enum guest_stream stream, const char *text)
{
	char buf[256] = "";
	uint64_t position = 0;
	bool at_end;
	int64_t n = guest_output(id, stream, &position, (uint8_t *)buf, sizeof(buf) - 1, &at_end);

	CHECK_EQ(n, strlen(text));
	CHECK_STR(buf, text);
}

#define INFO_ID     (FAKE_DATA + offsetof(struct creel_info, id))
#define INFO_PARENT (FAKE_DATA + offsetof(struct creel_info, parent))

/* Its own id comes to RBX, its parent's to RBP. */
#define GET_INFO                                                                                   \
	CALL(CREEL_CALL_INFO, FAKE_DATA, sizeof(struct creel_info)), LOAD(REG_RBX, INFO_ID),       \
		LOAD(REG_RBP, INFO_PARENT)
#define GET_INFO_OPS 3

/* ---- how guests end --------------------------------------------------------------------------- */

TEST(guest_is_stopped_for_what_it_does_wrong)
{
	fake_start(1, FRAMES, 0);
	uint64_t below = RUN(LOAD(REG_RBX, 0)), above = RUN(STORE(16 * MIB, 1));
	uint64_t halted = RUN(RAISE(EXIT_HLT)), dead = RUN(RAISE(EXIT_SHUTDOWN));
	uint64_t invalid = RUN(RAISE(EXIT_INVALID));

	fake_exit = (struct vm_exit){.invalid = 0x21};
	fake_run(10);
	CHECK_EQ(info_of(below).stop, STOP_BAD_ADDRESS);
	CHECK_STR(info_of(below).reason, "touched address 0x0, where it has no memory, at 0x10000");
	CHECK_EQ(info_of(above).stop, STOP_BAD_ADDRESS);
	CHECK_EQ(info_of(halted).stop, STOP_HALTED);
	CHECK_EQ(info_of(dead).stop, STOP_TRIPLE_FAULT);
	CHECK_EQ(info_of(invalid).stop, STOP_BAD_STATE);
	fake_exit = (struct vm_exit){.forbidden = FORBIDDEN_STRING_IO};
	uint64_t strings = RUN(RAISE(EXIT_FORBIDDEN));

	fake_run(10);
	CHECK_EQ(info_of(strings).stop, STOP_FORBIDDEN);
	CHECK_STR(info_of(strings).reason,
		"used an instruction that no guest may at 0x10000: string I/O");
	CHECK_EQ(guest_kill(strings), ERR_BUSY);
	end();
}

TEST(guest_crash_text_is_made_printable)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(STORE(FAKE_DATA, 0x0a1b6f6c6c6568ull), CALL(CREEL_CALL_CRASH, FAKE_DATA, 7));
	uint64_t lost = RUN(CALL(CREEL_CALL_CRASH, UINT64_MAX - 3, 7));
	uint64_t endless = RUN(CALL(CREEL_CALL_CRASH, FAKE_DATA, UINT64_MAX));

	fake_run(10);
	CHECK_STR(info_of(id).reason, "crashed: hello??");
	CHECK_STR(info_of(lost).reason, "crashed: ");
	CHECK_EQ(strlen(info_of(endless).reason), GUEST_REASON_MAX - 1);
	end();
}

TEST(exits_inject_or_go_on_and_nothing_else_changes)
{
	static const enum vm_forbidden undefined[] = {FORBIDDEN_VMX, FORBIDDEN_SVM,
		FORBIDDEN_HYPERCALL_INSTRUCTION, FORBIDDEN_MONITOR, FORBIDDEN_PMC, FORBIDDEN_OTHER};

	fake_start(1, FRAMES, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(undefined); i++) {
		uint64_t id = RUN(RAISE(EXIT_FORBIDDEN), EXIT(1));

		fake_exit = (struct vm_exit){.forbidden = undefined[i]};
		fake_turn(0);
		/* The paper processor delivers nothing: the guest meets the instruction again. */
		CHECK_EQ(info_of(id).state, GUEST_RUNNABLE);
		CHECK(info_of(id).exits > 5);
		CHECK_EQ(guest_kill(id), 0);
		CHECK_EQ(guest_remove(id), 0);
	}
	uint64_t id = RUN(SET(REG_RAX, 0x1122334455667788), RAISE(EXIT_IO), EXIT_R(REG_RAX));

	fake_exit = (struct vm_exit){.io = {.port = 0x60, .size = 1, .in = true}};
	fake_run(10);
	check_exit(id, 0x556677ff);
	id = RUN(SET(REG_RAX, 0x1122334455667788), RAISE(EXIT_IO), EXIT_R(REG_RAX));
	fake_exit = (struct vm_exit){.io = {.port = CREEL_PORT, .size = 2}};
	fake_run(10);
	check_exit(id, 0x55667788);
	end();
}

TEST(cr_and_xsetbv_writes_are_checked)
{
	fake_start(1, FRAMES, 0);
	uint64_t bad = RUN(RAISE(EXIT_CR), EXIT(1));

	fake_exit = (struct vm_exit){.cr = {.number = 4, .value = CR4_VMXE}};
	fake_turn(0);
	CHECK_EQ(info_of(bad).state, GUEST_RUNNABLE); /* at the same instruction, with #GP */
	CHECK_EQ(guest_kill(bad), 0);
	uint64_t good = RUN(RAISE(EXIT_CR), EXIT(2));

	fake_exit = (struct vm_exit){.cr = {.number = 4, .value = CR4_PAE | CR4_OSXSAVE}};
	fake_run(10);
	check_exit(good, 2);
	good = RUN(SET(REG_RAX, 3), RAISE(EXIT_XSETBV), EXIT(3));
	bad = RUN(SET(REG_RAX, 4), RAISE(EXIT_XSETBV), EXIT(3));
	fake_turn(0);
	fake_turn(0);
	check_exit(good, 3);
	CHECK_EQ(info_of(bad).state, GUEST_RUNNABLE);
	end();
}

TEST(msrs_by_allow_list)
{
	fake_start(1, FRAMES, 0);
	uint64_t pat = RUN(SET(REG_RCX, MSR_PAT), SET(REG_RAX, 0x06060606), SET(REG_RDX, 0x06060606),
		RAISE(EXIT_MSR_WRITE), SET(REG_RAX, 0), RAISE(EXIT_MSR_READ), EXIT_R(REG_RAX));
	uint64_t reserved = RUN(SET(REG_RCX, MSR_PAT), SET(REG_RAX, 2), RAISE(EXIT_MSR_WRITE), EXIT(1));
	uint64_t efer = RUN(SET(REG_RCX, MSR_EFER), SET(REG_RAX, 0), RAISE(EXIT_MSR_WRITE), EXIT(1));
	uint64_t other = RUN(SET(REG_RCX, MSR_APIC_BASE), RAISE(EXIT_MSR_READ), EXIT(1));

	for (unsigned i = 0; i < 8; i++)
		fake_turn(0);
	check_exit(pat, 0x06060606);
	CHECK_EQ(info_of(reserved).state, GUEST_RUNNABLE);
	CHECK_EQ(info_of(efer).state, GUEST_RUNNABLE);
	CHECK_EQ(info_of(other).state, GUEST_RUNNABLE);
	end();
}

/* ---- calls ------------------------------------------------------------------------------------ */

TEST(calls_that_do_not_exist_are_refused)
{
	fake_start(1, FRAMES, 0);
	uint64_t low = RUN(CALL(CREEL_CALL_COUNT), EXIT_R(REG_RAX));
	uint64_t high = RUN(CALL(UINT64_MAX), EXIT_R(REG_RAX)), wide = RUN(CALL(1ull << 32), EXIT_R(REG_RAX));

	fake_run(10);
	check_exit(low, CREEL_EINVAL);
	check_exit(high, CREEL_EINVAL);
	check_exit(wide, CREEL_EINVAL);
	end();
}

TEST(arguments_are_read_in_parts)
{
	static char strings[20000];
	struct guest_options o = {.args = strings, .args_size = sizeof(strings), .argc = 1, .envc = 1};

	memset(strings, 'a', sizeof(strings));
	strings[9999] = strings[19999] = 0;
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN_WITH(&o, CALL(CREEL_CALL_ARGS, FAKE_DATA, UINT64_MAX), COPY(REG_RBX, REG_RAX),
		LOAD(REG_RBP, FAKE_DATA + 9992), CALL(CREEL_CALL_WRITE, CREEL_STDOUT, FAKE_DATA + 9992, 9),
		EXIT_R(REG_RBX));

	fake_run(10);
	check_exit(id, 20000);
	CHECK_EQ(info_of(id).stream_bytes[STREAM_OUT], 9);
	o.argc = 2;
	uint64_t image = fake_image("x", (struct fake_op[]){SPIN}, 1), none;

	CHECK_EQ(guest_run(image, &o, &none), ERR_INVALID);
	o.args_size = GUEST_ARGS_MAX + 1;
	CHECK_EQ(guest_run(image, &o, &none), ERR_TOOBIG);
	CHECK_EQ(image_remove(image), 0);
	end();
}

TEST(options_are_checked_by_run_as_by_fork)
{
	fake_start(1, FRAMES, 0);
	uint64_t image = fake_image("x", (struct fake_op[]){SPIN}, 1), id;
	struct guest_options o = {.weight = GUEST_WEIGHT_MAX + 1};

	CHECK_EQ(guest_run(image, &o, &id), ERR_RANGE);
	o = (struct guest_options){.name = "123"};
	CHECK_EQ(guest_run(image, &o, &id), ERR_INVALID);
	o = (struct guest_options){.name = "a b"};
	CHECK_EQ(guest_run(image, &o, &id), ERR_INVALID);
	o = (struct guest_options){.memory = UINT64_MAX};
	CHECK_EQ(guest_run(image, &o, &id), ERR_RANGE);
	o = (struct guest_options){.memory = PAGE_SIZE};
	CHECK_EQ(guest_run(image, &o, &id), ERR_RANGE);
	o = (struct guest_options){.name = "a", .memory = 2 * MIB + 1};
	CHECK_EQ(guest_run(image, &o, &id), 0);
	CHECK_EQ(info_of(id).memory, 2 * MIB + PAGE_SIZE);
	CHECK_EQ(guest_run(image, &o, &id), ERR_EXIST);
	CHECK_EQ(image_remove(image), 0);
	end();
}

TEST(guests_read_what_is_typed_and_write_what_is_read)
{
	struct guest_options o = {.input_open = true};
	uint64_t position;

	fake_start(1, FRAMES, 0);
	uint64_t id = RUN_WITH(&o, CALL(CREEL_CALL_READ, CREEL_STDIN, FAKE_DATA, 100, CREEL_FOREVER),
		JUMP_0(REG_RAX, 4), CALL_R(8, CREEL_CALL_WRITE, CREEL_STDOUT, FAKE_DATA, REG_RAX), JUMP(0),
		EXIT(0));

	fake_run(10);
	CHECK_EQ(info_of(id).state, GUEST_WAITING);
	type(id, "hello ");
	fake_run(10);
	type(id, "world");
	CHECK_EQ(guest_input_end(id), 0);
	fake_run(10);
	check_exit(id, 0);
	check_output(id, STREAM_OUT, "hello world");
	CHECK_EQ(guest_input(id, (const uint8_t *)"x", 1), ERR_CLOSED);
	CHECK_EQ(guest_reader_open(id, STREAM_OUT, &position), 0);
	end();
}

TEST(a_reader_makes_the_writer_wait)
{
	uint64_t position, news_id;
	unsigned news;

	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(CALL(CREEL_CALL_WRITE, CREEL_STDOUT, FAKE_DATA, 60000),
		CALL(CREEL_CALL_WRITE, CREEL_STDOUT, FAKE_DATA, 60000), COPY(REG_RBX, REG_RAX),
		CALL(CREEL_CALL_WRITE, CREEL_STDOUT, FAKE_DATA, 60000), EXIT_R(REG_RAX));
	int slot = guest_reader_open(id, STREAM_OUT, &position);

	CHECK_EQ(slot, 0);
	fake_run(10);
	CHECK_EQ(info_of(id).state, GUEST_WAITING);
	CHECK_EQ(info_of(id).stream_bytes[STREAM_OUT], 65536);
	CHECK(guest_news(&news_id, &news));
	CHECK_EQ(news_id, id);
	CHECK(news & NEWS_OUTPUT);
	guest_reader_done(id, STREAM_OUT, slot, 100);
	fake_run(10);
	check_exit(id, 100);
	guest_reader_close(id, STREAM_OUT, slot);
	end();
}

TEST(input_waits_for_room_and_says_when_there_is_some)
{
	static uint8_t much[100000];
	struct guest_options o = {.input_open = true};
	uint64_t news_id;
	unsigned news;

	fake_start(1, FRAMES, 0);
	uint64_t id = RUN_WITH(&o, CALL(CREEL_CALL_SLEEP, 5000000),
		CALL(CREEL_CALL_READ, CREEL_STDIN, FAKE_DATA, 1000, CREEL_FOREVER), SPIN);

	CHECK_EQ(guest_input(id, much, sizeof(much)), 65536);
	CHECK_EQ(guest_input(id, much, 10), ERR_AGAIN);
	fake_turn(0);
	CHECK(!guest_news(&news_id, &news));
	fake_run(10);
	CHECK(guest_news(&news_id, &news));
	CHECK(news & NEWS_INPUT);
	CHECK_EQ(guest_input(id, much, sizeof(much)), 1000);
	end();
}

TEST(deadlines_are_on_the_guests_own_clock)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(CALL(CREEL_CALL_SLEEP, 3000000), CALL(CREEL_CALL_CLOCK, CREEL_CLOCK_MONOTONIC),
		STORE_R(FAKE_DATA, REG_RAX),
		CALL(CREEL_CALL_READ, CREEL_STDIN, FAKE_DATA + 8, 8, 4000000), SPIN);
	struct guest_options open = {.input_open = true};
	uint64_t reader = RUN_WITH(&open, CALL(CREEL_CALL_READ, CREEL_STDIN, FAKE_DATA, 8, 100),
		EXIT_R(REG_RAX));
	uint64_t never = RUN(CALL(CREEL_CALL_SLEEP, CREEL_FOREVER)), far = RUN(CALL(CREEL_CALL_SLEEP, CREEL_FOREVER - 1));

	for (unsigned i = 0; i < 6; i++)
		fake_turn(0);
	CHECK_EQ(info_of(id).state, GUEST_WAITING);
	CHECK_EQ(guest_pause(id), 0);
	fake_advance(1000000000);
	CHECK_EQ(guest_resume(id), 0);
	fake_turn(0);
	CHECK_EQ(info_of(id).state, GUEST_WAITING); /* its clock stood still meanwhile */
	fake_run(20);
	uint64_t woke;

	CHECK_EQ(gmem_read(&guest_by_id(id)->machine.mem, FAKE_DATA, &woke, 8), 0);
	CHECK(woke >= 3000000 && woke < 4000000);
	check_exit(reader, CREEL_EAGAIN);
	CHECK_EQ(info_of(never).state, GUEST_WAITING);
	CHECK_EQ(info_of(far).state, GUEST_WAITING);
	end();
}

/* ---- snapshot, fork, rollback ----------------------------------------------------------------- */

TEST(fork_returns_in_parent_and_children)
{
	fake_start(1, FRAMES, 0);
	/* A child exits with 100 + its index, the parent with how many it made. */
	uint64_t id = RUN({.op = FAKE_VECTOR, .a = {77}}, STORE(FAKE_DATA, 1),
		CALL(CREEL_CALL_FORK, 70, FAKE_DATA + 4096, CREEL_FORK_KEEP), COPY(REG_RBX, REG_RAX),
		COPY(REG_RBP, REG_RDX), JUMP_0(REG_RBX, 8), CALL(CREEL_CALL_CHILDREN, 0, CREEL_FOREVER),
		EXIT_R(REG_RBX), ADD(REG_RBP, 100), EXIT_R(REG_RBP));
	struct guest_info g;
	unsigned children = 0;

	fake_run(300);
	check_exit(id, 70);
	for (uint64_t at = id; guest_next(at, &g) == 0; at = g.id) {
		CHECK_EQ(g.parent, id);
		CHECK_EQ(g.lineage, id);
		CHECK_EQ(g.generation, info_of(id).generation + ++children);
		check_exit(g.id, 100 + (int)children);
	}
	CHECK_EQ(children, 70);
	CHECK_EQ(info_of(id).children, 0);
	end();
}

TEST(fork_is_bounded_by_the_budget)
{
	struct guest_options o = {.max_guests = 5};

	fake_start(1, FRAMES, 0);
	uint64_t id = RUN_WITH(&o, CALL(CREEL_CALL_FORK, 100, 0, 0), JUMP_0(REG_RAX, 4), CALL(CREEL_CALL_FORK, 1, 0, 0),
		SPIN, CALL(CREEL_CALL_SLEEP, CREEL_FOREVER));

	for (unsigned i = 0; i < 20; i++)
		fake_turn(0);
	CHECK_EQ(info_of(id).forks, 5);
	CHECK_EQ(info_of(id).children, 5);
	CHECK_EQ((int64_t)guest_by_id(id)->machine.vcpu.regs[REG_RAX], CREEL_ELIMIT);
	end();
}

TEST(a_guest_comes_back_to_its_snapshot)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(STORE(FAKE_DATA, 1), CALL(CREEL_CALL_SNAPSHOT), JUMP_0(REG_RAX, 5), STORE(FAKE_DATA, 2),
		CALL_R(2, CREEL_CALL_ROLLBACK, REG_RAX), LOAD(REG_RBX, FAKE_DATA), EXIT_R(REG_RBX));
	uint64_t generation = info_of(id).generation;

	fake_run(10);
	check_exit(id, 1);
	CHECK(info_of(id).generation > generation);
	end();
}

/* What a client takes of its guest does not count against that guest, but against the client. */
TEST(owners_have_names_and_budgets_of_their_own)
{
	const uint64_t limit[BUDGET_KINDS] = {2000, 2, 1};
	struct guest_options o = {.name = "web", .max_snapshots = 1};
	uint64_t image, first, second, snapshot, id;
	struct thing_brief brief;
	struct host_info info;
	uint16_t alice, again, bob;

	fake_start(1, FRAMES, 0);
	CHECK_EQ(owner_add("alice", limit, &alice), 0);
	CHECK_EQ(owner_add("alice", NULL, &again), 0);
	CHECK_EQ(owner_add("bob", NULL, &bob), 0);
	CHECK_EQ(alice, again);
	image = fake_image("i", (struct fake_op[]){STORE(FAKE_DATA, 5), SPIN}, 2);
	o.owner = alice;
	CHECK_EQ(guest_run(image, &o, &first), 0);
	CHECK_EQ(guest_run(image, &o, &id), ERR_EXIST);
	o.owner = bob;
	CHECK_EQ(guest_run(image, &o, &second), 0);
	CHECK_EQ(thing_find(THING_GUEST, alice, "web", &id), 0);
	CHECK_EQ(id, first);
	CHECK_EQ(thing_find(THING_GUEST, bob, "web", &id), 0);
	CHECK_EQ(id, second);
	CHECK_EQ(thing_find(THING_GUEST, OWNER_HOST, "web", &id), ERR_NOENT);
	fake_turn(0);
	struct guest *g = guest_by_id(first);
	uint64_t before = budget_used(g->budget, BUDGET_PAGES);
	uint64_t all = budget_used(owner_budget(alice), BUDGET_PAGES);

	CHECK_EQ(all, before);
	CHECK_EQ(guest_snapshot(first, alice, "s", &snapshot), 0);
	CHECK(budget_used(g->budget, BUDGET_PAGES) < before);
	CHECK(budget_used(owner_budget(alice), BUDGET_PAGES) >= all);
	CHECK_EQ(budget_used(g->budget, BUDGET_SNAPSHOTS), 0);
	CHECK_EQ(guest_snapshot(first, alice, "t", &id), ERR_LIMIT);
	CHECK_EQ(thing_look(snapshot, &brief), 0);
	CHECK(brief.kind == THING_SNAPSHOT && brief.owner == alice && !brief.public);
	CHECK_EQ(thing_publish(snapshot, true), 0);
	CHECK_EQ(thing_publish(first, true), ERR_NOENT);
	CHECK_EQ(thing_look(snapshot, &brief), 0);
	CHECK(brief.public);
	host_info(&info, alice);
	CHECK_EQ(info.guests, 1);
	CHECK_EQ(info.snapshots, 1);
	CHECK_EQ(info.images, 0);
	CHECK_EQ(info.frames_total, 2000);
	CHECK_EQ(info.frames_free, 2000 - budget_used(owner_budget(alice), BUDGET_PAGES));
	/* a second guest is all that alice may have; bob is not bound by it */
	o = (struct guest_options){.owner = alice};
	CHECK_EQ(guest_fork(snapshot, &o, &id), 0);
	CHECK_EQ(guest_fork(first, &o, &id), ERR_LIMIT);
	o.owner = bob;
	CHECK_EQ(guest_fork(snapshot, &o, &id), 0);
	CHECK_EQ(image_remove(image), 0);
	remove_all();
	fake_reap();
	CHECK_EQ(budget_used(owner_budget(alice), BUDGET_PAGES), 0);
	budget_put(&hv.pool, owner_budget(alice));
	end();
}

static void pass_ms(uint64_t ms)
{
	fake_advance(ms * FAKE_KHZ);
}

TEST(deadlines_count_paused_or_not_and_bind_forks)
{
	struct guest_options o = {.timeout_ns = 1000000000, .labels = "app=web"};
	struct guest_options still = {.timeout_ns = 1000000000, .timeout_running = true};
	uint64_t snapshot;

	fake_start(1, FRAMES, 0);
	CHECK_EQ(guest_deadline_us(), UINT64_MAX);
	uint64_t counted = RUN_WITH(&o, SPIN), paused = RUN_WITH(&still, SPIN);
	uint64_t parent = RUN_WITH(&o, CALL(CREEL_CALL_FORK, 1, 0, CREEL_FORK_KEEP), SPIN);

	fake_run(3);
	uint64_t child = parent + 1;

	CHECK_EQ(info_of(child).parent, parent);
	CHECK_EQ(info_of(child).timeout_ns, o.timeout_ns);
	CHECK_STR(info_of(child).labels, "app=web");
	CHECK(guest_deadline_us() < UINT64_MAX);
	CHECK_EQ(guest_pause(counted), 0);
	CHECK_EQ(guest_pause(paused), 0);
	pass_ms(800);
	guest_expire();
	CHECK_EQ(info_of(counted).state, GUEST_PAUSED);
	CHECK(info_of(counted).deadline_ns < 200000000);
	CHECK(info_of(paused).deadline_ns > 800000000);
	CHECK_EQ(guest_snapshot(parent, OWNER_HOST, "", &snapshot), 0);
	pass_ms(200);
	guest_expire();
	CHECK_EQ(info_of(counted).stop, STOP_DEADLINE);
	CHECK_STR(info_of(counted).reason, "its time is over: it was given 1000 ms");
	CHECK_EQ(info_of(parent).stop, STOP_DEADLINE);
	CHECK_EQ(info_of(child).stop, STOP_DEADLINE);
	CHECK_EQ(info_of(paused).state, GUEST_PAUSED);
	CHECK_EQ(guest_resume(paused), 0);
	pass_ms(700);
	guest_expire();
	CHECK_EQ(info_of(paused).state, GUEST_RUNNABLE);
	pass_ms(400);
	guest_expire();
	CHECK_EQ(info_of(paused).stop, STOP_DEADLINE);
	/* one that is brought back has its time anew, and a new one may be given */
	CHECK_EQ(guest_timeout(parent, 5, false), ERR_BUSY);
	CHECK_EQ(guest_rollback(parent, snapshot), 0);
	guest_expire();
	CHECK(info_of(parent).deadline_ns > 900000000);
	CHECK_EQ(guest_timeout(parent, 3000000000, false), 0);
	pass_ms(2900);
	guest_expire();
	CHECK_EQ(info_of(parent).state, GUEST_RUNNABLE);
	CHECK_EQ(guest_timeout(parent, 0, false), 0);
	pass_ms(100000);
	guest_expire();
	CHECK_EQ(info_of(parent).state, GUEST_RUNNABLE);
	end();
}

TEST(rollback_of_a_stopped_guest_brings_it_back)
{
	struct guest_options o = {.input_open = true};
	uint64_t snapshot;

	fake_start(1, FRAMES, 0);
	uint64_t id = RUN_WITH(&o, STORE(FAKE_DATA, 9),
		CALL(CREEL_CALL_READ, CREEL_STDIN, FAKE_DATA + 64, 8, CREEL_FOREVER), LOAD(REG_RBX, FAKE_DATA),
		EXIT_R(REG_RBX));

	fake_run(10);
	CHECK_EQ(guest_snapshot(id, OWNER_HOST, "waiting", &snapshot), 0);
	for (int i = 0; i < 3; i++) {
		type(id, "x");
		fake_run(10);
		check_exit(id, 9);
		CHECK_EQ(guest_rollback(id, snapshot), 0);
		fake_run(10);
		CHECK_EQ(info_of(id).state, GUEST_WAITING);
	}
	CHECK_EQ(guest_pause(id), 0);
	CHECK_EQ(guest_rollback(id, snapshot), 0);
	CHECK_EQ(info_of(id).state, GUEST_PAUSED);
	CHECK_EQ(guest_resume(id), 0);
	uint64_t stranger = RUN(SPIN);

	CHECK_EQ(guest_rollback(stranger, snapshot), ERR_PERM);
	end();
}

TEST(a_snapshot_waits_for_frames_that_are_on_their_way)
{
	uint64_t spare;

	fake_start(2, FRAMES, 0);
	uint64_t id = RUN(CALL(CREEL_CALL_SLEEP, 1000), CALL(CREEL_CALL_SNAPSHOT), EXIT(1));

	fake_turn(0);
	starve(&spare);
	fake_advance(2000);
	for (unsigned i = 0; i < 3; i++)
		fake_turn(0);
	CHECK_EQ(info_of(id).state, GUEST_RUNNABLE);
	feed();
	for (unsigned i = 0; i < 3; i++)
		fake_turn(0);
	check_exit(id, 1);
	struct snapshot_info s;

	CHECK_EQ(snapshot_next(0, &s), 0);
	end();
}

/* ---- messages --------------------------------------------------------------------------------- */

TEST(messages_pass_within_a_lineage_only)
{
	fake_start(1, FRAMES, 0);
	uint64_t other = RUN(SPIN);
	uint64_t id = RUN(GET_INFO, CALL_R(2, CREEL_CALL_SEND, REG_RBX, FAKE_DATA, 5, 0),
		CALL(CREEL_CALL_RECEIVE, FAKE_DATA + 512, 100, 0), EXIT_R(REG_RAX));
	uint64_t foreign = RUN(CALL(CREEL_CALL_SEND, 2, FAKE_DATA, 5, 0), EXIT_R(REG_RAX));

	CHECK_EQ(other, 3); /* upload, image, guest */
	fake_run(3);
	check_exit(id, 5);
	check_exit(foreign, CREEL_ENOENT);
	end();
}

TEST(a_full_mailbox_makes_senders_wait_until_half_is_free)
{
	fake_start(1, FRAMES, 0);
	/* The child sends 8 messages of 16,000 bytes; the parent sleeps, then takes them. */
	uint64_t id = RUN(CALL(CREEL_CALL_FORK, 1, 0, CREEL_FORK_KEEP), JUMP_0(REG_RAX, 9),
		CALL(CREEL_CALL_SLEEP, 50000000), SET(REG_RBX, 8),
		CALL(CREEL_CALL_RECEIVE, FAKE_DATA, 20000, CREEL_FOREVER), ADD(REG_RBX, UINT64_MAX),
		JUMP_0(REG_RBX, 8), JUMP(4), EXIT_R(REG_RAX), SET(REG_RBX, 8),
		CALL(CREEL_CALL_SEND, 0, FAKE_DATA, 16000, CREEL_FOREVER), ADD(REG_RBX, UINT64_MAX),
		JUMP_0(REG_RBX, 14), JUMP(10), EXIT_R(REG_RAX));
	struct guest_info child;

	for (unsigned i = 0; i < 5; i++)
		fake_turn(0);
	CHECK_EQ(guest_next(id, &child), 0);
	CHECK_EQ(info_of(child.id).state, GUEST_WAITING);
	fake_run(100);
	check_exit(id, 16000);
	check_exit(child.id, 0);
	end();
}

TEST(a_sender_learns_that_the_receiver_is_gone)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(CALL(CREEL_CALL_FORK, 1, 0, CREEL_FORK_KEEP), JUMP_0(REG_RAX, 3), SPIN,
		CALL(CREEL_CALL_SEND, 0, FAKE_DATA, 16000, CREEL_FOREVER), JUMP_0(REG_RAX, 3), EXIT_R(REG_RAX));
	struct guest_info child;

	for (unsigned i = 0; i < 10; i++)
		fake_turn(0);
	CHECK_EQ(guest_next(id, &child), 0);
	CHECK_EQ(info_of(child.id).state, GUEST_WAITING);
	CHECK_EQ(guest_kill(id), 0);
	fake_run(10);
	check_exit(child.id, CREEL_EPIPE);
	end();
}

TEST(a_sender_does_not_take_scarce_frames_for_a_full_mailbox)
{
	uint64_t spare;

	fake_start(2, FRAMES, 0);
	uint64_t id = RUN(GET_INFO, CALL(CREEL_CALL_SLEEP, 10000),
		CALL_R(2, CREEL_CALL_SEND, REG_RBX, FAKE_DATA, 8, CREEL_FOREVER), EXIT_R(REG_RAX));

	fake_turn(0);
	starve(&spare);
	fake_advance(20000);
	fake_turn(0);
	fake_turn(0);
	CHECK_EQ(info_of(id).state, GUEST_RUNNABLE);
	feed();
	fake_turn(0);
	fake_turn(0);
	check_exit(id, 0);
	end();
}

TEST(a_receiver_without_memory_is_paused_and_goes_on_later)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(GET_INFO, CALL_R(2, CREEL_CALL_SEND, REG_RBX, FAKE_DATA, 8000, CREEL_FOREVER),
		CALL(CREEL_CALL_SLEEP, 10000), CALL(CREEL_CALL_RECEIVE, FAKE_DATA + 0x10000, 8000, 0),
		EXIT_R(REG_RAX));

	fake_turn(0);
	CHECK_EQ(guest_limit(id, info_of(id).budget_pages + 1, 0, 0), 0);
	fake_run(20);
	CHECK_EQ(info_of(id).state, GUEST_PAUSED);
	CHECK_EQ(info_of(id).stop, STOP_MEMORY_LIMIT);
	CHECK_EQ(guest_limit(id, 1000, 0, 0), 0);
	fake_run(20);
	check_exit(id, 8000);
	end();
}

/* ---- management ------------------------------------------------------------------------------- */

TEST(input_that_finds_no_frame_is_tried_again)
{
	struct guest_options o = {.input_open = true};
	uint64_t spare, news_id;
	unsigned news;

	fake_start(2, FRAMES, 0);
	uint64_t id = RUN_WITH(&o, CALL(CREEL_CALL_READ, CREEL_STDIN, FAKE_DATA, 8, CREEL_FOREVER), EXIT_R(REG_RAX));

	fake_turn(0);
	starve(&spare);
	while (guest_news(&news_id, &news))
		;
	CHECK_EQ(guest_input(id, (const uint8_t *)"abc", 3), ERR_AGAIN);
	CHECK(guest_news(&news_id, &news));
	CHECK_EQ(news_id, id);
	CHECK(news & NEWS_INPUT);
	feed();
	type(id, "abc");
	fake_run(4);
	check_exit(id, 3);
	end();
}

TEST(a_guest_at_its_memory_limit_goes_on_when_it_is_raised)
{
	struct guest_options o = {.max_pages = 60};

	fake_start(1, FRAMES, 0);
	uint64_t id = RUN_WITH(&o, SET(REG_RBX, FAKE_DATA), SET(REG_RBP, 0 - 100ull),
		{.op = FAKE_STORE, .from_reg = 1, .a = {REG_RBX, 1}}, ADD(REG_RBX, PAGE_SIZE),
		ADD(REG_RBP, 1), JUMP_0(REG_RBP, 7), JUMP(2), EXIT(4));

	fake_run(50);
	CHECK_EQ(info_of(id).state, GUEST_PAUSED);
	CHECK_EQ(info_of(id).stop, STOP_MEMORY_LIMIT);
	CHECK_STR(info_of(id).reason, "reached its memory limit of 60 pages: raise the limit");
	CHECK_EQ(info_of(id).budget_pages, 60);
	CHECK_EQ(guest_limit(id, 50, 0, 0), 0);
	CHECK_EQ(info_of(id).state, GUEST_PAUSED);
	CHECK_EQ(guest_limit(id, 300, 0, 0), 0);
	fake_run(50);
	check_exit(id, 4);
	end();
}

TEST(a_limit_that_a_guest_shares_with_those_above_is_not_its_own)
{
	fake_start(1, FRAMES, 0);
	uint64_t first = RUN(CALL(CREEL_CALL_FORK, 1, 0, CREEL_FORK_KEEP), JUMP_0(REG_RAX, 0), SPIN);

	fake_run(200);
	unsigned generations = 0;
	struct guest_info deepest = info_of(first), next;

	for (uint64_t id = 0; guest_next(id, &next) == 0; id = next.id) {
		deepest = next;
		generations++;
	}
	CHECK(generations > BUDGET_MAX_DEPTH);
	CHECK_EQ(guest_limit(first, 100, 100, 0), 0);
	CHECK_EQ(guest_limit(deepest.id, 100, 0, 0), ERR_UNSUPPORTED);
	CHECK_EQ(guest_limit(deepest.id, 0, 100, 0), ERR_UNSUPPORTED);
	CHECK_EQ(guest_limit(deepest.id, 0, 0, 50), 0);
	end();
}

TEST(one_that_was_not_to_be_kept_goes_with_its_last_reader)
{
	struct guest_options o = {.remove_when_stopped = true};
	struct guest_info g;
	uint64_t position;
	unsigned news;

	fake_start(1, FRAMES, 0);
	uint64_t gone = RUN_WITH(&o, EXIT(0)), read = RUN_WITH(&o, EXIT(0));
	int slot = guest_reader_open(read, STREAM_OUT, &position);

	fake_run(10);
	/* until management was told how they ended */
	CHECK_EQ(guest_get(gone, &g), 0);
	while (guest_news(&position, &news))
		;
	CHECK_EQ(guest_get(gone, &g), ERR_NOENT);
	CHECK_EQ(guest_get(read, &g), 0);
	guest_reader_close(read, STREAM_OUT, slot);
	CHECK_EQ(guest_get(read, &g), ERR_NOENT);
	end();
}

/* Whatever allocation fails, nothing is left behind and nothing has changed. */
TEST(verbs_fail_whole_at_every_allocation)
{
	uint64_t child, snapshot, id, image;
	static char strings[20000];
	struct guest_options o = {.args = strings, .args_size = sizeof(strings), .argc = sizeof(strings), .name = "n"};

	fake_start(1, FRAMES, 0);
	image = fake_image("i", (struct fake_op[]){SPIN}, 1);
	id = RUN(SPIN);
	fake_turn(0);
	for (unsigned verb = 0; verb < 4; verb++) {
		int err = ERR_LIMIT;
		unsigned spare = 0;

		for (; err; spare++) {
			fake_reap();
			uint64_t used = budget_used(hv.budget, BUDGET_PAGES);
			uint64_t guests = budget_used(hv.budget, BUDGET_GUESTS);
			uint64_t snapshots = budget_used(hv.budget, BUDGET_SNAPSHOTS);

			budget_set_limit(hv.budget, BUDGET_PAGES, used + spare);
			err = verb == 0	  ? guest_run(image, &o, &child)
			      : verb == 1 ? guest_fork(id, &o, &child)
			      : verb == 2 ? guest_snapshot(id, OWNER_HOST, "s", &snapshot)
					  : guest_fork(snapshot, &o, &child);
			budget_set_limit(hv.budget, BUDGET_PAGES, BUDGET_UNLIMITED);
			if (!err)
				break;
			CHECK_EQ(err, ERR_LIMIT);
			fake_reap();
			CHECK_EQ(budget_used(hv.budget, BUDGET_PAGES), used);
			CHECK_EQ(budget_used(hv.budget, BUDGET_GUESTS), guests);
			CHECK_EQ(budget_used(hv.budget, BUDGET_SNAPSHOTS), snapshots);
		}
		CHECK(spare >= (verb == 2 ? 1 : 6));
		if (verb == 2)
			continue;
		CHECK_EQ(guest_kill(child), 0);
		CHECK_EQ(guest_remove(child), 0);
	}
	CHECK_EQ(image_remove(image), 0);
	end();
}
