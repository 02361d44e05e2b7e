/* Text in and out. */
#include "internal.h"

#include "lib/string.h"

#define OUT_SIZE 1024
#define IN_SIZE  4096

static char out[OUT_SIZE];
static size_t out_used;
static char in[IN_SIZE];
static size_t in_at, in_end;

char *getenv(const char *name)
{
	size_t n = strlen(name);

	for (char **e = creel_environment; *e; e++) {
		if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
			return *e + n + 1;
	}
	return NULL;
}

int vsnprintf(char *buf, size_t size, const char *format, va_list ap)
{
	return (int)vfmt(buf, size, format, ap);
}

int snprintf(char *buf, size_t size, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int n = vsnprintf(buf, size, format, ap);
	va_end(ap);
	return n;
}

void creel_flush(void)
{
	size_t n = out_used;

	out_used = 0;
	creel_write_all(CREEL_STDOUT, out, n);
}

int putchar(int c)
{
	if (out_used == OUT_SIZE)
		creel_flush();
	out[out_used++] = (char)c;
	if (c == '\n')
		creel_flush();
	return c;
}

int puts(const char *s)
{
	while (*s)
		putchar(*s++);
	return putchar('\n');
}

int printf(const char *format, ...)
{
	char line[OUT_SIZE];
	va_list ap;

	va_start(ap, format);
	int n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	for (int i = 0; i < n; i++)
		putchar(line[i]);
	return n;
}

int eprintf(const char *format, ...)
{
	char line[OUT_SIZE];
	va_list ap;

	va_start(ap, format);
	int n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	creel_write_all(CREEL_STDERR, line, (size_t)n);
	return n;
}

int getchar(void)
{
	if (in_at == in_end) {
		int64_t n = creel_read(in, sizeof(in), CREEL_FOREVER);

		if (n <= 0)
			return -1;
		in_at = 0;
		in_end = (size_t)n;
	}
	return (unsigned char)in[in_at++];
}

char *creel_gets(char *buf, size_t size)
{
	size_t n = 0;
	int c = 0;

	while (n + 1 < size && c != '\n' && (c = getchar()) >= 0)
		buf[n++] = (char)c;
	buf[n] = '\0';
	return n ? buf : NULL;
}
