/*
 * --format: what a command would print as JSON, a line an object, by a template. json.c calls in
 * the place of writing. The fields of an object within an object have both names, "frames.free";
 * the elements of a list of plain values are called "value".
 */
#include "mgmt/creelctl/creelctl.h"

#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 1024
#define DEPTH_MAX  8
#define NAME_MAX   96

struct field {
	char name[NAME_MAX];
	char *value;
	size_t size;
};

static const char *template; /* NULL: JSON is wanted */
static struct field fields[FIELDS_MAX];
static size_t field_count;
static char prefix[NAME_MAX]; /* of the fields to come, "" or "frames." */
static size_t prefix_size[DEPTH_MAX + 1];
static unsigned depth;  /* of objects that are open */
static unsigned hidden; /* of lists within an object, whose elements have no line of their own */

/* The end of the field that begins behind the brace at `p`. */
static const char *field_end(const char *p)
{
	size_t n = strcspn(p + 1, "{}");

	return n && n < NAME_MAX && p[1 + n] == '}' ? p + 1 + n : NULL;
}

bool format_set(const char *text)
{
	for (const char *p = text; *p; p++) {
		if ((*p == '{' || *p == '}') && p[1] == *p) {
			p++;
		} else if (*p == '{' && field_end(p)) {
			p = field_end(p);
		} else if (*p == '{' || *p == '}') {
			complain("--format: a \"%c\" stands alone; a field is {name}, a brace is "
				 "%c%c",
				*p, *p, *p);
			return false;
		}
	}
	template = text;
	return true;
}

bool format_wanted(void)
{
	return template != NULL;
}

/* Adds to a name; what is too long is cut. */
static void append(char name[NAME_MAX], const char *text, size_t size)
{
	size_t n = strlen(name);

	if (size > NAME_MAX - 1 - n)
		size = NAME_MAX - 1 - n;
	memcpy(name + n, text, size);
	name[n + size] = 0;
}

static void unknown_field(const char *name, size_t size)
{
	complain("--format: there is no field \"%.*s\"; there are:", (int)size, name);
	for (size_t i = 0; i < field_count; i++)
		fprintf(stderr, "%s%s", i ? ", " : "  ", fields[i].name);
	fputc('\n', stderr);
	exit(EXIT_USAGE);
}

static void print_field(const char *name, size_t size)
{
	for (size_t i = 0; i < field_count; i++) {
		if (strlen(fields[i].name) == size && !memcmp(fields[i].name, name, size)) {
			fwrite(fields[i].value, 1, fields[i].size, stdout);
			return;
		}
	}
	unknown_field(name, size);
}

static void print_line(void)
{
	for (const char *p = template; *p; p++) {
		if (*p == '\\' && (p[1] == 't' || p[1] == 'n' || p[1] == '\\')) {
			putchar(p[1] == 't' ? '\t' : p[1] == 'n' ? '\n' : '\\');
			p++;
		} else if ((*p == '{' || *p == '}') && p[1] == *p) {
			putchar(*p++);
		} else if (*p == '{') {
			const char *end = field_end(p);

			print_field(p + 1, (size_t)(end - p - 1));
			p = end;
		} else {
			putchar(*p);
		}
	}
	putchar('\n');
	for (size_t i = 0; i < field_count; i++)
		free(fields[i].value);
	field_count = 0;
}

void format_open(const char *key, bool object)
{
	if (hidden) {
		hidden++;
	} else if (!object && depth) {
		hidden = 1;
	} else if (object && depth < DEPTH_MAX) {
		prefix_size[depth++] = strlen(prefix);
		if (key) {
			append(prefix, key, strlen(key));
			append(prefix, ".", 1);
		}
	}
}

void format_close(bool object)
{
	if (hidden) {
		hidden--;
	} else if (object && depth) {
		prefix[prefix_size[--depth]] = 0;
		if (!depth)
			print_line();
	}
}

void format_value(const char *key, const char *value, size_t size)
{
	struct field *f = &fields[field_count];

	if (hidden || field_count == FIELDS_MAX)
		return;
	if (!key)
		key = "value";
	strcpy(f->name, prefix);
	append(f->name, key, strlen(key));
	f->value = malloc(size + 1);
	if (!f->value)
		abort();
	if (size)
		memcpy(f->value, value, size);
	f->size = size;
	field_count++;
	if (!depth)
		print_line();
}
