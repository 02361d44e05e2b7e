/*
 * Encoder and decoder of the management protocol. Each message is a table of its fields in wire
 * order, so that there is one place that reads bytes and one that writes them, and both agree.
 */
#include "mgmt/proto.h"
#include "lib/bytes.h"
#include "lib/string.h"
#include "mgmt/proto_fields.h"

struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

/* NULL, and the reader is bad from then on, if there are not as many bytes. */
static const uint8_t *take(struct reader *r, size_t size)
{
	const uint8_t *p = r->at;

	if (r->bad || size > r->left) {
		r->bad = true;
		return NULL;
	}
	r->at += size;
	r->left -= size;
	return p;
}

static uint64_t read_integer(struct reader *r, size_t width)
{
	const uint8_t *p = take(r, width);

	if (!p)
		return 0;
	switch (width) {
	case 1:
		return *p;
	case 2:
		return load_le16(p);
	case 4:
		return load_le32(p);
	default:
		return load_le64(p);
	}
}

static bool printable(uint8_t c)
{
	return c >= 0x20 && c < 0x7f;
}

static void read_string(struct reader *r, char *out, size_t room)
{
	size_t size = read_integer(r, 2);
	const uint8_t *p = size < room ? take(r, size) : NULL;

	if (!p) {
		r->bad = true;
		return;
	}
	for (size_t i = 0; i < size; i++) {
		if (!printable(p[i]))
			r->bad = true;
	}
	memcpy(out, p, size);
	out[size] = 0;
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '.' || c == '-';
}

bool proto_name_valid(const char *name)
{
	bool digits_only = true;
	size_t i = 0;

	for (; name[i]; i++) {
		if (!name_char(name[i]))
			return false;
		if (name[i] < '0' || name[i] > '9')
			digits_only = false;
	}
	return i > 0 && i < PROTO_NAME_MAX && !digits_only && name[0] != '-';
}

static void read_name(struct reader *r, char *out)
{
	read_string(r, out, PROTO_NAME_MAX);
	if (!r->bad && out[0] && !proto_name_valid(out))
		r->bad = true;
}

static void read_ref(struct reader *r, struct proto_ref *ref)
{
	ref->kind = (uint8_t)read_integer(r, 1);
	ref->id = read_integer(r, 8);
	read_name(r, ref->name);
	if (ref->kind > PROTO_KIND_IMAGE || (ref->id != 0) == (ref->name[0] != 0))
		r->bad = true;
}

bool proto_ref_next(const uint8_t **at, uint32_t *left, struct proto_ref *ref)
{
	struct reader r = {*at, *left, false};

	read_ref(&r, ref);
	if (r.bad)
		return false;
	*at = r.at;
	*left = (uint32_t)r.left;
	return true;
}

static void read_blob(struct reader *r, struct proto_blob *blob)
{
	blob->size = (uint32_t)read_integer(r, 4);
	blob->data = take(r, blob->size);
}

static void store_integer(void *out, size_t width, uint64_t v)
{
	switch (width) {
	case 1:
		*(uint8_t *)out = (uint8_t)v;
		break;
	case 2:
		store_le16(out, (uint16_t)v);
		break;
	case 4:
		store_le32(out, (uint32_t)v);
		break;
	default:
		store_le64(out, v);
		break;
	}
}

static void read_field(struct reader *r, const struct proto_field *f, void *member)
{
	uint64_t v;

	switch (f->kind) {
	case FIELD_INTEGER:
		v = read_integer(r, f->size);
		if (v < f->low || v > f->high)
			r->bad = true;
		store_integer(member, f->size, v);
		break;
	case FIELD_STRING:
		read_string(r, member, f->size);
		break;
	case FIELD_NAME:
		read_name(r, member);
		break;
	case FIELD_BYTES:
		if (take(r, f->size))
			memcpy(member, r->at - f->size, f->size);
		break;
	case FIELD_REF:
		read_ref(r, member);
		break;
	case FIELD_BLOB:
		read_blob(r, member);
		break;
	}
}

/* argc + envc strings, each with its terminator, and every one of the latter with a name and '='.
 */
static bool args_valid(const struct proto_create *m)
{
	const uint8_t *s = m->args.data, *end = s + m->args.size;
	uint64_t strings = 0;

	if (m->args.size > PROTO_ARGS_MAX)
		return false;
	while (s < end) {
		const uint8_t *p = s;

		while (p < end && *p && (*p != '=' || p == s || strings < m->argc))
			p++;
		if (strings >= m->argc && (p == end || *p != '='))
			return false;
		while (p < end && *p)
			p++;
		if (p == end)
			return false;
		s = p + 1;
		strings++;
	}
	return strings == (uint64_t)m->argc + m->envc;
}

/* Whole references, or a selector. */
static bool batch_valid(const struct proto_batch *m)
{
	const uint8_t *at = m->refs.data;
	uint32_t left = m->refs.size;
	struct proto_ref ref;

	if (m->action != PROTO_PAUSE && m->action != PROTO_RESUME && m->action != PROTO_KILL &&
		m->action != PROTO_REMOVE)
		return false;
	if (m->refs.size > PROTO_ARGS_MAX || (m->refs.size != 0) == (m->selector[0] != 0))
		return false;
	while (proto_ref_next(&at, &left, &ref))
		;
	return left == 0;
}

/* What holds between fields. */
static bool consistent(uint16_t type, const union proto_message *m)
{
	const uint8_t streams = PROTO_ATTACH_IN | PROTO_ATTACH_OUT | PROTO_ATTACH_ERR;

	switch (type) {
	case PROTO_HELLO:
		return m->hello.version_min <= m->hello.version_max;
	case PROTO_PUT:
		return m->put.name[0] != 0;
	case PROTO_RUN:
	case PROTO_FORK:
		return !(m->create.attach & ~streams) &&
		       (m->create.count == 1 || !m->create.attach) && args_valid(&m->create);
	case PROTO_ATTACH:
		return (m->attach.flags & streams) != 0;
	case PROTO_RESULT:
		return m->result.id != 0 || m->result.code != PROTO_OK;
	case PROTO_BATCH:
		return batch_valid(&m->batch);
	default:
		return true;
	}
}

int proto_header(const uint8_t *buf, size_t size, struct proto_header *h)
{
	if (size < PROTO_HEADER_SIZE)
		return ERR_AGAIN;
	h->length = load_le32(buf);
	h->type = load_le16(buf + 4);
	h->flags = load_le16(buf + 6);
	h->request = load_le64(buf + 8);
	if (h->length < PROTO_HEADER_SIZE || h->length > PROTO_FRAME_MAX ||
		(h->flags & ~PROTO_FINAL))
		return ERR_INVALID;
	return OK;
}

int proto_decode(const struct proto_header *h, const uint8_t *frame, union proto_message *m)
{
	const struct proto_layout *layout = proto_layout(h->type);
	struct reader r = {frame + PROTO_HEADER_SIZE, h->length - PROTO_HEADER_SIZE, false};

	if (!layout)
		return ERR_UNSUPPORTED;
	for (size_t i = 0; i < layout->count && !r.bad; i++)
		read_field(&r, &layout->fields[i], (uint8_t *)m + layout->fields[i].offset);
	if (r.bad || r.left || !consistent(h->type, m))
		return ERR_INVALID;
	return OK;
}

struct writer {
	uint8_t *at;
	size_t left;
	bool full;
};

static uint8_t *give(struct writer *w, size_t size)
{
	uint8_t *p = w->at;

	if (w->full || size > w->left) {
		w->full = true;
		return NULL;
	}
	w->at += size;
	w->left -= size;
	return p;
}

static void write_integer(struct writer *w, size_t width, uint64_t v)
{
	uint8_t *p = give(w, width);

	if (p)
		store_integer(p, width, v);
}

static void write_string(struct writer *w, const char *s, size_t room)
{
	size_t size = 0;

	while (size + 1 < room && s[size])
		size++;
	write_integer(w, 2, size);
	uint8_t *p = give(w, size);
	for (size_t i = 0; p && i < size; i++)
		p[i] = printable((uint8_t)s[i]) ? (uint8_t)s[i] : '?';
}

static void write_bytes(struct writer *w, const void *data, size_t size)
{
	uint8_t *p = give(w, size);

	if (p && size)
		memcpy(p, data, size);
}

static uint64_t load_integer(const void *in, size_t width)
{
	struct reader r = {in, width, false};

	return read_integer(&r, width);
}

static void write_ref(struct writer *w, const struct proto_ref *ref)
{
	write_integer(w, 1, ref->kind);
	write_integer(w, 8, ref->id);
	write_string(w, ref->name, sizeof(ref->name));
}

size_t proto_ref_put(uint8_t *at, size_t room, const struct proto_ref *ref)
{
	struct writer w = {at, room, false};

	write_ref(&w, ref);
	return w.full ? 0 : (size_t)(w.at - at);
}

static void write_field(struct writer *w, const struct proto_field *f, const void *member)
{
	const struct proto_blob *blob = member;

	switch (f->kind) {
	case FIELD_INTEGER:
		write_integer(w, f->size, load_integer(member, f->size));
		break;
	case FIELD_STRING:
	case FIELD_NAME:
		write_string(w, member, f->size);
		break;
	case FIELD_BYTES:
		write_bytes(w, member, f->size);
		break;
	case FIELD_REF:
		write_ref(w, member);
		break;
	case FIELD_BLOB:
		write_integer(w, 4, blob->size);
		write_bytes(w, blob->data, blob->size);
		break;
	}
}

static void store_header(
	uint8_t *buf, size_t length, uint16_t type, uint16_t flags, uint64_t request)
{
	store_le32(buf, (uint32_t)length);
	store_le16(buf + 4, type);
	store_le16(buf + 6, flags);
	store_le64(buf + 8, request);
}

size_t proto_encode(uint8_t *buf, size_t room, uint16_t type, uint16_t flags, uint64_t request,
	const void *message)
{
	const struct proto_layout *layout = proto_layout(type);
	struct writer w = {buf, MIN(room, (size_t)PROTO_FRAME_MAX), false};

	if (!layout || !give(&w, PROTO_HEADER_SIZE))
		return 0;
	for (size_t i = 0; i < layout->count; i++)
		write_field(&w, &layout->fields[i],
			(const uint8_t *)message + layout->fields[i].offset);
	if (w.full)
		return 0;
	size_t length = (size_t)(w.at - buf);
	store_header(buf, length, type, flags, request);
	return length;
}

size_t proto_encode_data_head(
	uint8_t *buf, uint64_t request, uint8_t stream, bool end, uint64_t position, uint32_t size)
{
	size_t length = PROTO_HEADER_SIZE + PROTO_DATA_FIXED + size;
	uint8_t *p = buf + PROTO_HEADER_SIZE;

	store_header(buf, length, PROTO_DATA, 0, request);
	p[0] = stream;
	p[1] = end;
	store_le64(p + 2, position);
	store_le32(p + 10, size);
	return length;
}

const char *proto_type_name(uint16_t type)
{
	const struct proto_layout *layout = proto_layout(type);

	return layout ? layout->name : NULL;
}
