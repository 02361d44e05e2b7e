/* The management server: what it does for clients that behave. */
#include "tests/unit/mgmt_client.h"

static const uint8_t outputs = PROTO_ATTACH_OUT | PROTO_ATTACH_ERR;

/* The bytes of one stream and what else came, until the final frame of `request`. */
struct gathered {
	char data[2][256 * 1024];
	size_t size[2];
	bool ended[2];
	struct answer last;
	uint32_t input_credit;
	uint64_t id;
	int pauses;
};

/* False: no final frame yet. */
static bool gather(struct client *c, uint64_t request, struct gathered *g)
{
	struct answer a;

	while (client_next(c, &a)) {
		CHECK_EQ(a.header.request, request);
		g->last = a;
		if (a.header.flags & PROTO_FINAL)
			return true;
		switch (a.header.type) {
		case PROTO_RESULT:
			g->id = a.m.result.id;
			break;
		case PROTO_CREDIT:
			CHECK_EQ(a.m.credit.stream, PROTO_STREAM_IN);
			g->input_credit += a.m.credit.bytes;
			break;
		case PROTO_STATUS:
			g->pauses++;
			break;
		default:
			CHECK_EQ(a.header.type, PROTO_DATA);
			int i = a.m.data.stream - PROTO_STREAM_OUT;

			CHECK(i == 0 || i == 1);
			CHECK_EQ(a.m.data.position, g->size[i]);
			CHECK(!g->ended[i] &&
				g->size[i] + a.m.data.bytes.size <= sizeof(g->data[i]));
			if (a.m.data.bytes.size)
				memcpy(g->data[i] + g->size[i], a.m.data.bytes.data,
					a.m.data.bytes.size);
			g->size[i] += a.m.data.bytes.size;
			g->ended[i] = a.m.data.end;
		}
	}
	return false;
}

static struct gathered g;

static void gather_all(struct client *c, uint64_t request)
{
	memset(&g, 0, sizeof(g));
	CHECK(gather(c, request, &g));
}

static bool gathered_text(int i, const char *text)
{
	return g.size[i] == strlen(text) && memcmp(g.data[i], text, g.size[i]) == 0;
}

TEST(run_with_streams_and_status)
{
	struct proto_create run = create_of("prog");
	struct client c;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "prog", "echo one\nerr two\nargs\nenv\nexit 7\n");
	run.attach = outputs;
	run.credit = 1000;
	run.argc = 2;
	run.envc = 1;
	run.args = (struct proto_blob){(const uint8_t *)"p\0q\0K=v", 8};
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	gather_all(&c, 2);
	CHECK(gathered_text(0, "one\np\nq\nK=v\n"));
	CHECK(gathered_text(1, "two\n"));
	CHECK(g.ended[0] && g.ended[1]);
	CHECK_EQ(g.last.header.type, PROTO_STATUS);
	CHECK_EQ(g.last.m.status.id, g.id);
	CHECK_EQ(g.last.m.status.state, GUEST_STOPPED);
	CHECK_EQ(g.last.m.status.stop, STOP_EXIT);
	CHECK_EQ(g.last.m.status.exit_status, 7);
	client_end(&c);
	world_end();
}

TEST(one_byte_at_a_time)
{
	struct proto_create run = create_of("prog");
	struct client c;

	world_begin(NULL);
	client_open(&c);
	c.chunk = 1;
	put_script(&c, 1, "prog", "echo one\nexit 3\n");
	run.attach = outputs;
	run.credit = 1000;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	gather_all(&c, 2);
	CHECK(gathered_text(0, "one\n"));
	CHECK_EQ(g.last.m.status.exit_status, 3);
	client_end(&c);
	world_end();
}

TEST(output_keeps_to_its_credit_and_nothing_is_lost)
{
	struct proto_credit more = {.stream = PROTO_STREAM_OUT, .bytes = 30000};
	struct proto_create run = create_of("prog");
	struct client c;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "prog", "flood 200000\n");
	run.attach = outputs;
	run.credit = 10;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	memset(&g, 0, sizeof(g));
	CHECK(!gather(&c, 2, &g));
	CHECK_EQ(g.size[0], 10);
	for (size_t granted = 10; granted < 200000; granted += more.bytes) {
		CHECK_EQ(g.size[0], granted);
		client_send(&c, PROTO_CREDIT, 2, &more);
		settle();
		gather(&c, 2, &g);
	}
	CHECK_EQ(g.size[0], 200000);
	CHECK_EQ(g.last.header.type, PROTO_STATUS);
	for (size_t i = 0; i < g.size[0]; i++)
		CHECK_EQ(g.data[0][i], (char)('a' + i % 26));
	client_end(&c);
	world_end();
}

TEST(input_is_paced_and_arrives)
{
	static char text[100000];
	struct proto_create run = create_of("cat");
	struct client c;
	size_t sent = 0;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "cat", "cat\n");
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('A' + i % 23);
	run.attach = outputs | PROTO_ATTACH_IN;
	run.flags = PROTO_CREATE_INPUT;
	run.credit = PROTO_CREDIT_MAX;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	memset(&g, 0, sizeof(g));
	while (sent < sizeof(text)) {
		CHECK(!gather(&c, 2, &g));
		size_t n = MIN(g.input_credit, sizeof(text) - sent);

		CHECK(n > 0);
		struct proto_data data = {
			.stream = PROTO_STREAM_IN,
			.end = sent + n == sizeof(text),
			.position = sent,
			.bytes = {(const uint8_t *)text + sent, (uint32_t)n},
		};

		client_send(&c, PROTO_DATA, 2, &data);
		sent += n;
		g.input_credit -= (uint32_t)n;
		settle();
	}
	CHECK(gather(&c, 2, &g));
	CHECK_EQ(g.size[0], sizeof(text));
	CHECK(memcmp(g.data[0], text, sizeof(text)) == 0);
	CHECK_EQ(g.last.m.status.stop, STOP_EXIT);
	client_end(&c);
	world_end();
}

TEST(input_ends_when_the_client_that_gave_it_is_gone)
{
	struct proto_create run = create_of("cat");
	struct proto_get get = {.ref = {.name = "it"}};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "cat", "cat\nexit 9\n");
	snprintf(run.name, sizeof(run.name), "it");
	run.attach = PROTO_ATTACH_IN;
	run.flags = PROTO_CREATE_INPUT;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	client_end(&c);
	client_open(&c);
	client_send(&c, PROTO_GET, 1, &get);
	settle();
	client_expect(&c, PROTO_GUEST, 1, &a);
	CHECK_EQ(a.m.guest.exit_status, 9);
	client_end(&c);
	world_end();
}

TEST(input_that_waits_for_room_ends_with_its_client)
{
	static const uint8_t zeros[SERVER_INPUT_CREDIT];
	struct proto_act resume = {.ref = {.name = "it"}};
	struct proto_create run = create_of("cat");
	struct proto_get get = {.ref = resume.ref};
	struct client c;
	struct answer a;
	uint64_t sent = 0;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "cat", "cat\nexit 8\n");
	snprintf(run.name, sizeof(run.name), "it");
	run.attach = PROTO_ATTACH_IN;
	run.flags = PROTO_CREATE_INPUT | PROTO_CREATE_PAUSED;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	memset(&g, 0, sizeof(g));
	for (gather(&c, 2, &g); g.input_credit; gather(&c, 2, &g)) {
		struct proto_data data = {.position = sent, .bytes = {zeros, g.input_credit}};

		client_send(&c, PROTO_DATA, 2, &data);
		sent += g.input_credit;
		g.input_credit = 0;
		settle();
	}
	/* the guest's stream is full, and a block of ours behind it */
	CHECK_EQ(sent, STREAM_CAPACITY + SERVER_INPUT_CREDIT);
	const struct proto_data end = {.position = sent, .end = 1};

	client_send(&c, PROTO_DATA, 2, &end);
	settle();
	client_end(&c);
	client_open(&c);
	client_do(&c, PROTO_RESUME, 1, &resume);
	client_send(&c, PROTO_GET, 2, &get);
	settle();
	client_expect(&c, PROTO_GUEST, 2, &a);
	CHECK_EQ(a.m.guest.exit_status, 8);
	client_end(&c);
	world_end();
}

TEST(remove_when_stopped_waits_until_all_is_told)
{
	struct proto_create run = create_of("prog");
	struct fake_counts counts;
	struct client c;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "prog", "flood 5000\nexit 4\n");
	run.attach = outputs;
	run.credit = 100000;
	run.flags = PROTO_CREATE_REMOVE;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	gather_all(&c, 2);
	CHECK_EQ(g.size[0], 5000);
	CHECK_EQ(g.last.m.status.exit_status, 4);
	fake_count(&counts);
	CHECK_EQ(counts.guests, 0);
	client_end(&c);
	world_end();
}

TEST(a_pause_by_a_limit_is_told_once)
{
	struct proto_create run = create_of("prog");
	struct proto_act act = {.ref = {.id = 0}};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "prog", "echo a\npaused\necho b\n");
	run.attach = outputs;
	run.credit = 1000;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	memset(&g, 0, sizeof(g));
	CHECK(!gather(&c, 2, &g));
	CHECK_EQ(g.pauses, 1);
	CHECK_EQ(g.last.m.status.stop, STOP_MEMORY_LIMIT);
	CHECK(strlen(g.last.m.status.reason) > 0);
	act.ref.id = g.id;
	client_send(&c, PROTO_RESUME, 3, &act);
	poll_once();
	client_expect(&c, PROTO_DONE, 3, &a);
	settle();
	CHECK(gather(&c, 2, &g));
	CHECK(gathered_text(0, "a\nb\n"));
	client_end(&c);
	world_end();
}

/* Makes a guest of a new image; its id. */
static uint64_t run_named(struct client *c, const char *name, const char *script)
{
	struct proto_create run = create_of(name);
	struct answer a;

	put_script(c, 1000, name, script);
	snprintf(run.name, sizeof(run.name), "%s", name);
	client_send(c, PROTO_RUN, 1001, &run);
	settle();
	client_expect(c, PROTO_RESULT, 1001, &a);
	uint64_t id = a.m.result.id;

	client_expect(c, PROTO_DONE, 1001, &a);
	CHECK_EQ(a.m.done.count, 1);
	return id;
}

TEST(fork_answers_for_each_in_slices)
{
	struct proto_create fork = create_of("base");
	struct client c, other;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	client_open(&other);
	run_named(&c, "base", "wait\n");
	fork.count = 3000;
	snprintf(fork.name, sizeof(fork.name), "kid");
	client_send(&c, PROTO_FORK, 5, &fork);
	poll_once();
	/* It is cut into slices: another client is served in between. */
	client_send(&other, PROTO_GET_INFO, 1, NULL);
	poll_once();
	client_expect(&other, PROTO_INFO, 1, &a);
	CHECK(a.m.info.guests > 1 && a.m.info.guests < 3000);
	CHECK_EQ(a.m.info.requests, 1);
	CHECK_EQ(a.m.info.connections, 2);
	settle();
	uint64_t last = 0;

	for (uint32_t i = 0; i < 3000; i++) {
		client_expect(&c, PROTO_RESULT, 5, &a);
		CHECK_EQ(a.m.result.index, i);
		CHECK(a.m.result.id > last);
		last = a.m.result.id;
	}
	client_expect(&c, PROTO_DONE, 5, &a);
	CHECK_EQ(a.m.done.count, 3000);
	struct proto_get get = {.ref = {.name = "kid-3000"}};

	client_send(&c, PROTO_GET, 6, &get);
	settle();
	client_expect(&c, PROTO_GUEST, 6, &a);
	CHECK_EQ(a.m.guest.id, last);
	client_end(&c);
	client_end(&other);
	world_end();
}

TEST(forks_keep_arguments_of_their_own)
{
	struct proto_create fork = create_of("base");
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	run_named(&c, "base", "paused\nargs\n");
	fork.count = 100;
	fork.argc = 1;
	fork.args = (struct proto_blob){(const uint8_t *)"mine", 5};
	client_send(&c, PROTO_FORK, 5, &fork);
	/* what follows overwrites the frame that they came in */
	for (int i = 0; i < 40; i++)
		client_send(&c, PROTO_GET_INFO, 1, NULL);
	settle();
	uint64_t last = 0;

	while (client_next(&c, &a)) {
		if (a.header.type == PROTO_RESULT)
			last = a.m.result.id;
	}
	struct proto_attach attach = {
		.guest = {.id = last}, .flags = PROTO_ATTACH_OUT, .credit = 100};

	client_send(&c, PROTO_ATTACH, 6, &attach);
	settle();
	gather_all(&c, 6);
	CHECK(gathered_text(0, "mine\n"));
	client_end(&c);
	world_end();
}

TEST(forks_that_find_no_memory_are_told_one_by_one)
{
	struct proto_create fork = create_of("base");
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	run_named(&c, "base", "wait\n");
	fake_guest_limit(11);
	fork.count = 100;
	client_send(&c, PROTO_FORK, 5, &fork);
	settle();
	for (uint32_t i = 0; i < 100; i++) {
		client_expect(&c, PROTO_RESULT, 5, &a);
		CHECK_EQ(a.m.result.code, i < 10 ? PROTO_OK : PROTO_E_NOMEM);
		CHECK_EQ(a.m.result.text[0] != 0, i >= 10);
	}
	client_expect(&c, PROTO_DONE, 5, &a);
	CHECK_EQ(a.m.done.count, 10);
	fork.count = 1;
	client_send(&c, PROTO_FORK, 6, &fork);
	settle();
	client_expect(&c, PROTO_ERROR, 6, &a);
	CHECK_EQ(a.m.error.code, PROTO_E_NOMEM);
	CHECK(a.m.error.retry_ms > 0);
	client_end(&c);
	world_end();
}

TEST(the_verbs)
{
	struct proto_act act = {.ref = {.name = "base"}};
	struct proto_take_snapshot snapshot = {.guest = {.name = "base"}, .name = "snap"};
	struct proto_rollback rollback = {.guest = {.name = "base"}, .snapshot = {.name = "snap"}};
	struct proto_set_limit limit = {.guest = {.name = "base"}, .max_pages = 99, .weight = 7};
	struct proto_get get = {.ref = {.name = "base"}};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	uint64_t id = run_named(&c, "base", "wait\n");

	client_send(&c, PROTO_TAKE_SNAPSHOT, 1, &snapshot);
	settle();
	client_expect(&c, PROTO_RESULT, 1, &a);
	uint64_t snap = a.m.result.id;

	client_expect(&c, PROTO_DONE, 1, &a);
	client_do(&c, PROTO_ROLLBACK, 2, &rollback);
	client_do(&c, PROTO_PAUSE, 3, &act);
	client_do(&c, PROTO_SET_LIMIT, 4, &limit);
	client_send(&c, PROTO_PAUSE, 5, &act);
	settle();
	client_expect_error(&c, 5, PROTO_E_BUSY);
	client_do(&c, PROTO_RESUME, 6, &act);
	client_send(&c, PROTO_REMOVE, 7, &act);
	settle();
	client_expect_error(&c, 7, PROTO_E_BUSY);
	client_do(&c, PROTO_KILL, 8, &act);
	/* the name alone may mean the guest or the image, so an image has to be asked for */
	get.ref.kind = PROTO_KIND_GUEST;
	client_send(&c, PROTO_GET, 9, &get);
	settle();
	client_expect(&c, PROTO_GUEST, 9, &a);
	CHECK_EQ(a.m.guest.id, id);
	CHECK_EQ(a.m.guest.max_pages, 99);
	CHECK_EQ(a.m.guest.weight, 7);
	CHECK_EQ(a.m.guest.state, GUEST_STOPPED);
	get.ref.kind = PROTO_ANY;
	client_send(&c, PROTO_GET, 10, &get);
	settle();
	client_expect_error(&c, 10, PROTO_E_INVALID);
	client_do(&c, PROTO_REMOVE, 11, &act);
	act.ref = (struct proto_ref){.id = snap};
	client_do(&c, PROTO_REMOVE, 12, &act);
	client_send(&c, PROTO_REMOVE, 13, &act);
	settle();
	client_expect_error(&c, 13, PROTO_E_NOENT);
	act.ref = (struct proto_ref){.name = "base"};
	client_do(&c, PROTO_REMOVE_IMAGE, 14, &act);
	struct fake_counts counts;

	fake_count(&counts);
	CHECK_EQ(counts.guests + counts.snapshots, 0);
	client_end(&c);
	world_end();
}

TEST(lists_come_in_pages)
{
	struct proto_create fork = create_of("base");
	struct proto_list list = {.max = 40, .all = 1};
	struct client c;
	struct answer a;
	uint64_t seen = 0, pages = 0;

	world_begin(NULL);
	client_open(&c);
	uint64_t base = run_named(&c, "base", "wait\n");

	fork.count = 150;
	client_send(&c, PROTO_FORK, 5, &fork);
	settle();
	while (client_next(&c, &a))
		;
	do {
		client_send(&c, PROTO_LIST_GUESTS, 6, &list);
		settle();
		do {
			CHECK(client_next(&c, &a));
			if (a.header.type == PROTO_GUEST) {
				seen++;
				CHECK(a.m.guest.id > list.after);
				CHECK_EQ(a.m.guest.lineage, base);
			}
		} while (!(a.header.flags & PROTO_FINAL));
		CHECK(a.m.done.count <= 40);
		list.after = a.m.done.next;
		pages++;
	} while (a.m.done.next);
	CHECK_EQ(seen, 151);
	CHECK_EQ(pages, 4);
	list = (struct proto_list){.lineage = base + 1};
	client_send(&c, PROTO_LIST_GUESTS, 7, &list);
	settle();
	client_expect(&c, PROTO_DONE, 7, &a);
	CHECK_EQ(a.m.done.count, 0);
	client_end(&c);
	world_end();
}

TEST(wait_ends_when_the_guest_stops)
{
	struct proto_get wait = {.ref = {.name = "base", .kind = PROTO_KIND_GUEST}};
	struct proto_act act = {.ref = {.name = "base", .kind = PROTO_KIND_GUEST}};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	run_named(&c, "base", "wait\n");
	client_send(&c, PROTO_WAIT, 1, &wait);
	settle();
	CHECK(!client_next(&c, &a));
	client_do(&c, PROTO_KILL, 2, &act);
	settle();
	client_expect(&c, PROTO_STATUS, 1, &a);
	CHECK_EQ(a.m.status.stop, STOP_KILLED);
	/* and at once when it has stopped before */
	client_send(&c, PROTO_WAIT, 3, &wait);
	settle();
	client_expect(&c, PROTO_STATUS, 3, &a);
	client_end(&c);
	world_end();
}

TEST(wait_sees_the_end_of_a_guest_that_removes_itself)
{
	struct proto_get wait = {.ref = {.name = "brief", .kind = PROTO_KIND_GUEST}};
	struct proto_create run = create_of("brief");
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	/* more on stderr than a stream holds, which one who waits must not hold up */
	put_script(&c, 1, "brief", "paused\nerr x\nflood 100000\nexit 6\n");
	snprintf(run.name, sizeof(run.name), "brief");
	run.flags = PROTO_CREATE_REMOVE;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 2, &a);
	client_expect(&c, PROTO_DONE, 2, &a);
	/* one more than there are readers */
	for (uint64_t i = 0; i <= STREAM_MAX_READERS; i++)
		client_send(&c, PROTO_WAIT, 10 + i, &wait);
	settle();
	while (client_next(&c, &a))
		CHECK_EQ(a.m.status.state, GUEST_PAUSED);
	struct proto_act resume = {.ref = wait.ref};

	client_do(&c, PROTO_RESUME, 3, &resume);
	now_us += SERVER_LOOK_US;
	settle();
	for (int ends = 0; ends <= STREAM_MAX_READERS;) {
		CHECK(client_next(&c, &a));
		if (!(a.header.flags & PROTO_FINAL))
			continue;
		ends++;
		CHECK(a.header.type == PROTO_ERROR || a.m.status.exit_status == 6);
		CHECK_EQ(a.header.type == PROTO_ERROR, ends == STREAM_MAX_READERS + 1);
	}
	struct fake_counts counts;

	fake_count(&counts);
	CHECK_EQ(counts.guests, 0);
	client_end(&c);
	world_end();
}

TEST(output_that_is_not_followed_ends_where_it_was_asked_for)
{
	struct proto_act act = {.ref = {.name = "base", .kind = PROTO_KIND_GUEST}};
	struct proto_attach attach = {
		.guest = act.ref, .flags = PROTO_ATTACH_OUT | PROTO_ATTACH_ERR, .credit = 2};
	struct proto_credit credit = {.stream = PROTO_STREAM_OUT, .bytes = 100};
	struct client c, other;

	world_begin(NULL);
	client_open(&c);
	run_named(&c, "base", "echo first\npaused\necho second\nerr third\nwait\n");
	client_send(&c, PROTO_ATTACH, 2, &attach);
	settle();
	client_open(&other);
	client_do(&other, PROTO_RESUME, 3, &act);
	client_send(&c, PROTO_CREDIT, 2, &credit);
	settle();
	gather_all(&c, 2);
	CHECK(gathered_text(0, "first\n"));
	CHECK(gathered_text(1, ""));
	client_end(&c);
	client_end(&other);
	world_end();
}

TEST(removal_ends_what_waits_for_a_guest)
{
	struct proto_act act = {.ref = {.name = "base", .kind = PROTO_KIND_GUEST}};
	struct proto_attach follow = {
		.guest = act.ref, .flags = PROTO_ATTACH_OUT | PROTO_ATTACH_FOLLOW, .credit = 0};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	run_named(&c, "base", "echo x\nexit 0\n");
	client_send(&c, PROTO_ATTACH, 1, &follow);
	settle();
	client_expect(&c, PROTO_RESULT, 1, &a);
	client_do(&c, PROTO_REMOVE, 2, &act);
	settle();
	client_expect_error(&c, 1, PROTO_E_NOENT);
	client_end(&c);
	world_end();
}

TEST(several_requests_in_flight_and_cancel)
{
	struct proto_get wait = {.ref = {.name = "base", .kind = PROTO_KIND_GUEST}};
	struct proto_attach follow = {.guest = wait.ref,
		.flags = PROTO_ATTACH_OUT | PROTO_ATTACH_FOLLOW | PROTO_ATTACH_HOLD};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	run_named(&c, "base", "wait\n");
	client_send(&c, PROTO_WAIT, 1, &wait);
	client_send(&c, PROTO_ATTACH, 2, &follow);
	client_send(&c, PROTO_GET_INFO, 3, NULL);
	settle();
	client_expect(&c, PROTO_RESULT, 2, &a);
	client_expect(&c, PROTO_INFO, 3, &a);
	CHECK_EQ(a.m.info.requests, 2);
	client_send(&c, PROTO_CANCEL, 2, NULL);
	client_send(&c, PROTO_CANCEL, 1, NULL);
	client_send(&c, PROTO_CANCEL, 1, NULL); /* too late, and so of no effect */
	settle();
	client_expect_error(&c, 2, PROTO_E_CANCELLED);
	client_expect_error(&c, 1, PROTO_E_CANCELLED);
	CHECK(!client_next(&c, &a));
	CHECK_EQ(server.request_pool.used, 0);
	client_end(&c);
	world_end();
}

TEST(the_host_log_is_followed)
{
	struct proto_get_log ask = {.follow = 1, .credit = 10000};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	fake_log("first");
	client_send(&c, PROTO_GET_LOG, 1, &ask);
	settle();
	client_expect(&c, PROTO_DATA, 1, &a);
	CHECK_EQ(a.m.data.stream, PROTO_STREAM_LOG);
	CHECK(memcmp(a.m.data.bytes.data, "first\n", 6) == 0);
	fake_log("second");
	settle();
	CHECK(!client_next(&c, &a));
	CHECK(server_next_timer(&server) <= now_us + SERVER_LOOK_US);
	now_us += SERVER_LOOK_US;
	settle();
	client_expect(&c, PROTO_DATA, 1, &a);
	ask = (struct proto_get_log){.position = a.m.data.position, .credit = 10000};
	client_send(&c, PROTO_GET_LOG, 2, &ask);
	settle();
	client_expect(&c, PROTO_DONE, 2, &a);
	client_end(&c);
	world_end();
}

TEST(the_log_keeps_to_its_credit)
{
	struct proto_get_log ask = {.credit = 1000};
	struct proto_credit more = {.stream = PROTO_STREAM_LOG, .bytes = 700};
	size_t granted = ask.credit, got = 0;
	struct client c;
	struct answer a;
	char line[32];

	world_begin(NULL);
	client_open(&c);
	for (int i = 0; i < 400; i++) {
		snprintf(line, sizeof(line), "line number %d", i);
		fake_log(line);
	}
	client_send(&c, PROTO_GET_LOG, 1, &ask);
	do {
		settle();
		while (client_next(&c, &a) && a.header.type == PROTO_DATA)
			got += a.m.data.bytes.size;
		CHECK(got <= granted);
		/* it waits, without asking for polls */
		CHECK(a.header.type == PROTO_DONE || !poll_once());
		client_send(&c, PROTO_CREDIT, 1, &more);
		granted += more.bytes;
	} while (a.header.type != PROTO_DONE);
	CHECK_EQ(got, 10 * 14 + 90 * 15 + 300 * 16);
	client_end(&c);
	world_end();
}

TEST(meters_are_read_and_reset)
{
	struct proto_get_meters ask = {.reset = 1};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	run_named(&c, "base", "wait\n");
	for (uint64_t count = 1; count <= 1; count--) {
		client_send(&c, PROTO_GET_METERS, 1, &ask);
		settle();
		for (int i = 0; i < METER_KINDS; i++) {
			client_expect(&c, PROTO_METER, 1, &a);
			if (i == METER_RUN)
				CHECK_EQ(a.m.meter.count, count);
		}
		client_expect(&c, PROTO_DONE, 1, &a);
	}
	client_end(&c);
	world_end();
}

TEST(names_and_ids_that_mean_nothing)
{
	struct proto_act act = {.ref = {.name = "nobody"}};
	struct proto_create run = create_of("nothing");
	struct proto_get get = {.ref = {.id = 12345}};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	client_send(&c, PROTO_KILL, 1, &act);
	client_send(&c, PROTO_RUN, 2, &run);
	client_send(&c, PROTO_FORK, 3, &run);
	client_send(&c, PROTO_GET, 4, &get);
	client_send(&c, PROTO_WAIT, 5, &get);
	act.ref = (struct proto_ref){.kind = PROTO_KIND_IMAGE, .id = 7};
	client_send(&c, PROTO_KILL, 6, &act);
	settle();
	client_expect(&c, PROTO_ERROR, 1, &a);
	CHECK_STR(a.m.error.text, "there is no guest named nobody");
	for (uint64_t i = 2; i <= 6; i++)
		client_expect_error(&c, i, PROTO_E_NOENT);
	client_end(&c);
	world_end();
}
