/* Uploads: what is cut off is kept within bounds, and goes on where it was; hashes are checked. */
#include "mgmt/server_internal.h"
#include "tests/unit/mgmt_client.h"

#define FRAMES 800 /* of the fake host, where memory is short */
#define MOST   (FRAMES / SERVER_KEPT_SHARE * PAGE_SIZE)

static const char script[] = "echo resumed\nwait\n################################";
#define SIZE (sizeof(script) - 1)
#define HALF 20

/* Whose clients may have uploads kept for four owners. */
static const struct channel_client clients[3] = {
	{.role = ROLE_ADMIN}, {.role = ROLE_OWNER}, {.role = ROLE_OWNER}};
static const struct channel_host host = {.clients = clients, .client_count = 3};
static const struct server_config plenty = {
	.connections = 64, .requests = 256, .buffers = 32, .inputs = 4, .host = &host};

/* From `at` on, `size` bytes. */
static void send_part(struct client *c, uint64_t request, const void *bytes, size_t at, size_t size)
{
	struct proto_data data = {.stream = PROTO_STREAM_UPLOAD,
		.position = at,
		.bytes = {(const uint8_t *)bytes + at, (uint32_t)size}};

	client_send(c, PROTO_DATA, request, &data);
	settle();
}

static struct proto_put put_of(const char *name)
{
	struct proto_put put = {0};

	put_announce(&put, script, SIZE);
	snprintf(put.name, sizeof(put.name), "%s", name);
	return put;
}

/* Begins an upload; where the host goes on. */
static uint64_t begin(struct client *c, uint64_t request, const struct proto_put *put)
{
	struct answer a;

	client_send(c, PROTO_PUT, request, put);
	settle();
	client_expect(c, PROTO_UPLOAD, request, &a);
	return a.m.upload.offset;
}

/* A client of that name uploads `size` bytes of a file that begins with `first`, and goes. */
static void cut_off(const char *owner, char first, size_t size, size_t whole)
{
	static char bytes[1024 * 1024];
	struct proto_put put = {.name = "part"};
	struct client c;

	memset(bytes, first, sizeof(bytes));
	put_announce(&put, bytes, whole);
	client_open_as(&c, ROLE_OWNER, owner);
	begin(&c, 1, &put);
	for (size_t at = 0; at < size; at += PROTO_DATA_MAX)
		send_part(&c, 1, bytes, at, MIN(size - at, (size_t)PROTO_DATA_MAX));
	client_end(&c);
}

static uint64_t uploads(void)
{
	struct fake_counts counts;

	fake_count(&counts);
	CHECK_EQ(counts.uploads, server.kept_pool.used);
	return counts.uploads;
}

/* The images that a client sees with `all`, as "owner/name received"; the id of the last upload. */
static const char *listed(struct client *c, uint32_t max, uint64_t *id)
{
	static char text[512];
	struct proto_list ask = {.all = 1, .max = max};
	struct answer a;
	size_t n = 0;

	text[0] = 0;
	do {
		client_send(c, PROTO_LIST_IMAGES, 900, &ask);
		settle();
		while (client_next(c, &a) && a.header.type == PROTO_IMAGE) {
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s/%s", a.m.image.owner,
				a.m.image.name);
			if (a.m.image.upload) {
				n += (size_t)snprintf(text + n, sizeof(text) - n, " %u",
					(unsigned)a.m.image.received);
				*id = a.m.image.id;
			}
			n += (size_t)snprintf(text + n, sizeof(text) - n, ",");
		}
		CHECK_EQ(a.header.type, PROTO_DONE);
		ask.after = a.m.done.next;
	} while (ask.after);
	return text;
}

TEST(what_was_cut_off_goes_on)
{
	struct proto_put put = put_of("prog");
	struct proto_create run = create_of("prog");
	struct client c;
	struct answer a;

	world_begin(&plenty);
	client_open(&c);
	CHECK_EQ(begin(&c, 1, &put), 0);
	send_part(&c, 1, script, 0, HALF);
	CHECK_EQ(server.kept_pool.used, 0);
	client_end(&c);
	CHECK_EQ(uploads(), 1);
	CHECK_EQ(server.kept_bytes, HALF);

	/* and once more; under another name */
	client_open(&c);
	snprintf(put.name, sizeof(put.name), "other");
	CHECK_EQ(begin(&c, 1, &put), HALF);
	CHECK_EQ(server.kept_pool.used, 0);
	send_part(&c, 1, script, HALF, 5);
	client_end(&c);
	client_open(&c);
	snprintf(put.name, sizeof(put.name), "prog");
	CHECK_EQ(begin(&c, 1, &put), HALF + 5);
	send_part(&c, 1, script, HALF + 5, SIZE - HALF - 5);
	client_end(&c);

	/* all came, but not that it was all */
	client_open(&c);
	CHECK_EQ(begin(&c, 1, &put), SIZE);
	client_send(&c, PROTO_PUT_COMMIT, 1, NULL);
	settle();
	client_expect(&c, PROTO_IMAGE, 1, &a);
	CHECK_STR(a.m.image.name, "prog");
	CHECK(!a.m.image.upload && !a.m.image.received);
	CHECK_EQ(uploads(), 0);
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 2, &a);
	client_expect(&c, PROTO_DONE, 2, &a);
	client_end(&c);
	world_end();
}

TEST(only_the_same_bytes_go_on)
{
	struct proto_put put = put_of("prog"), other = put;
	struct client c;

	world_begin(&plenty);
	client_open(&c);
	begin(&c, 1, &put);
	send_part(&c, 1, script, 0, HALF);
	client_end(&c);
	client_open(&c);
	other.hash[31] ^= 1;
	CHECK_EQ(begin(&c, 1, &other), 0);
	other = put;
	other.size++;
	CHECK_EQ(begin(&c, 2, &other), 0);
	CHECK_EQ(server.kept_pool.used, 1);
	CHECK_EQ(begin(&c, 3, &put), HALF);
	/* what goes on at one place can't at another */
	CHECK_EQ(begin(&c, 4, &put), 0);
	client_end(&c);
	world_end();
}

TEST(a_wrong_hash_is_refused_with_both)
{
	struct proto_put put = put_of("prog");
	struct client c;
	struct answer a;

	world_begin(&plenty);
	client_open(&c);
	put.hash[0] = 0xab;
	put.hash[1] = 0xcd;
	memset(put.name, 'n', PROTO_NAME_MAX - 1);
	begin(&c, 1, &put);
	send_part(&c, 1, script, 0, SIZE);
	client_send(&c, PROTO_PUT_COMMIT, 1, NULL);
	settle();
	client_expect(&c, PROTO_ERROR, 1, &a);
	CHECK_EQ(a.m.error.code, PROTO_E_INVALID);
	CHECK(!memcmp(a.m.error.text, put.name, PROTO_NAME_MAX - 1));
	CHECK(strstr(a.m.error.text, ": the hash of what came is "));
	CHECK(strstr(a.m.error.text, ", not abcd"));
	/* both are there to their last digit */
	CHECK_EQ(strlen(strstr(a.m.error.text, " is ")), 4 + 64 + 6 + 64);
	client_end(&c);
	CHECK_EQ(uploads(), 0);

	/* also when what came first is another file's */
	put = put_of("prog");
	client_open(&c);
	begin(&c, 1, &put);
	send_part(&c, 1, "wrong from the beginning", 0, HALF);
	client_end(&c);
	client_open(&c);
	CHECK_EQ(begin(&c, 1, &put), HALF);
	send_part(&c, 1, script, HALF, SIZE - HALF);
	client_send(&c, PROTO_PUT_COMMIT, 1, NULL);
	settle();
	client_expect_error(&c, 1, PROTO_E_INVALID);
	CHECK_EQ(begin(&c, 2, &put), 0);
	client_end(&c);
	world_end();
}

TEST(what_is_not_kept)
{
	struct proto_put put = put_of("prog");
	struct client c;

	world_begin(&plenty);
	/* nothing came */
	client_open(&c);
	begin(&c, 1, &put);
	client_end(&c);
	CHECK_EQ(uploads(), 0);
	/* the client wants it no more */
	client_open(&c);
	begin(&c, 1, &put);
	send_part(&c, 1, script, 0, HALF);
	client_send(&c, PROTO_CANCEL, 1, NULL);
	settle();
	client_expect_error(&c, 1, PROTO_E_CANCELLED);
	CHECK_EQ(uploads(), 0);
	/* less than was announced, and more */
	begin(&c, 2, &put);
	send_part(&c, 2, script, 0, HALF);
	client_send(&c, PROTO_PUT_COMMIT, 2, NULL);
	settle();
	client_expect_error(&c, 2, PROTO_E_INVALID);
	put.size = HALF + 1;
	begin(&c, 3, &put);
	send_part(&c, 3, script, 0, HALF);
	send_part(&c, 3, script, HALF, 2);
	client_expect_error(&c, 3, PROTO_E_TOOBIG);
	CHECK_EQ(uploads(), 0);
	/* but what a client sent before it broke a rule, or fell silent */
	put = put_of("prog");
	begin(&c, 4, &put);
	send_part(&c, 4, script, 0, HALF);
	send_part(&c, 4, script, HALF + 1, 1);
	CHECK(c.closed);
	client_end(&c);
	CHECK_EQ(uploads(), 1);
	client_open(&c);
	CHECK_EQ(begin(&c, 1, &put), HALF);
	now_us += SERVER_UPLOAD_US;
	settle();
	CHECK(c.closed);
	client_end(&c);
	CHECK_EQ(uploads(), 1);
	world_end();
}

TEST(so_much_is_kept_of_an_owner)
{
	struct client c;
	uint64_t id = 0;

	world_begin(&plenty);
	cut_off("bob", 'b', 7, 100);
	for (int i = 0; i < 2 * SERVER_KEPT_PER_OWNER; i++)
		cut_off("alice", (char)('0' + i), 10 + (size_t)i, 100);
	client_open_as(&c, ROLE_OPERATOR, "op");
	CHECK_STR(listed(&c, 0, &id),
		"bob/part 7,alice/part 14,alice/part 15,alice/part 16,alice/part 17,");
	/* by bytes; what is more than all of them by itself pushes nothing out */
	fake_memory(FRAMES, FRAMES);
	cut_off("alice", 'x', MOST + 1, MOST + 2);
	CHECK_EQ(uploads(), 5);
	cut_off("alice", 'y', MOST - 17, MOST + 2);
	CHECK_STR(listed(&c, 0, &id), "bob/part 7,alice/part 17,alice/part 409583,");
	cut_off("alice", 'z', 1, MOST + 2);
	CHECK_STR(listed(&c, 0, &id), "bob/part 7,alice/part 409583,alice/part 1,");
	client_end(&c);
	world_end();
}

TEST(time_and_want_of_memory_end_it)
{
	struct proto_create run = create_of("prog");
	struct client c;
	struct answer a;

	world_begin(&plenty);
	client_open(&c);
	put_script(&c, 1, "prog", "wait\n");
	cut_off("alice", 'a', 10, 100);
	now_us += SERVER_KEPT_US / 2;
	cut_off("bob", 'b', 10, 100);
	CHECK(server_next_timer(&server) <= now_us + SERVER_KEPT_LOOK_US);
	now_us += SERVER_KEPT_US / 2;
	poll_once();
	CHECK_EQ(uploads(), 1);

	/* memory gets short */
	fake_memory(FRAMES / SERVER_KEPT_SHARE, FRAMES);
	now_us += SERVER_KEPT_LOOK_US;
	poll_once();
	CHECK_EQ(uploads(), 1);
	fake_memory(FRAMES / SERVER_KEPT_SHARE - 1, FRAMES);
	now_us += SERVER_KEPT_LOOK_US;
	poll_once();
	CHECK_EQ(uploads(), 0);
	fake_memory(FRAMES, FRAMES);

	/* there is none for what a client asks for: it comes back in a moment */
	cut_off("alice", 'a', 10, 100);
	cut_off("bob", 'b', 10, 100);
	fake_guest_limit(1);
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 2, &a);
	client_expect(&c, PROTO_DONE, 2, &a);
	client_send(&c, PROTO_RUN, 3, &run);
	settle();
	client_expect(&c, PROTO_ERROR, 3, &a);
	CHECK_EQ(a.m.error.code, PROTO_E_RETRY);
	CHECK(a.m.error.retry_ms);
	CHECK_EQ(uploads(), 0);
	client_send(&c, PROTO_RUN, 4, &run);
	settle();
	client_expect_error(&c, 4, PROTO_E_NOMEM);

	/* the same in a batch */
	cut_off("bob", 'b', 10, 100);
	run.count = 2;
	client_send(&c, PROTO_RUN, 5, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 5, &a);
	CHECK_EQ(a.m.result.code, PROTO_E_NOMEM);
	CHECK_EQ(uploads(), 0);
	client_end(&c);
	world_end();
}

TEST(a_client_that_vanished_comes_back)
{
	struct proto_put put = put_of("prog");
	struct client gone, c, other;
	struct answer a;

	world_begin(&plenty);
	client_open_as(&gone, ROLE_OWNER, "alice");
	begin(&gone, 1, &put);
	send_part(&gone, 1, script, 0, HALF);
	/* not while it is heard of, and not of another owner */
	client_open_as(&c, ROLE_OWNER, "alice");
	CHECK_EQ(begin(&c, 1, &put), 0);
	now_us += SERVER_SILENT_US;
	client_open_as(&other, ROLE_OWNER, "bob");
	CHECK_EQ(begin(&other, 1, &put), 0);
	CHECK_EQ(begin(&c, 2, &put), HALF);
	client_expect_error(&gone, 1, PROTO_E_CANCELLED);
	/* what it still sends is for a request that is over */
	send_part(&gone, 1, script, HALF, 3);
	CHECK(!client_next(&gone, &a) && !gone.closed);
	send_part(&c, 2, script, HALF, SIZE - HALF);
	client_send(&c, PROTO_PUT_COMMIT, 2, NULL);
	settle();
	client_expect(&c, PROTO_IMAGE, 2, &a);
	client_end(&gone);
	client_end(&c);
	client_end(&other);
	CHECK_EQ(uploads(), 0);
	world_end();
}

TEST(who_sees_and_drops_it)
{
	struct client admin, viewer, alice, bob;
	struct proto_act act = {0};
	uint64_t id = 0;

	world_begin(&plenty);
	client_open_as(&admin, ROLE_ADMIN, "root");
	client_open_as(&viewer, ROLE_VIEWER, "eve");
	client_open_as(&alice, ROLE_OWNER, "alice");
	client_open_as(&bob, ROLE_OWNER, "bob");
	put_script(&alice, 1, "first", "wait\n");
	cut_off("alice", 'a', 10, 100);
	put_script(&alice, 1, "last", "wait\n");
	for (uint32_t max = 0; max < 4; max++) {
		CHECK_STR(listed(&admin, max, &id), "alice/first,alice/part 10,alice/last,");
		CHECK_STR(listed(&viewer, max, &id), "alice/first,alice/part 10,alice/last,");
		CHECK_STR(listed(&alice, max, &id), "alice/first,alice/part 10,alice/last,");
	}
	act.ref.id = id;
	CHECK_STR(listed(&bob, 0, &id), "");
	client_send(&bob, PROTO_REMOVE_IMAGE, 2, &act);
	client_send(&viewer, PROTO_REMOVE_IMAGE, 2, &act);
	settle();
	client_expect_error(&bob, 2, PROTO_E_NOENT);
	client_expect_error(&viewer, 2, PROTO_E_DENIED);
	CHECK_EQ(uploads(), 1);
	client_do(&alice, PROTO_REMOVE_IMAGE, 2, &act);
	CHECK_EQ(uploads(), 0);
	client_send(&alice, PROTO_REMOVE_IMAGE, 3, &act);
	settle();
	client_expect_error(&alice, 3, PROTO_E_NOENT);
	cut_off("alice", 'a', 10, 100);
	listed(&admin, 0, &act.ref.id);
	client_do(&admin, PROTO_REMOVE_IMAGE, 2, &act);
	CHECK_EQ(uploads(), 0);
	client_end(&admin);
	client_end(&viewer);
	client_end(&alice);
	client_end(&bob);
	world_end();
}
