/*
 * Random sequences of management's verbs on a machine of paper, held against a plain model after every
 * step: what each verb answers, the state of each guest, a word of the memory of each guest and snapshot,
 * the lists, and who pays for how many frames.
 */
#include "hv/cpu.h"
#include "hv/host.h"
#include "tests/fake_vm.h"
#include "tests/unit/test.h"

#define FRAMES 8192
#define MOST   20 /* guests, and snapshots */
#define STEPS  1500
#define SEEDS  6

/* What there is, and what there was. */
struct thing {
	uint64_t id, lineage, word;
	enum guest_state state; /* GUEST_WAITING, GUEST_PAUSED or GUEST_STOPPED */
};

struct things {
	struct thing at[MOST];
	unsigned count;
};

static struct things guests, snapshots;
static uint64_t image, seed;

/* Puts each word of its input to the same place, for ever. */
static const struct fake_op program[] = {
	{.op = FAKE_CALL, .a = {CREEL_CALL_READ, CREEL_STDIN, FAKE_DATA, 8, CREEL_FOREVER}},
	{.op = FAKE_JUMP, .a = {0}},
};

static uint64_t roll(uint64_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (seed >> 33) % n;
}

/* Mostly something that is there. */
static struct thing *any(struct things *t)
{
	return t->count && roll(12) ? &t->at[roll(t->count)] : NULL;
}

static uint64_t id_of(const struct thing *t)
{
	return t ? t->id : 1 + roll(2) * UINT64_MAX / 2; /* the upload of the image, or no id at all */
}

static void add(struct things *t, uint64_t id, uint64_t lineage, uint64_t word, enum guest_state state)
{
	t->at[t->count++] = (struct thing){id, lineage, word, state};
}

static void forget(struct things *t, struct thing *gone)
{
	for (; gone + 1 < t->at + t->count; gone++)
		gone[0] = gone[1];
	t->count--;
}

static bool full(const struct things *t)
{
	return t->count == MOST;
}

/* ---- verbs ------------------------------------------------------------------------------------ */

static struct guest_options options(bool paused)
{
	return (struct guest_options){.input_open = true, .paused = paused, .max_pages = 3000};
}

static void do_run(void)
{
	struct guest_options o = options(roll(3) == 0);
	uint64_t id;

	if (full(&guests))
		return;
	CHECK_EQ(guest_run(image, &o, &id), OK);
	add(&guests, id, id, 0, o.paused ? GUEST_PAUSED : GUEST_WAITING);
}

static void do_fork(void)
{
	bool of_guest = roll(2);
	struct thing *t = any(of_guest ? &guests : &snapshots);
	struct guest_options o = options(roll(3) == 0);
	uint64_t id;

	if (full(&guests))
		return;
	int err = guest_fork(id_of(t), &o, &id);

	CHECK_EQ(err, !t ? ERR_NOENT : of_guest && t->state == GUEST_STOPPED ? ERR_BUSY : OK);
	if (!err)
		add(&guests, id, t->lineage, t->word, o.paused ? GUEST_PAUSED : GUEST_WAITING);
}

static void do_snapshot(void)
{
	struct thing *t = any(&guests);
	uint64_t id;

	if (full(&snapshots))
		return;
	int err = guest_snapshot(id_of(t), OWNER_HOST, "", &id);

	CHECK_EQ(err, !t ? ERR_NOENT : t->state == GUEST_STOPPED ? ERR_BUSY : OK);
	if (!err)
		add(&snapshots, id, t->lineage, t->word, GUEST_PAUSED);
}

static void do_rollback(void)
{
	struct thing *g = any(&guests), *s = any(&snapshots);
	int err = guest_rollback(id_of(g), id_of(s));

	CHECK_EQ(err, !g || !s ? ERR_NOENT : g->lineage != s->lineage ? ERR_PERM : OK);
	if (err)
		return;
	g->word = s->word;
	if (g->state == GUEST_STOPPED)
		g->state = GUEST_WAITING;
}

static void do_pause(void)
{
	struct thing *t = any(&guests);
	int err = guest_pause(id_of(t));

	CHECK_EQ(err, !t ? ERR_NOENT : t->state != GUEST_WAITING ? ERR_BUSY : OK);
	if (!err)
		t->state = GUEST_PAUSED;
}

static void do_resume(void)
{
	struct thing *t = any(&guests);
	int err = guest_resume(id_of(t));

	CHECK_EQ(err, !t ? ERR_NOENT : t->state != GUEST_PAUSED ? ERR_BUSY : OK);
	if (!err)
		t->state = GUEST_WAITING;
}

static void do_kill(void)
{
	struct thing *t = any(&guests);
	int err = guest_kill(id_of(t));

	CHECK_EQ(err, !t ? ERR_NOENT : t->state == GUEST_STOPPED ? ERR_BUSY : OK);
	if (!err)
		t->state = GUEST_STOPPED;
}

static void do_remove(void)
{
	struct thing *t = any(&guests);
	int err = guest_remove(id_of(t));

	CHECK_EQ(err, !t ? ERR_NOENT : t->state != GUEST_STOPPED ? ERR_BUSY : OK);
	if (!err)
		forget(&guests, t);
}

static void do_remove_snapshot(void)
{
	struct thing *t = any(&snapshots);

	CHECK_EQ(snapshot_remove(id_of(t)), t ? OK : ERR_NOENT);
	if (t)
		forget(&snapshots, t);
}

static void do_limit(void)
{
	struct thing *t = any(&guests);
	uint32_t weight = (uint32_t)roll(4) * 5000;

	CHECK_EQ(guest_limit(id_of(t), 2000 + roll(1000), roll(3), weight),
		weight > GUEST_WEIGHT_MAX ? ERR_RANGE : t ? OK : ERR_NOENT);
}

static void do_input(void)
{
	struct thing *t = any(&guests);
	uint64_t word = roll(UINT32_MAX) + 1;

	if (t && t->state == GUEST_PAUSED) /* it would read that when it goes on */
		return;
	CHECK_EQ(guest_input(id_of(t), (const uint8_t *)&word, sizeof(word)),
		!t ? ERR_NOENT : t->state == GUEST_STOPPED ? ERR_CLOSED : (int64_t)sizeof(word));
	if (t && t->state == GUEST_WAITING)
		t->word = word;
}

static void (*const verbs[])(void) = {do_run, do_fork, do_fork, do_snapshot, do_rollback, do_rollback, do_pause,
	do_resume, do_resume, do_kill, do_remove, do_remove_snapshot, do_limit, do_input, do_input, do_input};

/* ---- invariants ------------------------------------------------------------------------------- */

static uint64_t word_of(uint64_t id)
{
	struct object *o = registry_find_any(&hv.registry, id);
	uint64_t word;

	CHECK(o);
	CHECK_EQ(gmem_read(o->kind == OBJECT_GUEST ? &guest_of(o)->machine.mem : &snapshot_of(o)->machine.mem,
			 FAKE_DATA, &word, sizeof(word)),
		OK);
	object_unpin(&hv.registry, o, 0);
	return word;
}

/* Returns the frames that they are charged with. */
static uint64_t check_guests(void)
{
	struct guest_info info;
	uint64_t last = 0, pages = 0;

	for (unsigned i = 0; i < guests.count; i++) {
		const struct thing *t = &guests.at[i];

		CHECK_EQ(guest_next(last, &info), OK);
		CHECK_EQ(info.id, t->id);
		CHECK_EQ(info.lineage, t->lineage);
		CHECK_EQ(info.state, t->state);
		CHECK(info.private_pages <= info.budget_pages);
		if (t->state != GUEST_STOPPED)
			CHECK_EQ(word_of(t->id), t->word);
		pages += info.private_pages;
		last = info.id;
	}
	CHECK_EQ(guest_next(last, &info), ERR_NOENT);
	return pages;
}

static uint64_t check_snapshots(void)
{
	struct snapshot_info info;
	uint64_t last = 0, pages = 0;

	for (unsigned i = 0; i < snapshots.count; i++) {
		CHECK_EQ(snapshot_next(last, &info), OK);
		CHECK_EQ(info.id, snapshots.at[i].id);
		CHECK_EQ(info.lineage, snapshots.at[i].lineage);
		CHECK_EQ(word_of(info.id), snapshots.at[i].word);
		pages += info.pages;
		last = info.id;
	}
	CHECK_EQ(snapshot_next(last, &info), ERR_NOENT);
	return pages;
}

static void check_host(uint64_t pages)
{
	uint64_t by_state[GUEST_STOPPED + 1] = {0};
	struct host_info h;

	host_info(&h, OWNER_ANY);
	for (unsigned i = 0; i < guests.count; i++)
		by_state[guests.at[i].state]++;
	CHECK_EQ(h.guests, guests.count);
	CHECK_EQ(h.guests_runnable, 0);
	CHECK_EQ(h.guests_waiting, by_state[GUEST_WAITING]);
	CHECK_EQ(h.guests_paused, by_state[GUEST_PAUSED]);
	CHECK_EQ(h.guests_stopped, by_state[GUEST_STOPPED]);
	CHECK_EQ(h.snapshots, snapshots.count);
	CHECK_EQ(h.frames_free + h.frames_quarantined + h.frames_table + h.frames_data + h.frames_state +
			 h.frames_stream + h.frames_image + h.frames_host,
		h.frames_total);
	CHECK_EQ(budget_used(hv.budget, BUDGET_GUESTS), guests.count);
	/* Frames that an account without an owner still pays for are shared with somebody who is there. */
	CHECK(pages <= budget_used(hv.budget, BUDGET_PAGES));
}

static void settle(void)
{
	fake_run(100);
	fake_reap();
}

static void walk(uint64_t from)
{
	seed = from;
	guests.count = snapshots.count = 0;
	fake_start(2, FRAMES, 0);
	image = fake_image("words", program, ARRAY_SIZE(program));
	for (unsigned i = 0; i < STEPS; i++) {
		verbs[roll(ARRAY_SIZE(verbs))]();
		settle();
		check_host(check_guests() + check_snapshots());
	}
	while (guests.count) {
		struct thing *t = &guests.at[0];

		if (t->state != GUEST_STOPPED)
			CHECK_EQ(guest_kill(t->id), OK);
		CHECK_EQ(guest_remove(t->id), OK);
		forget(&guests, t);
	}
	while (snapshots.count) {
		CHECK_EQ(snapshot_remove(snapshots.at[0].id), OK);
		forget(&snapshots, &snapshots.at[0]);
	}
	CHECK_EQ(image_remove(image), OK);
	fake_end();
}

TEST(any_sequence_of_verbs_does_what_each_of_them_says)
{
	for (uint64_t i = 1; i <= SEEDS; i++)
		walk(i);
}
