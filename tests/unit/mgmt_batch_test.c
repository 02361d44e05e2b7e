/* Batches, labels and deadlines, as a client of the server sees them. */
#include "tests/unit/mgmt_client.h"

#include <stdarg.h>
#include <unistd.h>

static uint64_t run_labeled(
	struct client *c, uint64_t request, const char *image, const char *name, const char *labels)
{
	struct proto_create run = create_of(image);
	struct answer a, done;

	snprintf(run.name, sizeof(run.name), "%s", name);
	snprintf(run.labels, sizeof(run.labels), "%s", labels);
	client_send(c, PROTO_RUN, request, &run);
	settle();
	client_expect(c, PROTO_RESULT, request, &a);
	client_expect(c, PROTO_DONE, request, &done);
	return a.m.result.id;
}

static struct proto_batch batch_of(uint16_t action, const struct proto_ref *refs, size_t count)
{
	static uint8_t bytes[PROTO_ARGS_MAX];
	struct proto_batch m = {.action = action, .refs = {.data = bytes}};

	for (size_t i = 0; i < count; i++) {
		size_t n = proto_ref_put(
			bytes + m.refs.size, sizeof(bytes) - m.refs.size, &refs[i]);

		CHECK(n);
		m.refs.size += (uint32_t)n;
	}
	return m;
}

static struct proto_batch batch_by(uint16_t action, const char *selector)
{
	struct proto_batch m = {.action = action};

	snprintf(m.selector, sizeof(m.selector), "%s", selector);
	return m;
}

/* Sends a batch; its results' ids and codes, in order, and then how many went well. */
static const char *batch(struct client *c, uint64_t request, const struct proto_batch *m)
{
	static char text[4096];
	struct answer a;
	size_t n = 0;

	client_send(c, PROTO_BATCH, request, m);
	settle();
	for (uint32_t i = 0;; i++) {
		CHECK(client_next(c, &a));
		CHECK_EQ(a.header.request, request);
		if (a.header.type == PROTO_DONE)
			break;
		CHECK_EQ(a.header.type, PROTO_RESULT);
		CHECK_EQ(a.m.result.index, i);
		CHECK_EQ(a.m.result.code == PROTO_OK, a.m.result.text[0] == 0);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%llu:%u ",
			(unsigned long long)a.m.result.id, a.m.result.code);
	}
	snprintf(text + n, sizeof(text) - n, "%llu", (unsigned long long)a.m.done.count);
	return text;
}

static const char *expected(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *expected(const char *format, ...)
{
	static char text[4096];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return text;
}

#define ULL(x) ((unsigned long long)(x))

TEST(a_batch_answers_for_each_target)
{
	struct client c;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "wait", "wait\n");
	uint64_t a = run_labeled(&c, 2, "wait", "a", ""), b = run_labeled(&c, 3, "wait", "b", "");
	const struct proto_ref refs[] = {{.id = a}, {.name = "nobody"}, {.name = "b"}, {.id = 99999},
		{.id = a}};
	struct proto_batch m = batch_of(PROTO_KILL, refs, ARRAY_SIZE(refs));

	CHECK_STR(batch(&c, 4, &m), expected("%llu:0 0:2 %llu:0 99999:2 %llu:4 2", ULL(a), ULL(b), ULL(a)));
	m = batch_of(PROTO_REMOVE, refs, 3);
	CHECK_STR(batch(&c, 5, &m), expected("%llu:0 0:2 %llu:0 2", ULL(a), ULL(b)));
	/* with force what runs is killed first */
	a = run_labeled(&c, 6, "wait", "a", "");
	m = batch_of(PROTO_REMOVE, &(struct proto_ref){.id = a}, 1);
	CHECK_STR(batch(&c, 7, &m), expected("%llu:4 0", ULL(a)));
	m.force = 1;
	CHECK_STR(batch(&c, 8, &m), expected("%llu:0 1", ULL(a)));
	client_end(&c);
	world_end();
}

TEST(a_large_batch_goes_in_slices)
{
	static struct proto_ref refs[1000];
	struct client c;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "wait", "wait\n");
	for (size_t i = 0; i < ARRAY_SIZE(refs); i++)
		refs[i].id = run_labeled(&c, 2 + i, "wait", "", "");
	struct proto_batch m = batch_of(PROTO_KILL, refs, ARRAY_SIZE(refs));
	struct answer a;

	client_send(&c, PROTO_BATCH, 5000, &m);
	poll_once();
	poll_once();
	CHECK(server.args.used == 1);
	settle();
	for (size_t i = 0; i < ARRAY_SIZE(refs); i++) {
		client_expect(&c, PROTO_RESULT, 5000, &a);
		CHECK_EQ(a.m.result.id, refs[i].id);
		CHECK_EQ(a.m.result.code, PROTO_OK);
	}
	client_expect(&c, PROTO_DONE, 5000, &a);
	CHECK_EQ(a.m.done.count, ARRAY_SIZE(refs));
	/* one that is ended early, and one whose client goes, hold nothing */
	client_send(&c, PROTO_BATCH, 5001, &m);
	client_send(&c, PROTO_CANCEL, 5001, NULL);
	client_send(&c, PROTO_BATCH, 5002, &m);
	poll_once();
	client_end(&c);
	world_end();
}

TEST(labels_select_within_what_is_ones_own)
{
	struct client alice, bob;

	world_begin(NULL);
	client_open_as(&alice, ROLE_OWNER, "alice");
	client_open_as(&bob, ROLE_OWNER, "bob");
	put_script(&alice, 1, "wait", "wait\n");
	put_script(&bob, 1, "wait", "wait\n");
	uint64_t a = run_labeled(&alice, 2, "wait", "a", "app=web,tier=1");
	uint64_t b = run_labeled(&alice, 3, "wait", "b", "app=web");
	uint64_t other = run_labeled(&alice, 4, "wait", "c", "app=db");

	run_labeled(&bob, 2, "wait", "a", "app=web");
	struct proto_batch m = batch_by(PROTO_PAUSE, "app=web");

	CHECK_STR(batch(&alice, 5, &m), expected("%llu:0 %llu:0 2", ULL(a), ULL(b)));
	/* those that are paused already are not asked again */
	CHECK_STR(batch(&alice, 6, &m), "0");
	m = batch_by(PROTO_KILL, "app=web,tier");
	CHECK_STR(batch(&alice, 7, &m), expected("%llu:0 1", ULL(a)));
	/* a snapshot has its guest's labels, and is removed with them */
	struct proto_take_snapshot take = {.guest = {.id = b}, .labels = "tier=2"};
	struct answer answer;

	client_send(&alice, PROTO_TAKE_SNAPSHOT, 8, &take);
	settle();
	client_expect(&alice, PROTO_RESULT, 8, &answer);
	uint64_t snapshot = answer.m.result.id;

	client_expect(&alice, PROTO_DONE, 8, &answer);
	m = batch_by(PROTO_REMOVE, "app=web");
	CHECK_STR(batch(&alice, 9, &m),
		expected("%llu:0 %llu:4 %llu:0 2", ULL(a), ULL(b), ULL(snapshot)));
	m = batch_by(PROTO_KILL, "app");
	CHECK_STR(batch(&alice, 10, &m), expected("%llu:0 %llu:0 2", ULL(b), ULL(other)));
	/* bob's is as it was */
	client_send(&bob, PROTO_GET, 3, &(struct proto_get){.ref = {.name = "a"}});
	settle();
	client_expect(&bob, PROTO_GUEST, 3, &answer);
	CHECK_EQ(answer.m.guest.state, GUEST_WAITING);
	CHECK_STR(answer.m.guest.labels, "app=web");
	client_end(&alice);
	client_end(&bob);
	world_end();
}

static const char *labels_of(struct client *c, uint64_t request, uint64_t id)
{
	static struct answer a;

	client_send(c, PROTO_GET, request, &(struct proto_get){.ref = {.id = id}});
	settle();
	CHECK(client_next(c, &a));
	return a.header.type == PROTO_GUEST ? a.m.guest.labels : a.m.snapshot.labels;
}

TEST(labels_change_and_pass_on)
{
	struct client c;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "wait", "wait\n");
	uint64_t id = run_labeled(&c, 2, "wait", "a", "app=web,x=1");
	struct proto_label label = {.ref = {.id = id}, .set = "x=2,y=3", .remove = "app"};

	client_do(&c, PROTO_LABEL, 3, &label);
	CHECK_STR(labels_of(&c, 4, id), "x=2,y=3");
	struct proto_create fork = create_of("a");
	struct answer a;

	snprintf(fork.labels, sizeof(fork.labels), "y=4,z=5");
	fork.count = 3;
	client_send(&c, PROTO_FORK, 5, &fork);
	settle();
	for (int i = 0; i < 3; i++) {
		client_expect(&c, PROTO_RESULT, 5, &a);
		uint64_t child = a.m.result.id;

		if (i < 2)
			continue;
		client_expect(&c, PROTO_DONE, 5, &a);
		CHECK_STR(labels_of(&c, 6, child), "x=2,y=4,z=5");
	}
	/* what makes no sense changes nothing */
	static const char *const wrong[] = {"x", "=", "x=1,x=2", "a b=c", "x=1,"};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(label.set, sizeof(label.set), "%s", wrong[i]);
		client_send(&c, PROTO_LABEL, 10 + i, &label);
		settle();
		client_expect_error(&c, 10 + i, PROTO_E_INVALID);
		snprintf(fork.labels, sizeof(fork.labels), "%s", wrong[i]);
		client_send(&c, PROTO_FORK, 20 + i, &fork);
		settle();
		client_expect_error(&c, 20 + i, PROTO_E_INVALID);
	}
	struct proto_list list = {.all = 1, .selector = "a b"};

	client_send(&c, PROTO_LIST_GUESTS, 30, &list);
	settle();
	client_expect_error(&c, 30, PROTO_E_INVALID);
	/* too many */
	memset(label.set, 0, sizeof(label.set));
	for (int i = 0; i < 15; i++)
		snprintf(label.set + strlen(label.set), sizeof(label.set) - strlen(label.set),
			"%sk%d=v", i ? "," : "", i);
	label.remove[0] = 0;
	client_send(&c, PROTO_LABEL, 31, &label);
	settle();
	client_expect_error(&c, 31, PROTO_E_INVALID);
	CHECK_STR(labels_of(&c, 32, id), "x=2,y=3");
	client_end(&c);
	world_end();
}

TEST(lists_pick_by_label)
{
	struct proto_list list = {.all = 1, .selector = "app=web"};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "wait", "wait\n");
	uint64_t id = run_labeled(&c, 2, "wait", "a", "app=web");

	run_labeled(&c, 3, "wait", "b", "app=db");
	client_send(&c, PROTO_LIST_GUESTS, 4, &list);
	settle();
	client_expect(&c, PROTO_GUEST, 4, &a);
	CHECK_EQ(a.m.guest.id, id);
	client_expect(&c, PROTO_DONE, 4, &a);
	CHECK_EQ(a.m.done.count, 1);
	client_end(&c);
	world_end();
}

TEST(a_deadline_stops_a_guest)
{
	struct proto_create run = create_of("wait");
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open(&c);
	put_script(&c, 1, "wait", "wait\n");
	run.timeout_ns = 1;
	run.attach = PROTO_ATTACH_OUT;
	run.credit = 100;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 2, &a);
	usleep(2000);
	settle();
	client_expect(&c, PROTO_DATA, 2, &a);
	client_expect(&c, PROTO_STATUS, 2, &a);
	CHECK_EQ(a.m.status.state, GUEST_STOPPED);
	CHECK_EQ(a.m.status.stop, STOP_DEADLINE);
	run.attach = 0;
	run.timeout_ns = 3600ull * 1000000000;
	client_send(&c, PROTO_RUN, 3, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 3, &a);
	uint64_t id = a.m.result.id;

	client_expect(&c, PROTO_DONE, 3, &a);
	CHECK(server_next_timer(&server) < UINT64_MAX);
	struct proto_set_limit limit = {.guest = {.id = id}, .timeout_ns = 1000};

	client_do(&c, PROTO_SET_LIMIT, 4, &limit);
	usleep(2000);
	settle();
	client_send(&c, PROTO_GET, 5, &(struct proto_get){.ref = {.id = id}});
	settle();
	client_expect(&c, PROTO_GUEST, 5, &a);
	CHECK_EQ(a.m.guest.stop, STOP_DEADLINE);
	client_end(&c);
	world_end();
}
