/* Requests that come again with their key. */
#include "tests/unit/mgmt_client.h"

static struct proto_key key_of(uint64_t n)
{
	struct proto_key key = {{0}};

	memcpy(key.bytes, &n, sizeof(n));
	key.bytes[15] = 1;
	return key;
}

static uint64_t guests(void)
{
	struct fake_counts counts;

	fake_count(&counts);
	return counts.guests;
}

/* Sends RUN or FORK of one, and returns the id. */
static uint64_t made(struct client *c, uint64_t request, const struct proto_create *m)
{
	struct answer a, done;

	client_send(c, PROTO_RUN, request, m);
	settle();
	client_expect(c, PROTO_RESULT, request, &a);
	client_expect(c, PROTO_DONE, request, &done);
	CHECK_EQ(done.m.done.count, 1);
	return a.m.result.id;
}

TEST(what_was_done_is_not_done_again)
{
	struct proto_create run = create_of("wait");
	struct client c, d;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "wait", "wait\n");
	run.key = key_of(1);
	uint64_t id = made(&c, 2, &run);

	CHECK_EQ(made(&c, 3, &run), id);
	client_end(&c);
	client_open(&d);
	CHECK_EQ(made(&d, 2, &run), id);
	CHECK_EQ(guests(), 1);
	/* the same key for something else is a mistake, and does nothing */
	run.weight = 7;
	client_send(&d, PROTO_RUN, 3, &run);
	settle();
	client_expect_error(&d, 3, PROTO_E_INVALID);
	struct proto_act kill = {.key = key_of(1), .ref = {.id = id}};

	client_send(&d, PROTO_KILL, 4, &kill);
	settle();
	client_expect_error(&d, 4, PROTO_E_INVALID);
	CHECK_EQ(guests(), 1);
	/* a second kill of a stopped guest is an error, but not the same one again */
	kill.key = key_of(2);
	client_do(&d, PROTO_KILL, 5, &kill);
	client_do(&d, PROTO_KILL, 6, &kill);
	kill.key = key_of(3);
	client_send(&d, PROTO_KILL, 7, &kill);
	settle();
	client_expect_error(&d, 7, PROTO_E_BUSY);
	/* without a key each is one of its own */
	run.key = (struct proto_key){{0}};
	CHECK(made(&d, 8, &run) != made(&d, 9, &run));
	client_end(&d);
	world_end();
}

TEST(what_failed_is_tried_again)
{
	struct proto_create run = create_of("wait");
	struct client c;

	world_begin(NULL);
	client_open(&c);
	run.key = key_of(1);
	client_send(&c, PROTO_RUN, 1, &run);
	settle();
	client_expect_error(&c, 1, PROTO_E_NOENT);
	put_script(&c, 2, "wait", "wait\n");
	CHECK(made(&c, 3, &run));
	client_end(&c);
	world_end();
}

TEST(an_interrupted_batch_goes_on)
{
	static uint64_t ids[2000];
	struct proto_create run = create_of("wait");
	struct client c, d;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "wait", "wait\n");
	run.key = key_of(9);
	run.count = 2000;
	snprintf(run.name, sizeof(run.name), "g");
	client_send(&c, PROTO_RUN, 2, &run);
	poll_once();
	poll_once();
	CHECK(guests() > 0 && guests() < 2000);
	client_end(&c);
	for (int round = 0; round < 2; round++) {
		client_open(&d);
		client_send(&d, PROTO_RUN, 2, &run);
		settle();
		for (uint32_t i = 0; i < 2000; i++) {
			client_expect(&d, PROTO_RESULT, 2, &a);
			CHECK_EQ(a.m.result.index, i);
			CHECK_EQ(a.m.result.code, PROTO_OK);
			CHECK(round == 0 || a.m.result.id == ids[i]);
			ids[i] = a.m.result.id;
		}
		client_expect(&d, PROTO_DONE, 2, &a);
		CHECK_EQ(a.m.done.count, 2000);
		CHECK_EQ(guests(), 2000);
		client_end(&d);
	}
	world_end();
}

TEST(a_retry_takes_over_what_still_goes_on)
{
	struct proto_create run = create_of("wait");
	struct client c, d;
	struct answer a;
	uint32_t n = 0;

	world_begin(NULL);
	client_open(&c);
	client_open(&d);
	put_script(&c, 1, "wait", "wait\n");
	run.key = key_of(9);
	run.count = 1000;
	client_send(&c, PROTO_RUN, 2, &run);
	poll_once();
	poll_once();
	client_send(&d, PROTO_RUN, 5, &run);
	settle();
	while (client_next(&c, &a) && a.header.type == PROTO_RESULT)
		n++;
	CHECK_EQ(a.header.type, PROTO_ERROR);
	CHECK_EQ(a.m.error.code, PROTO_E_CANCELLED);
	CHECK(n > 0 && n < 1000);
	for (n = 0; client_next(&d, &a) && a.header.type == PROTO_RESULT; n++)
		CHECK_EQ(a.m.result.index, n);
	CHECK_EQ(n, 1000);
	CHECK_EQ(guests(), 1000);
	client_end(&c);
	client_end(&d);
	world_end();
}

TEST(streams_and_uploads_that_come_again)
{
	struct proto_create run = create_of("prog");
	struct proto_put put = {.key = key_of(4), .name = "prog"};
	struct proto_data data = {.stream = PROTO_STREAM_UPLOAD,
		.bytes = {(const uint8_t *)"echo one\nwait\n######", 20}};
	struct client c, d;
	struct answer a;

	put_announce(&put, data.bytes.data, data.bytes.size);
	world_begin(NULL);
	client_open(&c);
	client_send(&c, PROTO_PUT, 1, &put);
	client_send(&c, PROTO_DATA, 1, &data);
	client_send(&c, PROTO_PUT_COMMIT, 1, NULL);
	settle();
	client_expect(&c, PROTO_UPLOAD, 1, &a);
	client_expect(&c, PROTO_IMAGE, 1, &a);
	uint64_t image = a.m.image.id;

	client_send(&c, PROTO_PUT, 2, &put);
	settle();
	client_expect(&c, PROTO_IMAGE, 2, &a);
	CHECK_EQ(a.m.image.id, image);
	CHECK_EQ(a.header.flags, PROTO_FINAL);
	run.key = key_of(5);
	run.attach = PROTO_ATTACH_OUT;
	run.credit = 1000;
	client_send(&c, PROTO_RUN, 3, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 3, &a);
	uint64_t guest = a.m.result.id;

	client_end(&c);
	client_open(&d);
	client_send(&d, PROTO_RUN, 3, &run);
	settle();
	client_expect(&d, PROTO_RESULT, 3, &a);
	CHECK_EQ(a.m.result.id, guest);
	client_expect(&d, PROTO_DATA, 3, &a);
	CHECK_EQ(a.m.data.bytes.size, 4);
	CHECK_EQ(guests(), 1);
	client_end(&d);
	world_end();
}

TEST(memory_of_requests_has_an_end)
{
	struct proto_create run = create_of("wait");
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "wait", "wait\n");
	run.key = key_of(1);
	uint64_t first = made(&c, 2, &run);

	for (uint64_t n = 0; n < 2 * SERVER_KEYS_PER_CLIENT; n++) {
		run.key = key_of(100 + n);
		run.count = 2;
		client_send(&c, PROTO_RUN, 10 + n, &run);
		settle();
		while (client_next(&c, &a) && a.header.type != PROTO_DONE)
			;
		CHECK(server.key_blocks.used <= server.key_blocks.count);
	}
	/* the oldest is forgotten, and made once more */
	run.key = key_of(1);
	run.count = 1;
	CHECK(made(&c, 5000, &run) != first);
	/* of the newest there was no room for the ids: that it was done is known all the same */
	uint64_t before = guests();

	run.key = key_of(100 + 2 * SERVER_KEYS_PER_CLIENT - 1);
	run.count = 2;
	client_send(&c, PROTO_RUN, 5001, &run);
	settle();
	CHECK(client_next(&c, &a));
	CHECK(a.header.type == PROTO_RESULT || a.m.error.code == PROTO_E_LIMIT);
	CHECK_EQ(guests(), before);
	client_end(&c);
	world_end();
}
