/*
 * The protocol: every message there and back with random contents, every cut and every broken byte
 * seen, and golden frames that pin the layout. `CREEL_GOLDEN=write mgmt_proto` writes those anew,
 * which is a change of the protocol and so is made on purpose only.
 */
#include "lib/bytes.h"
#include "mgmt/proto.h"
#include "mgmt/proto_fields.h"
#include "tests/unit/test.h"

#define TYPES 0x100

static uint64_t seed = 1;

static uint64_t rnd(void)
{
	return test_random(&seed);
}

static void random_text(char *out, size_t room, const char *set)
{
	size_t n = rnd() % room, m = strlen(set);

	memset(out, 0, room);
	for (size_t i = 0; i < n; i++)
		out[i] = set[rnd() % m];
}

static void random_name(char *out, bool empty)
{
	random_text(out + 1, PROTO_NAME_MAX - 1, "abcXYZ019_.-");
	out[0] = empty ? 0 : "aZ_"[rnd() % 3];
	if (empty)
		memset(out, 0, PROTO_NAME_MAX);
}

static void store(void *at, size_t size, uint64_t v)
{
	memcpy(at, &v, size);
}

static void random_field(const struct proto_field *f, uint8_t *at)
{
	static const char printable[] = " !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~";
	static uint8_t bytes[64];
	struct proto_ref *ref = (struct proto_ref *)at;

	switch (f->kind) {
	case FIELD_INTEGER:
		store(at, f->size,
			f->high - f->low == UINT64_MAX ? rnd()
						       : f->low + rnd() % (f->high - f->low + 1));
		break;
	case FIELD_STRING:
		random_text((char *)at, f->size, printable);
		break;
	case FIELD_NAME:
		random_name((char *)at, rnd() % 4 == 0);
		break;
	case FIELD_BYTES:
		for (size_t i = 0; i < f->size; i++)
			at[i] = (uint8_t)rnd();
		break;
	case FIELD_REF:
		ref->kind = (uint8_t)(rnd() % 4);
		ref->id = rnd() % 2 ? rnd() | 1 : 0;
		random_name(ref->name, ref->id != 0);
		break;
	case FIELD_BLOB:
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)rnd();
		*(struct proto_blob *)at =
			(struct proto_blob){bytes, (uint32_t)(rnd() % sizeof(bytes))};
		break;
	}
}

/* A guest by its id, and one by its name. */
static struct proto_blob batch_refs(void)
{
	const struct proto_ref by_id = {.kind = PROTO_KIND_GUEST, .id = 0x1234},
			       by_name = {.name = "web"};
	static uint8_t refs[100];
	size_t n = proto_ref_put(refs, sizeof(refs), &by_id);

	n += proto_ref_put(refs + n, sizeof(refs) - n, &by_name);
	return (struct proto_blob){refs, (uint32_t)n};
}

/* What holds between fields is made to hold. */
static void make_consistent(uint16_t type, union proto_message *m)
{
	static const char args[] = "prog\0arg\0A=b\0B=\0";

	switch (type) {
	case PROTO_HELLO:
		m->hello.version_max |= m->hello.version_min;
		break;
	case PROTO_PUT:
		random_name(m->put.name, false);
		break;
	case PROTO_RUN:
	case PROTO_FORK:
		m->create.count = 1;
		m->create.attach &= 7;
		m->create.args = (struct proto_blob){(const uint8_t *)args, sizeof(args) - 1};
		m->create.argc = m->create.envc = 2;
		break;
	case PROTO_ATTACH:
		m->attach.flags |= PROTO_ATTACH_OUT;
		break;
	case PROTO_RESULT:
		m->result.id = m->result.code ? 0 : m->result.id | 1;
		break;
	case PROTO_BATCH:
		m->batch.action = PROTO_KILL;
		m->batch.selector[0] = '\0';
		m->batch.refs = batch_refs();
		break;
	default:
		break;
	}
}

static void random_message(uint16_t type, union proto_message *m)
{
	const struct proto_layout *l = proto_layout(type);

	memset(m, 0, sizeof(*m));
	for (size_t i = 0; i < l->count; i++)
		random_field(&l->fields[i], (uint8_t *)m + l->fields[i].offset);
	make_consistent(type, m);
}

static bool text_equal(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static void check_equal(
	const struct proto_layout *l, const union proto_message *a, const union proto_message *b)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct proto_field *f = &l->fields[i];
		const uint8_t *x = (const uint8_t *)a + f->offset,
			      *y = (const uint8_t *)b + f->offset;
		const struct proto_ref *r = (const void *)x, *s = (const void *)y;
		const struct proto_blob *p = (const void *)x, *q = (const void *)y;

		switch (f->kind) {
		case FIELD_INTEGER:
		case FIELD_BYTES:
			CHECK(memcmp(x, y, f->size) == 0);
			break;
		case FIELD_STRING:
		case FIELD_NAME:
			CHECK(text_equal((const char *)x, (const char *)y));
			break;
		case FIELD_REF:
			CHECK(r->kind == s->kind && r->id == s->id && text_equal(r->name, s->name));
			break;
		case FIELD_BLOB:
			CHECK_EQ(p->size, q->size);
			CHECK(!p->size || memcmp(p->data, q->data, p->size) == 0);
			break;
		}
	}
}

static size_t encode(uint8_t *frame, uint16_t type, const union proto_message *m)
{
	size_t n = proto_encode(frame, PROTO_FRAME_MAX, type, 0, 7, m);

	CHECK(n >= PROTO_HEADER_SIZE);
	return n;
}

static int decode(const uint8_t *frame, size_t size, union proto_message *m)
{
	struct proto_header h;
	int err = proto_header(frame, size, &h);

	if (err < 0)
		return err;
	return h.length == size ? proto_decode(&h, frame, m) : ERR_AGAIN;
}

TEST(layouts_name_every_member_once_and_in_order)
{
	int types = 0;

	for (uint16_t type = 0; type < TYPES; type++) {
		const struct proto_layout *l = proto_layout(type);
		size_t end = 0;

		if (!l)
			continue;
		types++;
		for (size_t i = 0; i < l->count; i++) {
			/* nothing but the padding that alignment asks for lies between two members
			 */
			CHECK(l->fields[i].offset >= end && l->fields[i].offset - end < 8);
			end = (size_t)l->fields[i].offset + l->fields[i].size;
		}
		CHECK(l->size - end < 8);
		CHECK(l->size <= sizeof(union proto_message));
	}
	CHECK_EQ(types, 47);
}

TEST(every_message_survives_the_wire)
{
	uint8_t frame[PROTO_FRAME_MAX];

	for (uint16_t type = 0; type < TYPES; type++) {
		for (int round = 0; proto_layout(type) && round < 200; round++) {
			union proto_message in, out;
			struct proto_header h;

			random_message(type, &in);
			size_t n = encode(frame, type, &in);

			CHECK_EQ(proto_header(frame, n, &h), OK);
			CHECK_EQ(h.length, n);
			CHECK_EQ(h.type, type);
			CHECK_EQ(h.request, 7);
			memset(&out, 0xa5, sizeof(out));
			CHECK_EQ(decode(frame, n, &out), OK);
			check_equal(proto_layout(type), &in, &out);
		}
	}
}

TEST(short_and_long_payloads_are_refused)
{
	uint8_t frame[PROTO_FRAME_MAX];
	union proto_message m;

	for (uint16_t type = 0; type < TYPES; type++) {
		if (!proto_layout(type))
			continue;
		random_message(type, &m);
		size_t n = encode(frame, type, &m);

		for (size_t cut = PROTO_HEADER_SIZE; cut < n; cut++) {
			/* a copy of just these bytes, so that the sanitizer sees a read behind them
			 */
			uint8_t *exact = malloc(cut);

			memcpy(exact, frame, cut);
			store_le32(exact, (uint32_t)cut);
			CHECK_EQ(decode(exact, cut, &m), ERR_INVALID);
			free(exact);
		}
		store_le32(frame, (uint32_t)n + 1);
		frame[n] = 0;
		CHECK_EQ(decode(frame, n + 1, &m), ERR_INVALID);
	}
}

TEST(broken_bytes_never_read_astray)
{
	uint8_t frame[PROTO_FRAME_MAX];

	for (int round = 0; round < 20000; round++) {
		uint16_t type = (uint16_t)(rnd() % TYPES);
		union proto_message m;

		if (!proto_layout(type))
			continue;
		random_message(type, &m);
		size_t n = encode(frame, type, &m);
		uint8_t *exact = malloc(n);

		memcpy(exact, frame, n);
		for (uint64_t flips = 1 + rnd() % 3; flips; flips--)
			exact[4 + rnd() % (n - 4)] ^= (uint8_t)(1u << rnd() % 8);
		decode(exact, n, &m);
		free(exact);
	}
}

TEST(headers_that_no_frame_has)
{
	uint8_t buf[PROTO_HEADER_SIZE] = {0};
	struct proto_header h;

	for (size_t n = 0; n < PROTO_HEADER_SIZE; n++)
		CHECK_EQ(proto_header(buf, n, &h), ERR_AGAIN);
	store_le32(buf, PROTO_HEADER_SIZE - 1);
	CHECK_EQ(proto_header(buf, sizeof(buf), &h), ERR_INVALID);
	store_le32(buf, PROTO_FRAME_MAX + 1);
	CHECK_EQ(proto_header(buf, sizeof(buf), &h), ERR_INVALID);
	store_le32(buf, PROTO_FRAME_MAX);
	CHECK_EQ(proto_header(buf, sizeof(buf), &h), OK);
	store_le16(buf + 6, 2);
	CHECK_EQ(proto_header(buf, sizeof(buf), &h), ERR_INVALID);
}

static int decode_message(uint16_t type, const union proto_message *m)
{
	uint8_t frame[PROTO_FRAME_MAX];
	union proto_message out;

	return decode(frame, encode(frame, type, m), &out);
}

TEST(what_must_hold_between_fields)
{
	union proto_message m;

	random_message(PROTO_HELLO, &m);
	m.hello.version_min = 2;
	m.hello.version_max = 1;
	CHECK_EQ(decode_message(PROTO_HELLO, &m), ERR_INVALID);
	random_message(PROTO_HELLO, &m);
	m.hello.magic++;
	CHECK_EQ(decode_message(PROTO_HELLO, &m), ERR_INVALID);

	m.get.ref = (struct proto_ref){.id = 0};
	CHECK_EQ(decode_message(PROTO_GET, &m), ERR_INVALID);
	m.get.ref = (struct proto_ref){.id = 1, .name = "a"};
	CHECK_EQ(decode_message(PROTO_GET, &m), ERR_INVALID);
	m.get.ref = (struct proto_ref){.name = "123"};
	CHECK_EQ(decode_message(PROTO_GET, &m), ERR_INVALID);
	m.get.ref = (struct proto_ref){.name = "a b"};
	CHECK_EQ(decode_message(PROTO_GET, &m), ERR_INVALID);
	m.get.ref = (struct proto_ref){.name = "a"};
	CHECK_EQ(decode_message(PROTO_GET, &m), OK);

	random_message(PROTO_PUT, &m);
	m.put.name[0] = 0;
	CHECK_EQ(decode_message(PROTO_PUT, &m), ERR_INVALID);

	random_message(PROTO_RUN, &m);
	m.create.count = 0;
	CHECK_EQ(decode_message(PROTO_RUN, &m), ERR_INVALID);
	m.create.count = PROTO_COUNT_MAX + 1;
	CHECK_EQ(decode_message(PROTO_RUN, &m), ERR_INVALID);
	m.create.count = 2;
	m.create.attach = PROTO_ATTACH_OUT;
	CHECK_EQ(decode_message(PROTO_RUN, &m), ERR_INVALID);
	m.create.attach = 0;
	CHECK_EQ(decode_message(PROTO_RUN, &m), OK);

	m.attach = (struct proto_attach){.guest = {.id = 1}, .flags = PROTO_ATTACH_FOLLOW};
	CHECK_EQ(decode_message(PROTO_ATTACH, &m), ERR_INVALID);
	m.credit = (struct proto_credit){.stream = 1, .bytes = 0};
	CHECK_EQ(decode_message(PROTO_CREDIT, &m), ERR_INVALID);
}

static int decode_args(uint32_t argc, uint32_t envc, const char *args, size_t size)
{
	union proto_message m;

	random_message(PROTO_RUN, &m);
	m.create.argc = argc;
	m.create.envc = envc;
	m.create.args = (struct proto_blob){(const uint8_t *)args, (uint32_t)size};
	return decode_message(PROTO_RUN, &m);
}

TEST(arguments_are_whole_strings)
{
	static char large[PROTO_ARGS_MAX + 1];

	CHECK_EQ(decode_args(0, 0, "", 0), OK);
	CHECK_EQ(decode_args(1, 0, "", 1), OK);
	CHECK_EQ(decode_args(1, 1, "a=b\0K=v", 8), OK);
	CHECK_EQ(decode_args(1, 0, "a", 1), ERR_INVALID);
	CHECK_EQ(decode_args(2, 0, "a\0b", 3), ERR_INVALID);
	CHECK_EQ(decode_args(1, 0, "a\0b", 4), ERR_INVALID);
	CHECK_EQ(decode_args(3, 0, "a\0b", 4), ERR_INVALID);
	CHECK_EQ(decode_args(0, 1, "K", 2), ERR_INVALID);
	CHECK_EQ(decode_args(0, 1, "=v", 3), ERR_INVALID);
	CHECK_EQ(decode_args(0, 1, "K=", 3), OK);
	CHECK_EQ(decode_args(0, 1, "K=v", 3), ERR_INVALID);
	memset(large, 'x', sizeof(large) - 1);
	CHECK_EQ(decode_args(1, 0, large + 1, sizeof(large) - 1), OK);
	CHECK_EQ(decode_args(1, 0, large, sizeof(large)), ERR_INVALID);
}

TEST(answers_fit_the_room_kept_for_them)
{
	uint8_t frame[PROTO_FRAME_MAX];

	for (uint16_t type = PROTO_WELCOME; type < TYPES; type++) {
		const struct proto_layout *l = proto_layout(type);
		union proto_message m;

		if (!l)
			continue;
		memset(&m, 'x', sizeof(m));
		CHECK(encode(frame, type, &m) <= PROTO_ANSWER_MAX);
	}
}

TEST(strings_are_cleaned_and_data_heads_agree)
{
	uint8_t frame[PROTO_FRAME_MAX], other[PROTO_FRAME_MAX];
	union proto_message m = {.error = {.code = 1, .text = "a\nb\x80\x1b"}}, out;

	CHECK_EQ(decode(frame, encode(frame, PROTO_ERROR, &m), &out), OK);
	CHECK_STR(out.error.text, "a?b??");
	m.data = (struct proto_data){2, 1, 99, {(const uint8_t *)"abc", 3}};
	size_t n = encode(frame, PROTO_DATA, &m);

	memcpy(other + PROTO_HEADER_SIZE + PROTO_DATA_FIXED, "abc", 3);
	CHECK_EQ(proto_encode_data_head(other, 7, 2, true, 99, 3), n);
	CHECK(memcmp(frame, other, n) == 0);
}

TEST(encoding_needs_room)
{
	uint8_t frame[PROTO_FRAME_MAX];
	union proto_message m;

	for (uint16_t type = 0; type < TYPES; type++) {
		if (!proto_layout(type))
			continue;
		random_message(type, &m);
		size_t n = encode(frame, type, &m);

		for (size_t room = 0; room < n; room++)
			CHECK_EQ(proto_encode(frame, room, type, 0, 7, &m), 0);
		CHECK_EQ(proto_encode(frame, n, type, 0, 7, &m), n);
	}
	CHECK_EQ(proto_encode(frame, sizeof(frame), 0x7777, 0, 7, &m), 0);
}

/* ---- golden frames ---- */

/* Contents that are the same for ever: each value says which field of which type it is in. */
static void golden_message(uint16_t type, union proto_message *m)
{
	const struct proto_layout *l = proto_layout(type);
	static const uint8_t bytes[] = "golden\nbytes";

	memset(m, 0, sizeof(*m));
	for (size_t i = 0; i < l->count; i++) {
		const struct proto_field *f = &l->fields[i];
		uint8_t *at = (uint8_t *)m + f->offset;
		uint64_t value = 0x0102030405060708ull * (i + 1);
		char text[16];

		snprintf(text, sizeof(text), "f%zu.%02x", i, type);
		switch (f->kind) {
		case FIELD_INTEGER:
			store(at, f->size, f->high - f->low == UINT64_MAX ? value : f->high);
			break;
		case FIELD_STRING:
		case FIELD_NAME:
			memcpy(at, text, strlen(text));
			break;
		case FIELD_BYTES:
			memset(at, (int)(0x10 + i), f->size);
			break;
		case FIELD_REF:
			((struct proto_ref *)at)->kind = (uint8_t)(1 + i % 3);
			((struct proto_ref *)at)->id = i % 2 ? value : 0;
			if (i % 2 == 0)
				memcpy(((struct proto_ref *)at)->name, text, strlen(text));
			break;
		case FIELD_BLOB:
			*(struct proto_blob *)at = (struct proto_blob){bytes, sizeof(bytes)};
			break;
		}
	}
	make_consistent(type, m);
	if (type == PROTO_PUT)
		snprintf(m->put.name, sizeof(m->put.name), "f1.20");
}

static void golden_path(char path[64], uint16_t type)
{
	snprintf(path, 64, "tests/golden/%02x-%s.hex", type, proto_type_name(type));
}

static void golden_write(uint16_t type, const uint8_t *frame, size_t n)
{
	char path[64];

	golden_path(path, type);
	FILE *f = fopen(path, "w");

	CHECK(f);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%02x%s", frame[i], i % 32 == 31 || i + 1 == n ? "\n" : " ");
	fclose(f);
}

static size_t golden_read(uint16_t type, uint8_t *frame)
{
	char path[64];
	unsigned byte;
	size_t n = 0;

	golden_path(path, type);
	FILE *f = fopen(path, "r");

	if (!f)
		fprintf(stderr, "%s: missing; run from the top of the tree\n", path);
	CHECK(f);
	while (n < PROTO_FRAME_MAX && fscanf(f, "%x", &byte) == 1)
		frame[n++] = (uint8_t)byte;
	fclose(f);
	return n;
}

TEST(golden_frames)
{
	const char *mode = getenv("CREEL_GOLDEN");
	bool write = mode && !strcmp(mode, "write");

	for (uint16_t type = 0; type < TYPES; type++) {
		uint8_t frame[PROTO_FRAME_MAX], golden[PROTO_FRAME_MAX];
		union proto_message m, out;
		struct proto_header h;

		if (!proto_layout(type))
			continue;
		golden_message(type, &m);
		size_t n = proto_encode(
			frame, sizeof(frame), type, type >= 0x80, 0x1122334455667788, &m);

		if (write)
			golden_write(type, frame, n);
		/* what we send is the golden frame, and what we read from it is what we meant */
		CHECK_EQ(golden_read(type, golden), n);
		CHECK(memcmp(frame, golden, n) == 0);
		CHECK_EQ(proto_header(golden, n, &h), OK);
		CHECK_EQ(proto_decode(&h, golden, &out), OK);
		check_equal(proto_layout(type), &m, &out);
	}
}
