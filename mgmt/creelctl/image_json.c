/* Reading JSON, as far as descriptions of images need it. */
#include "mgmt/creelctl/image.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32

/* Everything that was read lives as long as the process. */
static void *kept_alloc(size_t size)
{
	static struct kept {
		struct kept *next;
		max_align_t data[];
	} *all;
	struct kept *k = calloc(1, sizeof(*k) + size);

	if (!k)
		abort();
	k->next = all;
	all = k;
	return k->data;
}

static const char *skip(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	return p;
}

static char *put_utf8(char *to, unsigned c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* Bytes before the closing quote, or before the end. */
static size_t quoted_size(const char *p)
{
	size_t n = 0;

	while (p[n] && p[n] != '"')
		n += p[n] == '\\' && p[n + 1] ? 2 : 1;
	return n;
}

/* Four hexadecimal digits. False: they are not that. */
static bool read_hex(const char *p, unsigned *c)
{
	*c = 0;
	for (int i = 0; i < 4; i++) {
		if (!isxdigit((unsigned char)p[i]))
			return false;
		*c = *c << 4 | (unsigned)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	}
	return true;
}

/* Behind "\u", and where a pair of surrogates follows, behind that. NULL: no character, or the end of a text. */
static const char *read_escape(const char *p, char **to)
{
	unsigned c, low;

	if (!read_hex(p, &c) || !c)
		return NULL;
	p += 4;
	if (c >> 11 == 0xd800 >> 11) {
		if (c >= 0xdc00 || p[0] != '\\' || p[1] != 'u' || !read_hex(p + 2, &low) ||
			low >> 10 != 0xdc00 >> 10)
			return NULL;
		c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
		p += 6;
	}
	*to = put_utf8(*to, c);
	return p;
}

/* Behind the closing quote, or NULL. */
static const char *read_string(const char *p, char **text)
{
	static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
	char *to;

	if (*p++ != '"')
		return NULL;
	*text = to = kept_alloc(quoted_size(p) + 1);
	while (*p && *p != '"') {
		const char *which;

		if (*p != '\\') {
			*to++ = *p++;
			continue;
		}
		p++;
		if (*p == 'u') {
			p = read_escape(p + 1, &to);
			if (!p)
				return NULL;
		} else if (*p && (which = strchr(from, *p))) {
			*to++ = into[which - from];
			p++;
		} else {
			return NULL;
		}
	}
	*to = '\0';
	return *p == '"' ? p + 1 : NULL;
}

static const char *read_value(const char *p, struct json_value **out, int depth);

static const char *read_items(const char *p, struct json_value *v, int depth)
{
	char end = v->kind == JSON_OBJECT ? '}' : ']';
	struct json_value **last = &v->first;

	p = skip(p + 1);
	if (*p == end)
		return p + 1;
	for (;;) {
		char *key = NULL;

		p = skip(p);
		if (v->kind == JSON_OBJECT) {
			p = read_string(p, &key);
			p = p ? skip(p) : NULL;
			if (!p || *p++ != ':')
				return NULL;
		}
		p = read_value(p, last, depth + 1);
		if (!p)
			return NULL;
		(*last)->key = key;
		last = &(*last)->next;
		p = skip(p);
		if (*p == end)
			return p + 1;
		if (*p++ != ',')
			return NULL;
	}
}

static const char *read_value(const char *p, struct json_value **out, int depth)
{
	struct json_value *v = kept_alloc(sizeof(*v));

	*out = v;
	p = skip(p);
	if (depth > DEPTH_MAX)
		return NULL;
	if (*p == '{' || *p == '[') {
		v->kind = *p == '{' ? JSON_OBJECT : JSON_LIST;
		return read_items(p, v, depth);
	}
	if (*p == '"') {
		v->kind = JSON_STRING;
		return read_string(p, &v->text);
	}
	v->kind = strncmp(p, "null", 4) == 0 ? JSON_NULL : JSON_OTHER;
	const char *start = p;

	while (isalnum((unsigned char)*p) || (*p && strchr("+-.", *p)))
		p++;
	v->text = kept_alloc((size_t)(p - start) + 1);
	memcpy(v->text, start, (size_t)(p - start));
	return p > start ? p : NULL;
}

struct json_value *json_parse(const char *text)
{
	struct json_value *v;
	const char *end = read_value(text, &v, 0);

	return end && !*skip(end) ? v : NULL;
}

const struct json_value *json_member(const struct json_value *v, const char *key)
{
	if (!v || v->kind != JSON_OBJECT)
		return NULL;
	for (v = v->first; v; v = v->next) {
		if (!strcmp(v->key, key))
			return v;
	}
	return NULL;
}

const char *json_string(const struct json_value *v)
{
	return v && v->kind == JSON_STRING ? v->text : NULL;
}

bool json_whole(const struct json_value *v, uint64_t *number)
{
	if (!v || v->kind != JSON_OTHER || strspn(v->text, "0123456789") != strlen(v->text) ||
		strlen(v->text) > 18)
		return false;
	*number = strtoull(v->text, NULL, 10);
	return true;
}
