/*
 * Several cores at once, under ThreadSanitizer: each thread runs a core's loop over guests that do
 * random things to themselves and to each other, while core 0 also does random verbs of management.
 */
#include "tests/fake_vm.h"
#include "tests/unit/test.h"

#include <pthread.h>
#include <sched.h>

#define CORES  4
#define FRAMES 16384
#define VERBS  4000
#define SPREAD 24 /* verbs and calls pick among the newest ids */

static uint32_t stopping;

static _Thread_local uint64_t seed;

static uint64_t roll(uint64_t n)
{
	return test_random(&seed) % n;
}

static uint64_t any_id(void)
{
	uint64_t top = __atomic_load_n(&hv.registry.next_id, __ATOMIC_RELAXED);

	return top > SPREAD ? top - roll(SPREAD) : roll(top + 1);
}

/* A guest's next operation: a call with arguments that mean something, or a touch of its memory. */
static bool guest_acts(struct core *core, struct vcpu *v, struct vm_exit *out)
{
	uint64_t soon = roll(4) ? 0 : 20000;
	uint64_t a[][5] = {
		{CREEL_CALL_WRITE, 1 + roll(2), FAKE_DATA, roll(5000)},
		{CREEL_CALL_READ, 0, FAKE_DATA, roll(5000), soon},
		{CREEL_CALL_INFO, FAKE_DATA, 64},
		{CREEL_CALL_RANDOM, FAKE_DATA + roll(64) * PAGE_SIZE, 300},
		{CREEL_CALL_SNAPSHOT},
		{CREEL_CALL_FORK, 1 + roll(3), FAKE_DATA, roll(2)},
		{CREEL_CALL_ROLLBACK, any_id()},
		{CREEL_CALL_SEND, roll(2) ? 0 : any_id(), FAKE_DATA, roll(16384), soon},
		{CREEL_CALL_RECEIVE, FAKE_DATA, 9000, soon},
		{CREEL_CALL_GATHER, FAKE_DATA, 9000, soon},
		{CREEL_CALL_CHILDREN, roll(3), soon},
		{CREEL_CALL_YIELD},
		{CREEL_CALL_SLEEP, soon},
		{CREEL_CALL_EXIT, roll(3)},
	};
	/* Long-lived ones, so that there is something to work on. */
	unsigned pick = roll(50) ? (unsigned)roll(ARRAY_SIZE(a) - 1) : ARRAY_SIZE(a) - 1;

	(void)core;
	v->regs[REG_RAX] = a[pick][0];
	v->regs[REG_RDI] = a[pick][1];
	v->regs[REG_RSI] = a[pick][2];
	v->regs[REG_RDX] = a[pick][3];
	v->regs[REG_R10] = a[pick][4];
	if (a[pick][0] == CREEL_CALL_CHILDREN)
		v->regs[REG_RSI] = roll(8) ? fake_now() + 20000 : soon;
	if (a[pick][0] == CREEL_CALL_RECEIVE || a[pick][0] == CREEL_CALL_GATHER)
		v->regs[REG_RDX] = roll(8) ? fake_now() + 20000 : soon;
	out->kind = EXIT_IO;
	out->io.port = CREEL_PORT;
	out->io.size = 4;
	out->io.in = false;
	return true;
}

static const struct fake_op program[] = {
	{.op = FAKE_HOST},
	{.op = FAKE_STORE, .from_reg = 2, .a = {FAKE_DATA + 4096, REG_RAX}},
	{.op = FAKE_WORK, .a = {200}},
	{.op = FAKE_JUMP, .a = {0}},
};

static void *play_core(void *arg)
{
	unsigned core = (unsigned)(uintptr_t)arg;

	fake_core = core;
	seed = core + 100;
	while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
		run_turn(cores[core], NULL);
		if (cores[core]->tlb->idle)
			sched_yield();
	}
	frame_core_drain(&hv.pool, core);
	return NULL;
}

static void do_verb(uint64_t image)
{
	struct guest_options o = {.remove_when_stopped = roll(2),
		.input_open = roll(2),
		.paused = !roll(8),
		.max_guests = 1 + roll(6),
		.max_pages = roll(3) ? 0 : 60 + roll(40),
		.weight = (uint32_t)(1 + roll(500))};
	struct guest_info g;
	struct snapshot_info s;
	uint8_t buf[3000] = {0};
	uint64_t id, position = 0;
	bool at_end;
	unsigned news;

	switch (roll(18)) {
	case 0:
	case 1:
		if (registry_count(&hv.registry, OBJECT_GUEST) < 60)
			(void)guest_run(image, &o, &id);
		break;
	case 2:
		if (registry_count(&hv.registry, OBJECT_GUEST) < 60)
			(void)guest_fork(any_id(), &o, &id);
		break;
	case 3:
		(void)guest_snapshot(any_id(), OWNER_HOST, "", &id);
		break;
	case 4:
		(void)guest_rollback(any_id(), any_id());
		break;
	case 5:
		(void)guest_pause(any_id());
		break;
	case 6:
	case 7:
		(void)guest_resume(any_id());
		break;
	case 8:
		(void)guest_kill(any_id());
		break;
	case 9:
		sched_yield();
		break;
	case 10:
	case 11:
		for (id = 0; guest_next(id, &g) == 0; id = g.id) {
			if (g.state == GUEST_STOPPED && roll(2))
				(void)guest_remove(g.id);
		}
		break;
	case 12:
		for (id = 0; snapshot_next(id, &s) == 0; id = s.id)
			if (roll(2))
				(void)snapshot_remove(s.id);
		break;
	case 13:
		(void)guest_limit(any_id(), 50 + roll(200), 0, (uint32_t)roll(300));
		break;
	case 14:
		(void)guest_input(any_id(), buf, roll(sizeof(buf)));
		break;
	case 15:
		id = any_id();
		int slot = guest_reader_open(id, STREAM_OUT, &position);

		(void)guest_output(id, STREAM_OUT, &position, buf, sizeof(buf), &at_end);
		guest_reader_done(id, STREAM_OUT, slot, position);
		if (slot >= 0)
			guest_reader_close(id, STREAM_OUT, slot);
		break;
	case 16:
		while (guest_news(&id, &news))
			;
		break;
	case 17:
		(void)guest_get(any_id(), &g);
		break;
	}
}

static void remove_all(void)
{
	struct guest_info g;
	struct snapshot_info s;

	for (uint64_t id = 0; guest_next(id, &g) == 0; id = g.id) {
		(void)guest_kill(g.id);
		(void)guest_remove(g.id);
	}
	for (uint64_t id = 0; snapshot_next(id, &s) == 0; id = s.id)
		CHECK_EQ(snapshot_remove(s.id), 0);
}

TEST(cores_and_management_at_once)
{
	pthread_t thread[CORES];
	uint64_t ran = 0;

	fake_start(CORES, FRAMES, 0);
	fake_host_op = guest_acts;
	seed = 1;
	uint64_t image = fake_image("random", program, ARRAY_SIZE(program));

	for (uintptr_t i = 1; i < CORES; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, play_core, (void *)i), 0);
	for (unsigned i = 0; i < VERBS; i++) {
		do_verb(image);
		fake_advance(20000);
		for (unsigned turn = 0; turn < 5; turn++)
			run_turn(cores[0], NULL);
	}
	remove_all();
	/* What a fork call was making at that moment is there only now. */
	while (registry_count(&hv.registry, OBJECT_GUEST) + registry_count(&hv.registry, OBJECT_SNAPSHOT))
		remove_all();
	__atomic_store_n(&stopping, 1, __ATOMIC_RELAXED);
	for (unsigned i = 1; i < CORES; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < CORES; i++)
		ran += cores[i]->meter[METER_HYPERCALL].count;
	CHECK(ran > VERBS);
	CHECK_EQ(image_remove(image), 0);
	fake_end();
}
