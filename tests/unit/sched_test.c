/* Who runs where and for how long, on cores of paper whose clock the test turns. */
#include "tests/fake_vm.h"
#include "tests/unit/test.h"

#define FRAMES 8192

static const struct fake_op spin[] = {{.op = FAKE_SPIN}};

static uint64_t spinner_image(void)
{
	return fake_image("spin", spin, 1);
}

static uint64_t start(uint64_t image, uint32_t weight)
{
	struct guest_options o = {.weight = weight};
	uint64_t id;

	CHECK_EQ(guest_run(image, &o, &id), 0);
	return id;
}

static struct guest_info info_of(uint64_t id)
{
	struct guest_info info;

	CHECK_EQ(guest_get(id, &info), 0);
	return info;
}

static struct guest *guest_by_id(uint64_t id)
{
	struct object *o = registry_find(&hv.registry, id, OBJECT_GUEST);

	CHECK(o);
	object_unpin(&hv.registry, o, 0);
	return guest_of(o);
}

static void end(void)
{
	struct guest_info g;
	struct image_info i;

	for (uint64_t id = 0; guest_next(id, &g) == 0; id = g.id) {
		if (g.state != GUEST_STOPPED)
			CHECK_EQ(guest_kill(g.id), 0);
		(void)guest_remove(g.id);
	}
	for (uint64_t id = 0; image_next(id, &i) == 0; id = i.id)
		CHECK_EQ(image_remove(i.id), 0);
	fake_end();
}

TEST(shares_follow_weights)
{
	static const uint32_t weights[] = {50, 100, 200, 400};
	uint64_t id[ARRAY_SIZE(weights)], total = 0;

	fake_start(1, FRAMES, 0);
	uint64_t image = spinner_image();

	for (unsigned i = 0; i < ARRAY_SIZE(weights); i++)
		id[i] = start(image, weights[i]);
	for (unsigned turn = 0; turn < 3000; turn++)
		fake_turn(0);
	for (unsigned i = 0; i < ARRAY_SIZE(weights); i++)
		total += info_of(id[i]).cpu_ns;
	for (unsigned i = 0; i < ARRAY_SIZE(weights); i++) {
		double share = (double)info_of(id[i]).cpu_ns / (double)total;

		CHECK(share > 0.98 * weights[i] / 750 && share < 1.02 * weights[i] / 750);
	}
	end();
}

/* One that comes, or comes back, does not make up for the time it was not there. */
TEST(newcomers_start_at_the_time_of_the_others)
{
	fake_start(1, FRAMES, 0);
	uint64_t image = spinner_image(), old = start(image, 100), paused = start(image, 100);

	CHECK_EQ(guest_pause(paused), 0);
	for (unsigned turn = 0; turn < 1000; turn++)
		fake_turn(0);
	uint64_t fresh = start(image, 100), before = info_of(old).cpu_ns;

	CHECK_EQ(guest_resume(paused), 0);
	for (unsigned turn = 0; turn < 300; turn++)
		fake_turn(0);
	uint64_t ran = info_of(old).cpu_ns - before;

	CHECK(ran > 95 * SCHED_SLICE_US * 1000ull);
	CHECK(info_of(fresh).cpu_ns > 95 * SCHED_SLICE_US * 1000ull);
	CHECK(info_of(paused).cpu_ns > 95 * SCHED_SLICE_US * 1000ull);
	end();
}

/* Virtual time of a core that was busy for an hour is far ahead of that of one that slept. */
TEST(a_guest_that_moves_to_an_idle_core_is_not_behind_its_own_past)
{
	fake_start(2, FRAMES, 0);
	uint64_t image = spinner_image(), old = start(image, 100);

	CHECK_EQ(guest_pause(old), 0);
	cores[0]->sched.vruntime = guest_by_id(old)->vruntime = 1ull << 50;
	cores[1]->sched.idle = 1;
	CHECK_EQ(guest_resume(old), 0);
	CHECK_EQ(guest_by_id(old)->home, 1);
	/* Others that live on core 1 come at the same moment. */
	uint64_t local = start(image, 100);

	CHECK_EQ(guest_pause(local), 0);
	guest_by_id(local)->home = 1;
	guest_by_id(local)->vruntime = 0;
	CHECK_EQ(guest_resume(local), 0);
	for (unsigned turn = 0; turn < 20; turn++)
		fake_turn(1);
	CHECK(info_of(old).cpu_ns > 8 * SCHED_SLICE_US * 1000ull);
	CHECK(info_of(local).cpu_ns > 8 * SCHED_SLICE_US * 1000ull);
	end();
}

TEST(a_burst_of_work_wakes_every_sleeping_core_once)
{
	fake_start(4, FRAMES, 0);
	uint64_t image = spinner_image();

	for (unsigned i = 0; i < 4; i++)
		fake_kicks[i] = 0;
	for (unsigned i = 1; i < 4; i++)
		CHECK(sched_sleep(cores[i]));
	for (unsigned i = 0; i < 10; i++)
		(void)start(image, 100);
	for (unsigned i = 1; i < 4; i++) {
		CHECK_EQ(fake_kicks[i], 1);
		CHECK_EQ(cores[i]->sched.runnable.count, 1);
		CHECK_EQ(cores[i]->sched.waiting, 1);
	}
	CHECK_EQ(cores[0]->sched.runnable.count, 7);
	end();
}

TEST(a_core_without_work_takes_anothers)
{
	fake_start(3, FRAMES, 0);
	uint64_t image = spinner_image(), a = start(image, 100), b = start(image, 100);

	CHECK_EQ(cores[0]->sched.runnable.count, 2);
	CHECK(!sched_sleep(cores[2]));
	fake_turn(2);
	CHECK_EQ(info_of(a).cpu_ns > 0, info_of(b).cpu_ns == 0);
	CHECK_EQ(cores[0]->sched.runnable.count, 1);
	CHECK_EQ(cores[0]->sched.waiting, 1);
	CHECK_EQ(cores[2]->sched.runnable.count, 1);
	end();
}

TEST(attention_and_work_keep_a_core_awake)
{
	fake_start(1, FRAMES, 0);
	CHECK(sched_sleep(cores[0]));
	sched_awake(cores[0]);
	sched_attention(cores[0]);
	CHECK(!sched_sleep(cores[0]));
	CHECK_EQ(cores[0]->sched.idle, 0);
	__atomic_store_n(&cores[0]->sched.attention, 0, __ATOMIC_SEQ_CST);
	(void)start(spinner_image(), 100);
	CHECK(!sched_sleep(cores[0]));
	end();
}

/* Management that took a while, and another packet meanwhile. */
static bool busy_service(uint64_t *next)
{
	(void)next;
	fake_advance(1000000);
	sched_attention(cores[0]);
	return true;
}

TEST(attention_in_a_guests_share_ends_one_slice)
{
	static const struct fake_op caller[] = {
		{.op = FAKE_CALL, .a = {CREEL_CALL_CLOCK, CREEL_CLOCK_MONOTONIC}},
		{.op = FAKE_JUMP, .a = {0}},
	};

	fake_start(1, FRAMES, 0);
	(void)start(fake_image("caller", caller, ARRAY_SIZE(caller)), 100);
	run_turn(cores[0], busy_service);
	CHECK(cores[0]->meter[METER_HYPERCALL].count > 1000);
	CHECK_EQ(cores[0]->meter[METER_LOAD].count, 2);
	end();
}

#define SLEEPERS 100

/* Each sleeps until its own moment, and leaves the moment it woke at in its memory. */
TEST(timers_come_in_order_and_none_is_early)
{
	static const struct fake_op sleeper[] = {
		{.op = FAKE_CALL, .a = {CREEL_CALL_SLEEP, 1000000}},
		{.op = FAKE_CALL, .a = {CREEL_CALL_CLOCK, CREEL_CLOCK_MONOTONIC}},
		{.op = FAKE_CALL, .from_reg = 2, .a = {CREEL_CALL_EXIT, REG_RAX}},
	};
	uint64_t id[SLEEPERS];

	fake_start(1, FRAMES, 0);
	uint64_t image = fake_image("sleeper", sleeper, ARRAY_SIZE(sleeper));

	for (unsigned i = 0; i < ARRAY_SIZE(id); i++) {
		id[i] = start(image, 100);
		fake_turn(0);
		fake_advance(777);
	}
	fake_run(1000);
	for (unsigned i = 0; i < ARRAY_SIZE(id); i++) {
		struct guest_info g = info_of(id[i]);

		CHECK_EQ(g.state, GUEST_STOPPED);
		CHECK(g.exit_status >= 1000000 && g.exit_status < 1000000 + 200000);
	}
	CHECK_EQ(sched_next_timer(cores[0]), UINT64_MAX);
	end();
}

TEST(a_wake_that_nobody_waits_for_does_nothing)
{
	fake_start(1, FRAMES, 0);
	static const struct fake_op waiter[] = {
		{.op = FAKE_CALL, .a = {CREEL_CALL_RECEIVE, FAKE_DATA, 8, CREEL_FOREVER}}};
	uint64_t id = start(fake_image("w", waiter, 1), 100);

	fake_turn(0);
	CHECK_EQ(info_of(id).state, GUEST_WAITING);
	sched_wake(guest_by_id(id), WAIT_INPUT | WAIT_ROOM | WAIT_CHILD | WAIT_PEER | WAIT_TIMER);
	CHECK_EQ(info_of(id).state, GUEST_WAITING);
	guest_hold(guest_by_id(id), cores[0]);
	sched_wake(guest_by_id(id), WAIT_MESSAGE);
	CHECK_EQ(info_of(id).state, GUEST_RUNNABLE);
	CHECK_EQ(cores[0]->sched.runnable.count, 0);
	guest_unhold(guest_by_id(id));
	CHECK_EQ(cores[0]->sched.runnable.count, 1);
	fake_turn(0);
	CHECK_EQ(info_of(id).state, GUEST_WAITING);
	end();
}
