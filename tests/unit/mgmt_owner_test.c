/* Roles and owners: who may do what, and that what is another's is not there. */
#include "tests/unit/mgmt_client.h"

static struct client admin, operator, viewer, alice, bob;

static void people(void)
{
	world_begin(NULL);
	client_open_as(&admin, ROLE_ADMIN, "root");
	client_open_as(&operator, ROLE_OPERATOR, "op");
	client_open_as(&viewer, ROLE_VIEWER, "eve");
	client_open_as(&alice, ROLE_OWNER, "alice");
	client_open_as(&bob, ROLE_OWNER, "bob");
}

static void people_end(void)
{
	client_end(&admin);
	client_end(&operator);
	client_end(&viewer);
	client_end(&alice);
	client_end(&bob);
	world_end();
}

static uint64_t made(struct client *c, uint16_t type, uint64_t request, const void *message)
{
	struct answer a, done;

	client_send(c, type, request, message);
	settle();
	client_expect(c, PROTO_RESULT, request, &a);
	client_expect(c, PROTO_DONE, request, &done);
	return a.m.result.id;
}

static uint64_t run_named(struct client *c, uint64_t request, const char *image, const char *name)
{
	struct proto_create run = create_of(image);

	snprintf(run.name, sizeof(run.name), "%s", name);
	return made(c, PROTO_RUN, request, &run);
}

/* What a list shows: names and owners in the order of ids. */
static const char *listed(struct client *c, uint16_t type, uint64_t request)
{
	static char text[1024];
	const struct proto_list all = {.all = 1};
	struct answer a;
	size_t n = 0;

	text[0] = 0;
	client_send(c, type, request, &all);
	settle();
	do {
		CHECK(client_next(c, &a));
		if (a.header.type == PROTO_GUEST)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s/%s ", a.m.guest.owner,
				a.m.guest.name);
		if (a.header.type == PROTO_SNAPSHOT)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s/%s ",
				a.m.snapshot.owner, a.m.snapshot.name);
		if (a.header.type == PROTO_IMAGE)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s/%s ", a.m.image.owner,
				a.m.image.name);
	} while (!(a.header.flags & PROTO_FINAL));
	return text;
}

static struct proto_act act_on(uint64_t id)
{
	return (struct proto_act){.ref = {.id = id}};
}

/* The frame that answers `request`, which is one. */
static size_t raw_answer(struct client *c, uint16_t type, const void *message, uint8_t out[2048])
{
	size_t before = c->from_size;

	CHECK_EQ(c->from_read, before);
	client_send(c, type, 77, message);
	settle();
	size_t n = c->from_size - before;

	CHECK(n && n < 2048);
	memcpy(out, c->from + before, n);
	c->from_read = c->from_size;
	return n;
}

/* Takes the number or name out of an answer's text, so that texts about two things can be compared. */
static void blank(uint8_t *frame, size_t n)
{
	bool name = false;

	for (size_t i = PROTO_HEADER_SIZE + 8; i < n; i++) {
		if (name || (frame[i] >= '0' && frame[i] <= '9'))
			frame[i] = '#';
		name = name || (i >= 5 && memcmp(frame + i - 5, "named ", 6) == 0);
	}
}

static void check_same_as_absent(struct client *c, uint16_t type, const void *hidden, const void *absent)
{
	uint8_t a[2048], b[2048];
	size_t n = raw_answer(c, type, hidden, a), m = raw_answer(c, type, absent, b);

	blank(a, n);
	blank(b, m);
	CHECK_EQ(n, m);
	CHECK(memcmp(a, b, n) == 0);
	CHECK_EQ(a[4], PROTO_ERROR);
	CHECK_EQ(a[PROTO_HEADER_SIZE], PROTO_E_NOENT);
}

TEST(what_is_anothers_is_not_there)
{
	const struct proto_take_snapshot take_as_bob = {.guest = {.name = "web"}, .name = "s"};

	people();
	put_script(&bob, 1, "img", "wait\n");
	uint64_t guest = run_named(&bob, 2, "img", "web");
	uint64_t snapshot = made(&bob, PROTO_TAKE_SNAPSHOT, 3, &take_as_bob);
	struct proto_ref hidden[] = {{.id = guest}, {.id = snapshot}, {.name = "web"}, {.name = "s"},
		{.name = "img"}};
	/* as many digits and letters */
	struct proto_ref absent[] = {{.id = guest + 500}, {.id = snapshot + 500}, {.name = "wob"},
		{.name = "z"}, {.name = "imh"}};
	const uint16_t acts[] = {PROTO_PAUSE, PROTO_RESUME, PROTO_KILL, PROTO_REMOVE,
		PROTO_REMOVE_IMAGE};

	for (size_t i = 0; i < ARRAY_SIZE(hidden); i++) {
		struct proto_ref h = hidden[i], n = absent[i];

		for (size_t k = 0; k < ARRAY_SIZE(acts); k++)
			check_same_as_absent(&alice, acts[k], &(struct proto_act){.ref = h},
				&(struct proto_act){.ref = n});
		check_same_as_absent(&alice, PROTO_GET, &(struct proto_get){.ref = h},
			&(struct proto_get){.ref = n});
		check_same_as_absent(&alice, PROTO_WAIT, &(struct proto_get){.ref = h},
			&(struct proto_get){.ref = n});
		check_same_as_absent(&alice, PROTO_RUN,
			&(struct proto_create){.source = h, .count = 1},
			&(struct proto_create){.source = n, .count = 1});
		check_same_as_absent(&alice, PROTO_FORK,
			&(struct proto_create){.source = h, .count = 3},
			&(struct proto_create){.source = n, .count = 3});
		check_same_as_absent(&alice, PROTO_ATTACH,
			&(struct proto_attach){.guest = h, .flags = PROTO_ATTACH_OUT},
			&(struct proto_attach){.guest = n, .flags = PROTO_ATTACH_OUT});
		check_same_as_absent(&alice, PROTO_TAKE_SNAPSHOT,
			&(struct proto_take_snapshot){.guest = h},
			&(struct proto_take_snapshot){.guest = n});
		check_same_as_absent(&alice, PROTO_ROLLBACK,
			&(struct proto_rollback){.guest = h, .snapshot = {.id = 1}},
			&(struct proto_rollback){.guest = n, .snapshot = {.id = 1}});
		check_same_as_absent(&alice, PROTO_SET_LIMIT, &(struct proto_set_limit){.guest = h},
			&(struct proto_set_limit){.guest = n});
		check_same_as_absent(&alice, PROTO_PUBLISH, &(struct proto_publish){.ref = h},
			&(struct proto_publish){.ref = n});
	}
	/* nor in lists and counts; and nothing has happened to it */
	CHECK_STR(listed(&alice, PROTO_LIST_GUESTS, 10), "");
	CHECK_STR(listed(&alice, PROTO_LIST_SNAPSHOTS, 11), "");
	CHECK_STR(listed(&alice, PROTO_LIST_IMAGES, 12), "");
	struct answer a;

	client_send(&alice, PROTO_GET_INFO, 13, NULL);
	settle();
	client_expect(&alice, PROTO_INFO, 13, &a);
	CHECK_EQ(a.m.info.guests + a.m.info.guests_waiting + a.m.info.snapshots + a.m.info.images, 0);
	CHECK_EQ(a.m.info.connections, 1);
	CHECK_STR(listed(&bob, PROTO_LIST_GUESTS, 14), "bob/web ");
	client_send(&bob, PROTO_GET_INFO, 15, NULL);
	settle();
	client_expect(&bob, PROTO_INFO, 15, &a);
	CHECK_EQ(a.m.info.guests, 1);
	CHECK_EQ(a.m.info.snapshots, 1);
	people_end();
}

TEST(names_are_each_owners_own)
{
	struct proto_get get = {.ref = {.name = "web"}};
	struct answer a;

	people();
	put_script(&alice, 1, "img", "wait\n");
	put_script(&bob, 1, "img", "wait\nexit 1\n");
	uint64_t hers = run_named(&alice, 2, "img", "web");
	uint64_t his = run_named(&bob, 2, "img", "web");

	client_send(&alice, PROTO_GET, 3, &get);
	client_send(&bob, PROTO_GET, 3, &get);
	settle();
	client_expect(&alice, PROTO_GUEST, 3, &a);
	CHECK_EQ(a.m.guest.id, hers);
	CHECK_STR(a.m.guest.owner, "alice");
	client_expect(&bob, PROTO_GUEST, 3, &a);
	CHECK_EQ(a.m.guest.id, his);
	/* those who see all are asked which one they mean, unless one is theirs */
	client_send(&admin, PROTO_GET, 3, &get);
	settle();
	client_expect_error(&admin, 3, PROTO_E_INVALID);
	CHECK_STR(listed(&viewer, PROTO_LIST_GUESTS, 4), "alice/web bob/web ");
	uint64_t theirs;
	struct proto_create run = {.source = {.name = "img"}, .count = 1, .name = "web"};

	client_send(&admin, PROTO_RUN, 5, &run);
	settle();
	client_expect_error(&admin, 5, PROTO_E_INVALID);
	put_script(&admin, 6, "img", "wait\n");
	theirs = made(&admin, PROTO_RUN, 7, &run);
	client_send(&admin, PROTO_GET, 8, &get);
	settle();
	client_expect(&admin, PROTO_GUEST, 8, &a);
	CHECK_EQ(a.m.guest.id, theirs);
	/* a name is still taken for its owner */
	client_send(&bob, PROTO_RUN, 9, &run);
	settle();
	client_expect_error(&bob, 9, PROTO_E_EXIST);
	people_end();
}

TEST(public_snapshots_are_everyones_to_fork_and_the_owners_to_change)
{
	struct proto_take_snapshot take = {.guest = {.name = "web"}, .name = "base", .public = 1};
	struct proto_create fork = create_of("base");
	struct proto_publish off = {.ref = {.name = "base"}};
	struct answer a;

	people();
	put_script(&bob, 1, "img", "wait\n");
	run_named(&bob, 2, "img", "web");
	uint64_t base = made(&bob, PROTO_TAKE_SNAPSHOT, 3, &take);

	CHECK_STR(listed(&alice, PROTO_LIST_SNAPSHOTS, 4), "bob/base ");
	uint64_t child = made(&alice, PROTO_FORK, 5, &fork);

	client_send(&alice, PROTO_GET, 6, &(struct proto_get){.ref = {.id = child}});
	settle();
	client_expect(&alice, PROTO_GUEST, 6, &a);
	CHECK_STR(a.m.guest.owner, "alice");
	/* what may be seen may be said to be another's */
	struct proto_act remove = act_on(base);

	client_send(&alice, PROTO_REMOVE, 7, &remove);
	client_send(&alice, PROTO_PUBLISH, 8, &off);
	settle();
	client_expect_error(&alice, 7, PROTO_E_DENIED);
	client_expect_error(&alice, 8, PROTO_E_DENIED);
	client_do(&bob, PROTO_PUBLISH, 9, &off);
	CHECK_STR(listed(&alice, PROTO_LIST_SNAPSHOTS, 10), "");
	client_send(&alice, PROTO_FORK, 11, &fork);
	settle();
	client_expect_error(&alice, 11, PROTO_E_NOENT);
	/* an image as well */
	struct proto_publish image = {.ref = {.name = "img"}, .public = 1};

	client_do(&bob, PROTO_PUBLISH, 12, &image);
	run_named(&alice, 13, "img", "hers");
	people_end();
}

TEST(images_of_the_boot_volume_are_for_all)
{
	struct client boot;

	people();
	client_open_as(&boot, ROLE_ADMIN, "");
	put_script(&boot, 1, "base", "wait\n");
	CHECK_STR(listed(&alice, PROTO_LIST_IMAGES, 2), "/base ");
	run_named(&alice, 3, "base", "web");
	client_send(&alice, PROTO_REMOVE_IMAGE, 4, &(struct proto_act){.ref = {.name = "base"}});
	settle();
	client_expect_error(&alice, 4, PROTO_E_DENIED);
	/* one of her own goes before it, and leaves it as it is */
	put_script(&alice, 5, "base", "exit 0\n");
	CHECK_STR(listed(&alice, PROTO_LIST_IMAGES, 6), "/base alice/base ");
	client_do(&alice, PROTO_REMOVE_IMAGE, 7, &(struct proto_act){.ref = {.name = "base"}});
	CHECK_STR(listed(&bob, PROTO_LIST_IMAGES, 8), "/base ");
	client_end(&boot);
	people_end();
}

TEST(a_viewer_only_looks)
{
	people();
	put_script(&operator, 1, "img", "wait\n");
	uint64_t guest = run_named(&operator, 2, "img", "web");
	struct proto_act act = act_on(guest);
	struct proto_create create = create_of("img");
	struct proto_put put = {.name = "x", .size = 1};
	struct proto_attach hold = {.guest = {.id = guest}, .flags = PROTO_ATTACH_OUT | PROTO_ATTACH_HOLD};
	struct proto_attach in = {.guest = {.id = guest}, .flags = PROTO_ATTACH_IN};
	const struct {
		uint16_t type;
		const void *message;
	} refused[] = {
		{PROTO_PUT, &put},
		{PROTO_REMOVE_IMAGE, &(struct proto_act){.ref = {.name = "img"}}},
		{PROTO_RUN, &create},
		{PROTO_FORK, &(struct proto_create){.source = {.id = guest}, .count = 2}},
		{PROTO_TAKE_SNAPSHOT, &(struct proto_take_snapshot){.guest = {.id = guest}}},
		{PROTO_ROLLBACK,
			&(struct proto_rollback){.guest = {.id = guest}, .snapshot = {.id = 1}}},
		{PROTO_PAUSE, &act},
		{PROTO_RESUME, &act},
		{PROTO_KILL, &act},
		{PROTO_REMOVE, &act},
		{PROTO_SET_LIMIT, &(struct proto_set_limit){.guest = {.id = guest}, .weight = 1}},
		{PROTO_PUBLISH, &(struct proto_publish){.ref = {.id = guest}}},
		{PROTO_ATTACH, &hold},
		{PROTO_ATTACH, &in},
		{PROTO_GET_METERS, &(struct proto_get_meters){.reset = 1}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		client_send(&viewer, refused[i].type, i + 1, refused[i].message);
		settle();
		client_expect_error(&viewer, i + 1, PROTO_E_DENIED);
	}
	CHECK_STR(listed(&viewer, PROTO_LIST_GUESTS, 50), "op/web ");
	CHECK_STR(listed(&viewer, PROTO_LIST_IMAGES, 51), "op/img ");
	struct answer a;

	client_send(&viewer, PROTO_GET, 52, &(struct proto_get){.ref = {.id = guest}});
	settle();
	client_expect(&viewer, PROTO_GUEST, 52, &a);
	CHECK_EQ(a.m.guest.state, GUEST_WAITING);
	people_end();
}

TEST(an_owner_sees_nothing_of_the_host_as_a_whole)
{
	people();
	client_send(&alice, PROTO_GET_METERS, 1, &(struct proto_get_meters){.reset = 0});
	client_send(&alice, PROTO_GET_LOG, 2, &(struct proto_get_log){.credit = 1000});
	settle();
	client_expect_error(&alice, 1, PROTO_E_DENIED);
	client_expect_error(&alice, 2, PROTO_E_DENIED);
	people_end();
}

TEST(operators_act_on_what_owners_have)
{
	people();
	put_script(&bob, 1, "img", "wait\n");
	uint64_t guest = run_named(&bob, 2, "img", "web");
	struct proto_act act = act_on(guest);

	client_do(&operator, PROTO_PAUSE, 1, &act);
	client_do(&admin, PROTO_RESUME, 1, &act);
	client_do(&operator, PROTO_KILL, 2, &(struct proto_act){.ref = {.name = "web"}});
	client_do(&operator, PROTO_REMOVE, 3, &act);
	people_end();
}

TEST(a_role_that_is_none_may_nothing)
{
	struct client c;

	world_begin(NULL);
	client_open_as(&c, ROLE_NONE, "nobody");
	client_send(&c, PROTO_GET_INFO, 1, NULL);
	settle();
	client_expect_error(&c, 1, PROTO_E_DENIED);
	client_end(&c);
	world_end();
}
