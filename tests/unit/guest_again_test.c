/* Guests that come back from their end, and forks that never do, on a machine of paper. */
#include "hv/cpu.h"
#include "tests/fake_vm.h"
#include "tests/unit/test.h"

#define FRAMES 4096

#define CALL(...)    {.op = FAKE_CALL, .a = {__VA_ARGS__}}
#define JUMP_0(r, to) {.op = FAKE_JUMP_0, .reg = (r), .a = {to}}
#define EXIT(status) CALL(CREEL_CALL_EXIT, status)
#define EXIT_RESULT  {.op = FAKE_CALL, .from_reg = 2, .a = {CREEL_CALL_EXIT, REG_RAX}}
#define READ         CALL(CREEL_CALL_READ, CREEL_STDIN, FAKE_DATA, 8, CREEL_FOREVER)
#define SPIN         {.op = FAKE_SPIN}

#define RUN(o, ...)                                                                                \
	({                                                                                         \
		static const struct fake_op ops_[] = {__VA_ARGS__};                                \
		run_image(ops_, ARRAY_SIZE(ops_), o);                                              \
	})

static const struct guest_options plain, with_input = {.input_open = true};

static uint64_t run_image(const struct fake_op *ops, unsigned n, const struct guest_options *o)
{
	uint64_t image = fake_image("test", ops, n), id;

	CHECK_EQ(guest_run(image, o, &id), 0);
	CHECK_EQ(image_remove(image), 0);
	return id;
}

static struct guest_info info_of(uint64_t id)
{
	struct guest_info info;

	CHECK_EQ(guest_get(id, &info), 0);
	return info;
}

static uint64_t snapshot_of_guest(uint64_t id)
{
	uint64_t snapshot;

	CHECK_EQ(guest_snapshot(id, OWNER_HOST, "", &snapshot), 0);
	return snapshot;
}

/* The first guest behind `id`. */
static uint64_t next_guest(uint64_t id)
{
	struct guest_info info;

	CHECK_EQ(guest_next(id, &info), 0);
	return info.id;
}

static void check_exit(uint64_t id, int status)
{
	CHECK_EQ(info_of(id).stop, STOP_EXIT);
	CHECK_EQ(info_of(id).exit_status, status);
}

static void end(void)
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
	fake_end();
}

/* ---- back from the end ------------------------------------------------------------------------ */

TEST(a_guest_that_comes_back_takes_input_again)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(&with_input, READ, EXIT_RESULT);

	fake_run(10);
	uint64_t snapshot = snapshot_of_guest(id);

	CHECK_EQ(guest_input_end(id), 0);
	fake_run(10);
	check_exit(id, 0);
	CHECK_EQ(guest_rollback(id, snapshot), 0);
	fake_run(10);
	CHECK_EQ(info_of(id).state, GUEST_WAITING);
	CHECK_EQ(guest_input(id, (const uint8_t *)"word", 4), 4);
	fake_run(10);
	check_exit(id, 4);
	end();
}

TEST(a_guest_that_never_had_input_has_none_when_it_comes_back)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(&plain, CALL(CREEL_CALL_SLEEP, 1000), READ, EXIT_RESULT);

	fake_turn(0);
	uint64_t snapshot = snapshot_of_guest(id);

	CHECK_EQ(guest_kill(id), 0);
	CHECK_EQ(guest_rollback(id, snapshot), 0);
	fake_run(10);
	check_exit(id, 0);
	end();
}

TEST(a_rollback_is_news)
{
	unsigned news;
	uint64_t who;

	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(&with_input, READ, EXIT_RESULT), snapshot;

	fake_run(10);
	snapshot = snapshot_of_guest(id);
	CHECK_EQ(guest_kill(id), 0);
	while (guest_news(&who, &news))
		;
	CHECK_EQ(guest_rollback(id, snapshot), 0);
	CHECK(guest_news(&who, &news));
	CHECK_EQ(who, id);
	CHECK(news & NEWS_STATE);
	end();
}

TEST(a_fork_that_comes_back_counts_again)
{
	fake_start(1, FRAMES, 0);
	/* The parent waits for its fork twice. */
	uint64_t id = RUN(&with_input, CALL(CREEL_CALL_FORK, 1, 0, CREEL_FORK_KEEP), JUMP_0(REG_RAX, 5),
		CALL(CREEL_CALL_CHILDREN, 0, CREEL_FOREVER), READ,
		CALL(CREEL_CALL_CHILDREN, 0, CREEL_FOREVER), CALL(CREEL_CALL_SLEEP, CREEL_FOREVER));

	fake_run(10);
	uint64_t child = next_guest(id), snapshot = snapshot_of_guest(child);

	CHECK_EQ(info_of(id).children, 1);
	CHECK_EQ(guest_kill(child), 0);
	fake_run(10);
	CHECK_EQ(info_of(id).children, 0);
	CHECK_EQ(guest_rollback(child, snapshot), 0);
	CHECK_EQ(info_of(id).children, 1);
	CHECK_EQ(guest_rollback(child, snapshot), 0);
	CHECK_EQ(info_of(id).children, 1);
	CHECK_EQ(guest_kill(child), 0);
	CHECK_EQ(info_of(id).children, 0);
	end();
}

/* ---- forks that end without a word ------------------------------------------------------------ */

#define GATHER CALL(CREEL_CALL_GATHER, FAKE_DATA, 64, CREEL_FOREVER)

TEST(gathering_ends_with_the_last_fork)
{
	uint64_t told;
	unsigned news;

	fake_start(1, FRAMES, 0);
	/* One fork sends 8 bytes and exits; the other is killed while it spins. */
	uint64_t id = RUN(&plain, CALL(CREEL_CALL_FORK, 1, 0, 0), JUMP_0(REG_RAX, 6),
		CALL(CREEL_CALL_FORK, 1, 0, 0), JUMP_0(REG_RAX, 8), GATHER,
		{.op = FAKE_JUMP, .a = {9}}, CALL(CREEL_CALL_SEND, 0, FAKE_DATA, 8, CREEL_FOREVER), EXIT(0),
		SPIN, {.op = FAKE_SET, .reg = REG_RBX, .from_reg = 1, .a = {REG_RAX}}, GATHER,
		{.op = FAKE_CALL, .from_reg = 2, .a = {CREEL_CALL_EXIT, REG_RAX}});

	for (int i = 0; i < 50; i++)
		fake_turn(0);
	CHECK_EQ(info_of(id).state, GUEST_WAITING);
	CHECK_EQ(info_of(id).children, 1);
	/* the fork that exited goes once management was told */
	while (guest_news(&told, &news))
		;
	CHECK_EQ(guest_kill(next_guest(id)), 0);
	for (int i = 0; i < 5; i++)
		fake_turn(0);
	check_exit(id, CREEL_EPIPE);
	end();
}

TEST(gathering_takes_the_last_words_of_forks_that_are_gone)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(&plain, CALL(CREEL_CALL_FORK, 3, 0, 0), JUMP_0(REG_RAX, 10),
		CALL(CREEL_CALL_CHILDREN, 0, CREEL_FOREVER), GATHER, GATHER, GATHER, JUMP_0(REG_RAX, 9),
		GATHER, EXIT_RESULT, EXIT(7), CALL(CREEL_CALL_SEND, 0, FAKE_DATA, 8, CREEL_FOREVER),
		EXIT(0));

	fake_run(50);
	check_exit(id, CREEL_EPIPE);
	end();
}

TEST(gathering_without_forks_or_time_does_not_wait)
{
	fake_start(1, FRAMES, 0);
	uint64_t id = RUN(&plain, GATHER, EXIT_RESULT);
	uint64_t late = RUN(&plain, CALL(CREEL_CALL_FORK, 1, 0, 0), JUMP_0(REG_RAX, 4),
		CALL(CREEL_CALL_GATHER, FAKE_DATA, 64, 0), EXIT_RESULT, SPIN);

	for (int i = 0; i < 20; i++)
		fake_turn(0);
	check_exit(id, CREEL_EPIPE);
	check_exit(late, CREEL_EAGAIN);
	end();
}
