/* The audit ring, and what the server writes into it. */
#include "mgmt/audit.h"
#include "tests/unit/mgmt_client.h"

static struct audit_ring ring;

TEST(ring_keeps_the_last_records_and_its_numbers_tell_of_the_others)
{
	struct audit_record r = {.action = PROTO_KILL};
	const struct audit_record *got;

	memset(&ring, 0, sizeof(ring));
	audit_init(&ring);
	CHECK(!audit_after(&ring, 0) && !audit_after(&ring, 7) && !audit_after(&ring, UINT64_MAX));
	for (uint64_t i = 1; i <= 3 * AUDIT_RECORDS; i++) {
		r.object = i;
		audit_put(&ring, &r);
		got = audit_after(&ring, i - 1);
		CHECK(got && got->seq == i && got->object == i);
		CHECK(!audit_after(&ring, i));
	}
	got = audit_after(&ring, 5);
	CHECK_EQ(got->seq, 2 * AUDIT_RECORDS + 1);
	CHECK_EQ(got->object, got->seq);
	CHECK(!audit_after(&ring, UINT64_MAX));
}

TEST(texts)
{
	char text[PROTO_TEXT_MAX];
	struct audit_record r = {.kind = PROTO_KIND_GUEST, .object = 17};

	audit_action_text(text, PROTO_TAKE_SNAPSHOT);
	CHECK_STR(text, "take snapshot");
	audit_action_text(text, AUDIT_REFUSED);
	CHECK_STR(text, "refused handshake");
	audit_action_text(text, 0xffff);
	CHECK_STR(text, "unknown");
	audit_object_text(text, &r);
	CHECK_STR(text, "guest 17");
	r = (struct audit_record){.kind = PROTO_KIND_IMAGE, .name = "hello"};
	audit_object_text(text, &r);
	CHECK_STR(text, "image hello");
	r = (struct audit_record){.kind = 0};
	audit_object_text(text, &r);
	CHECK_STR(text, "");
	for (unsigned i = 0; i < 0x10000; i++)
		CHECK(audit_code_text((uint16_t)i)[0] && audit_role_text((uint8_t)i)[0]);
}

/* The last record, which has the number `seq`. */
static const struct audit_record *last(uint64_t seq)
{
	const struct audit_record *r = audit_after(server.audit, seq - 1);

	CHECK(r);
	CHECK_EQ(r->seq, seq);
	CHECK(!audit_after(server.audit, seq));
	return r;
}

static struct proto_act act_on(uint8_t kind, uint64_t id)
{
	return (struct proto_act){.ref = {.kind = kind, .id = id}};
}

TEST(actions_are_recorded_and_looks_are_not)
{
	struct proto_create run = create_of("prog");
	struct proto_list list = {.all = 1};
	struct client c;
	struct answer a;
	const struct audit_record *r;
	struct proto_act act;

	client_address = 0x0a000207;
	world_begin(NULL);
	client_open_as(&c, ROLE_OPERATOR, "alice");
	r = last(1);
	CHECK_EQ(r->action, AUDIT_CONNECT);
	CHECK_EQ(r->address, 0x0a000207);

	put_script(&c, 1, "prog", "wait\n");
	r = last(2);
	CHECK_EQ(r->action, PROTO_PUT);
	CHECK_EQ(r->role, ROLE_OPERATOR);
	CHECK_EQ(r->address, 0x0a000207);
	CHECK_STR(owner_name(r->owner), "alice");
	CHECK_STR(r->name, "prog");
	CHECK(r->made && r->wall_ns > 1700000000000000000ull);

	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 2, &a);
	client_expect(&c, PROTO_DONE, 2, &a);
	r = last(3);
	CHECK_EQ(r->action, PROTO_RUN);
	CHECK_STR(r->name, "prog");
	CHECK_EQ(r->code, PROTO_OK);
	CHECK_EQ(r->count, 1);

	client_send(&c, PROTO_LIST_GUESTS, 3, &list);
	settle();
	client_expect(&c, PROTO_GUEST, 3, &a);
	client_expect(&c, PROTO_DONE, 3, &a);
	act = act_on(PROTO_KIND_GUEST, r->made);
	client_do(&c, PROTO_KILL, 4, &act);
	act = act_on(PROTO_KIND_GUEST, 999);
	client_send(&c, PROTO_KILL, 5, &act);
	settle();
	client_expect_error(&c, 5, PROTO_E_NOENT);
	CHECK_EQ(audit_after(server.audit, 3)->action, PROTO_KILL);
	r = last(5);
	CHECK_EQ(r->action, PROTO_KILL);
	CHECK_EQ(r->code, PROTO_E_NOENT);
	CHECK_EQ(r->object, 999);
	client_end(&c);
	world_end();
}

TEST(one_who_only_looks_again_and_again_has_one_record)
{
	struct client c;

	client_address = 0x0a000207;
	world_begin(NULL);
	for (unsigned i = 0; i < 3; i++) {
		client_open(&c);
		client_end(&c);
	}
	CHECK_EQ(last(1)->action, AUDIT_CONNECT);
	CHECK_EQ(last(1)->count, 3);
	client_address = 0x0a000208;
	client_open(&c);
	CHECK_EQ(last(2)->count, 0);
	put_script(&c, 1, "prog", "wait\n");
	client_end(&c);
	client_open(&c);
	CHECK_EQ(last(4)->action, AUDIT_CONNECT);
	CHECK_EQ(last(4)->count, 0);
	client_end(&c);
	world_end();
}

TEST(many_guests_are_one_record_and_attached_ones_are_recorded_when_made)
{
	struct proto_create run = create_of("prog");
	struct client c;
	struct answer a;
	const struct audit_record *r;

	world_begin(NULL);
	client_open_as(&c, ROLE_ADMIN, "root");
	put_script(&c, 1, "prog", "wait\n");
	run.count = 5;
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	while (client_next(&c, &a) && !(a.header.flags & PROTO_FINAL))
		CHECK_EQ(a.header.type, PROTO_RESULT);
	r = last(3);
	CHECK_EQ(r->count, 5);
	CHECK(r->made);
	run.count = 1;
	run.attach = PROTO_ATTACH_OUT;
	run.credit = 100;
	client_send(&c, PROTO_RUN, 3, &run);
	settle();
	client_expect(&c, PROTO_RESULT, 3, &a);
	r = last(4);
	CHECK_EQ(r->made, a.m.result.id);
	CHECK_EQ(r->code, PROTO_OK);
	client_end(&c); /* it leaves while the guest runs: nothing more to record */
	settle();
	last(4);
	world_end();
}

TEST(what_is_left_half_done_is_recorded_as_cancelled)
{
	struct proto_put put = {.name = "half", .size = 100};
	struct client c;

	world_begin(NULL);
	client_open_as(&c, ROLE_ADMIN, "root");
	client_send(&c, PROTO_PUT, 1, &put);
	settle();
	last(1);
	client_end(&c);
	settle();
	const struct audit_record *r = last(2);

	CHECK_EQ(r->action, PROTO_PUT);
	CHECK_EQ(r->code, PROTO_E_CANCELLED);
	world_end();
}

static void denied(enum config_role role, uint16_t type, const void *message)
{
	struct client c;

	world_begin(NULL);
	client_open_as(&c, role, "eve");
	client_send(&c, type, 1, message);
	settle();
	client_expect_error(&c, 1, PROTO_E_DENIED);
	const struct audit_record *r = last(2);

	CHECK_EQ(r->action, type);
	CHECK_EQ(r->code, PROTO_E_DENIED);
	CHECK_EQ(r->role, role);
	client_end(&c);
	world_end();
}

TEST(denials_are_recorded_even_of_looks)
{
	const struct proto_get_audit audit = {.after = 0};
	const struct proto_host_power power = {.action = PROTO_POWER_OFF};
	const struct proto_act act = act_on(PROTO_KIND_GUEST, 1);

	denied(ROLE_VIEWER, PROTO_GET_AUDIT, &audit);
	denied(ROLE_OWNER, PROTO_GET_AUDIT, &audit);
	denied(ROLE_VIEWER, PROTO_KILL, &act);
	denied(ROLE_OPERATOR, PROTO_HOST_POWER, &power);
	denied(ROLE_OWNER, PROTO_HOST_POWER, &power);
	CHECK_EQ(fake_power, 0);
}

TEST(the_admin_restarts_the_host_and_switches_it_off)
{
	struct proto_host_power power = {.action = PROTO_POWER_REBOOT};
	struct client c;

	world_begin(NULL);
	client_open_as(&c, ROLE_ADMIN, "root");
	client_do(&c, PROTO_HOST_POWER, 1, &power);
	CHECK_EQ(fake_power, 1);
	power.action = PROTO_POWER_OFF;
	client_do(&c, PROTO_HOST_POWER, 2, &power);
	CHECK_EQ(fake_power, 2);
	CHECK_EQ(last(3)->action, PROTO_HOST_POWER);
	fake_power = 0;
	client_end(&c);
	world_end();
}

TEST(reading_goes_on_where_it_was_and_shows_gaps)
{
	struct proto_get_audit ask = {.after = 0};
	struct audit_record filler = {.action = PROTO_PAUSE, .name = "x"};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open_as(&c, ROLE_OPERATOR, "alice");
	client_send(&c, PROTO_GET_AUDIT, 1, &ask);
	settle();
	client_expect(&c, PROTO_AUDIT, 1, &a);
	CHECK_STR(a.m.audit.action, "connect");
	client_expect(&c, PROTO_DONE, 1, &a);
	CHECK_EQ(a.m.done.next, 1);
	CHECK_EQ(a.m.done.count, 1);

	for (unsigned i = 0; i < AUDIT_RECORDS + 10; i++)
		audit_put(server.audit, &filler);
	ask.after = 1;
	client_send(&c, PROTO_GET_AUDIT, 2, &ask);
	settle();
	for (uint64_t seq = 12; seq <= AUDIT_RECORDS + 11; seq++) {
		client_expect(&c, PROTO_AUDIT, 2, &a);
		CHECK_EQ(a.m.audit.seq, seq);
	}
	client_expect(&c, PROTO_DONE, 2, &a);
	client_end(&c);
	world_end();
}

TEST(followers_are_told_as_it_comes)
{
	struct proto_get_audit ask = {.follow = 1};
	struct audit_record r = {.action = PROTO_PAUSE, .name = "x"};
	struct client c;
	struct answer a;

	world_begin(NULL);
	client_open_as(&c, ROLE_OPERATOR, "alice");
	client_send(&c, PROTO_GET_AUDIT, 1, &ask);
	settle();
	client_expect(&c, PROTO_AUDIT, 1, &a);
	CHECK(!client_next(&c, &a));
	audit_put(server.audit, &r);
	now_us += SERVER_LOOK_US;
	settle();
	client_expect(&c, PROTO_AUDIT, 1, &a);
	CHECK_STR(a.m.audit.action, "pause");
	client_send(&c, PROTO_CANCEL, 1, NULL);
	settle();
	client_expect_error(&c, 1, PROTO_E_CANCELLED);
	client_end(&c);
	world_end();
}

TEST(each_thing_of_a_batch_is_a_record)
{
	struct proto_batch batch = {.action = PROTO_KILL, .selector = "job=1"};
	struct proto_create run = create_of("prog");
	struct client c;
	struct answer a;
	uint64_t first;

	world_begin(NULL);
	client_open_as(&c, ROLE_OPERATOR, "alice");
	put_script(&c, 1, "prog", "wait\n");
	run.count = 3;
	snprintf(run.labels, sizeof(run.labels), "job=1");
	client_send(&c, PROTO_RUN, 2, &run);
	settle();
	while (client_next(&c, &a) && !(a.header.flags & PROTO_FINAL))
		CHECK_EQ(a.header.type, PROTO_RESULT);
	first = last(3)->made;
	client_send(&c, PROTO_BATCH, 3, &batch);
	settle();
	for (uint64_t seq = 4; seq <= 6; seq++) {
		const struct audit_record *r = audit_after(server.audit, seq - 1);

		CHECK(r);
		CHECK_EQ(r->action, PROTO_KILL);
		CHECK_EQ(r->kind, PROTO_KIND_GUEST);
		CHECK_EQ(r->object, first + seq - 4);
		CHECK_EQ(r->code, PROTO_OK);
	}
	last(6);
	client_end(&c);
	world_end();
}
