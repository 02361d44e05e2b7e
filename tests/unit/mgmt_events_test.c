/* Events: what is told to whom, and what becomes of a client that is too slow. */
#include "tests/unit/mgmt_client.h"

static void listen(struct client *c, uint64_t request, const char *selector)
{
	struct proto_get_events m = {{0}};
	struct answer a;

	snprintf(m.selector, sizeof(m.selector), "%s", selector);
	client_send(c, PROTO_GET_EVENTS, request, &m);
	settle();
	client_expect(c, PROTO_EVENT, request, &a);
	CHECK_EQ(a.m.event.what, PROTO_EVENT_NONE);
}

static const char *heard(struct client *c, uint64_t request)
{
	static const char *const what[] = {"none", "created", "state", "removed", "back"};
	static char text[4096];
	struct answer a;
	size_t n = 0;

	text[0] = 0;
	settle();
	while (client_next(c, &a)) {
		CHECK_EQ(a.header.type, PROTO_EVENT);
		CHECK_EQ(a.header.request, request);
		CHECK_EQ(a.m.event.lost, 0);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s %s%s%.0d ", a.m.event.name,
			what[a.m.event.what], a.m.event.stop ? " by " : "",
			(int)a.m.event.stop);
	}
	return text;
}

static uint64_t run_named(struct client *c, uint64_t request, const char *name, const char *labels)
{
	struct proto_create run = create_of("wait");
	struct answer a, done;

	snprintf(run.name, sizeof(run.name), "%s", name);
	snprintf(run.labels, sizeof(run.labels), "%s", labels);
	client_send(c, PROTO_RUN, request, &run);
	settle();
	client_expect(c, PROTO_RESULT, request, &a);
	client_expect(c, PROTO_DONE, request, &done);
	return a.m.result.id;
}

TEST(a_life_in_events)
{
	struct client c, l;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	client_open(&l);
	listen(&l, 5, "");
	put_script(&c, 1, "wait", "wait\n");
	uint64_t id = run_named(&c, 2, "g", "");
	struct proto_act act = {.ref = {.id = id}};
	struct proto_take_snapshot take = {.guest = {.id = id}, .name = "s"};

	client_send(&c, PROTO_TAKE_SNAPSHOT, 3, &take);
	settle();
	client_expect(&c, PROTO_RESULT, 3, &a);
	client_expect(&c, PROTO_DONE, 3, &a);
	client_do(&c, PROTO_PAUSE, 4, &act);
	client_do(&c, PROTO_RESUME, 5, &act);
	struct proto_rollback back = {.guest = {.id = id}, .snapshot = {.name = "s"}};

	client_do(&c, PROTO_ROLLBACK, 6, &back);
	client_do(&c, PROTO_KILL, 7, &act);
	client_do(&c, PROTO_REMOVE, 8, &act);
	client_do(&c, PROTO_REMOVE, 9, &(struct proto_act){.ref = {.name = "s"}});
	client_do(&c, PROTO_REMOVE_IMAGE, 10, &(struct proto_act){.ref = {.name = "wait"}});
	CHECK_STR(heard(&l, 5), "wait created g created s created g state by 9 g state g back "
				"g state by 2 g removed by 2 s removed wait removed ");
	client_send(&l, PROTO_CANCEL, 5, NULL);
	settle();
	client_expect_error(&l, 5, PROTO_E_CANCELLED);
	CHECK(list_empty(&server.listeners));
	CHECK_EQ(server.event_queues.used, 0);
	client_end(&c);
	client_end(&l);
	world_end();
}

TEST(events_are_for_those_who_may_see_and_asked)
{
	struct client alice, bob, viewer, picky;

	world_begin(NULL);
	client_open_as(&alice, ROLE_OWNER, "alice");
	client_open_as(&bob, ROLE_OWNER, "bob");
	client_open_as(&viewer, ROLE_VIEWER, "eve");
	client_open_as(&picky, ROLE_OWNER, "bob");
	listen(&alice, 1, "");
	listen(&viewer, 1, "");
	listen(&picky, 1, "app=web");
	put_script(&bob, 1, "wait", "wait\n");
	run_named(&bob, 2, "a", "app=web");
	run_named(&bob, 3, "b", "");
	CHECK_STR(heard(&alice, 1), "");
	CHECK_STR(heard(&viewer, 1), "wait created a created b created ");
	CHECK_STR(heard(&picky, 1), "a created ");
	client_end(&alice);
	client_end(&bob);
	client_end(&viewer);
	client_end(&picky);
	world_end();
}

TEST(a_slow_listener_is_told_what_it_missed)
{
	struct client c, l;
	struct answer a;
	uint64_t told = 0, lost = 0;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "wait", "wait\n");
	client_open(&l);
	listen(&l, 5, "");
	l.from_limit = l.from_size; /* it reads no more */
	for (uint64_t i = 0; i < 1000; i++)
		run_named(&c, 10 + i, "", "");
	l.from_limit = WIRE_SIZE;
	server_event(&server, l.conn);
	settle();
	while (client_next(&l, &a)) {
		CHECK_EQ(a.header.type, PROTO_EVENT);
		lost += a.m.event.lost;
		told += a.m.event.what != PROTO_EVENT_NONE;
	}
	CHECK(told > 50 && lost > 0);
	CHECK_EQ(told + lost, 1000);
	/* and then all is as ever */
	run_named(&c, 5000, "more", "");
	CHECK_STR(heard(&l, 5), "more created ");
	client_end(&c);
	client_end(&l);
	world_end();
}

TEST(so_many_may_listen)
{
	const struct proto_get_events m = {{0}};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	for (uint64_t i = 1; i <= SERVER_EVENT_QUEUES; i++) {
		client_send(&c, PROTO_GET_EVENTS, i, &m);
		settle();
		CHECK(client_next(&c, &a));
		CHECK(a.header.type == PROTO_EVENT || a.m.error.code == PROTO_E_RETRY ||
			a.m.error.code == PROTO_E_LIMIT);
	}
	CHECK(server.event_queues.used <= SERVER_EVENT_QUEUES);
	client_end(&c);
	world_end();
}
