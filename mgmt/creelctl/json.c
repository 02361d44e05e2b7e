/* Writes JSON to stdout, or by the template of --format. A key of NULL is for the elements of an
 * array and the outermost value. */
#include "mgmt/creelctl/creelctl.h"

#include <inttypes.h>
#include <string.h>

static bool need_comma;

/* Length of the well-formed UTF-8 sequence at `s`, 0 if there is none (RFC 3629, section 4). */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	size_t n = s[0] < 0x80                   ? 1
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		   : (s[0] & 0xf0) == 0xe0       ? 3
		   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						 : 0;

	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void put_string(const char *value, size_t size)
{
	putchar('"');
	for (size_t i = 0; i < size;) {
		unsigned char c = (unsigned char)value[i];
		size_t n = utf8_length((const unsigned char *)value + i, size - i);

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c == '\n')
			fputs("\\n", stdout);
		else if (c == '\t')
			fputs("\\t", stdout);
		else if (c < 0x20 || c == 0x7f)
			printf("\\u%04x", c);
		else if (!n)
			fputs("\\ufffd", stdout);
		else
			fwrite(value + i, 1, n, stdout);
		i += n ? n : 1;
	}
	putchar('"');
}

static void begin_value(const char *key)
{
	if (need_comma)
		putchar(',');
	need_comma = true;
	if (key) {
		put_string(key, strlen(key));
		putchar(':');
	}
}

static void open_bracket(const char *key, char bracket)
{
	if (format_wanted()) {
		format_open(key, bracket == '{');
		return;
	}
	begin_value(key);
	putchar(bracket);
	need_comma = false;
}

static void close_bracket(char bracket)
{
	if (format_wanted()) {
		format_close(bracket == '}');
		return;
	}
	putchar(bracket);
	need_comma = true;
}

void json_begin_object(const char *key)
{
	open_bracket(key, '{');
}

void json_end_object(void)
{
	close_bracket('}');
}

void json_begin_array(const char *key)
{
	open_bracket(key, '[');
}

void json_end_array(void)
{
	close_bracket(']');
}

void json_bytes(const char *key, const char *value, size_t size)
{
	if (format_wanted()) {
		format_value(key, value, size);
		return;
	}
	begin_value(key);
	put_string(value, size);
}

void json_text(const char *key, const char *value)
{
	json_bytes(key, value, strlen(value));
}

/* A value that stands as it is: a number, true, false. */
static void plain_value(const char *key, const char *value)
{
	if (format_wanted()) {
		format_value(key, value, strlen(value));
		return;
	}
	begin_value(key);
	fputs(value, stdout);
}

void json_number(const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	plain_value(key, text);
}

void json_signed(const char *key, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	plain_value(key, text);
}

void json_bool(const char *key, bool value)
{
	plain_value(key, value ? "true" : "false");
}

void json_end(void)
{
	if (!format_wanted())
		putchar('\n');
	need_comma = false;
	fflush(stdout);
}
