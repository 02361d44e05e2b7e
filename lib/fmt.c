/* A small printf: what the log, the console and the tools need, bounded by the buffer it is given. */
#include "lib/string.h"

struct out {
	char *buf;
	size_t size, len;
};

struct spec {
	bool left, zero, alt, upper;
	int width;
	int precision; /* -1: none given */
	int length;    /* -2 hh, -1 h, 0 int, 1 l/ll/z */
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len++] = c;
}

static void pad(struct out *o, char c, int n)
{
	while (n-- > 0)
		put(o, c);
}

static void put_string(struct out *o, const struct spec *s, const char *str)
{
	int n = 0;

	if (!str)
		str = "(null)";
	while ((s->precision < 0 || n < s->precision) && str[n])
		n++;
	if (!s->left)
		pad(o, ' ', s->width - n);
	for (int i = 0; i < n; i++)
		put(o, str[i]);
	if (s->left)
		pad(o, ' ', s->width - n);
}

static void put_number(struct out *o, const struct spec *s, uint64_t v, unsigned base, bool negative)
{
	const char *digits = s->upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char buf[24];
	int n = 0;

	do
		buf[n++] = digits[v % base];
	while (v /= base);
	int prefix = (negative ? 1 : 0) + (s->alt && base == 16 ? 2 : 0);
	int zeros = s->precision > n ? s->precision - n : 0;
	int fill = s->width - n - prefix - zeros;

	if (s->zero && !s->left && s->precision < 0) {
		zeros = MAX(fill, 0);
		fill = 0;
	}
	if (!s->left)
		pad(o, ' ', fill);
	if (negative)
		put(o, '-');
	if (s->alt && base == 16) {
		put(o, '0');
		put(o, s->upper ? 'X' : 'x');
	}
	pad(o, '0', zeros);
	while (n)
		put(o, buf[--n]);
	if (s->left)
		pad(o, ' ', fill);
}

static const char *parse_spec(const char *f, struct spec *s, va_list *ap)
{
	*s = (struct spec){.precision = -1};
	for (;; f++) {
		if (*f == '-')
			s->left = true;
		else if (*f == '0')
			s->zero = true;
		else if (*f == '#')
			s->alt = true;
		else
			break;
	}
	if (*f == '*') {
		s->width = va_arg(*ap, int);
		f++;
	}
	for (; *f >= '0' && *f <= '9'; f++)
		s->width = s->width * 10 + (*f - '0');
	if (*f == '.') {
		s->precision = 0;
		f++;
		if (*f == '*') {
			s->precision = va_arg(*ap, int);
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			s->precision = s->precision * 10 + (*f - '0');
	}
	for (;; f++) {
		if (*f == 'l' || *f == 'z')
			s->length = 1;
		else if (*f == 'h')
			s->length--;
		else
			break;
	}
	return f;
}

static uint64_t take_unsigned(const struct spec *s, va_list *ap)
{
	if (s->length > 0)
		return va_arg(*ap, uint64_t);
	unsigned v = va_arg(*ap, unsigned);
	return s->length == -2 ? (uint8_t)v : s->length == -1 ? (uint16_t)v : v;
}

static int64_t take_signed(const struct spec *s, va_list *ap)
{
	if (s->length > 0)
		return va_arg(*ap, int64_t);
	int v = va_arg(*ap, int);
	return s->length == -2 ? (int8_t)v : s->length == -1 ? (int16_t)v : v;
}

static void put_conversion(struct out *o, char conversion, struct spec *s, va_list *ap)
{
	switch (conversion) {
	case 'd':
	case 'i': {
		int64_t v = take_signed(s, ap);
		put_number(o, s, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, v < 0);
		break;
	}
	case 'u':
		put_number(o, s, take_unsigned(s, ap), 10, false);
		break;
	case 'X':
		s->upper = true;
		put_number(o, s, take_unsigned(s, ap), 16, false);
		break;
	case 'x':
		put_number(o, s, take_unsigned(s, ap), 16, false);
		break;
	case 'p':
		s->alt = true;
		put_number(o, s, (uint64_t)(uintptr_t)va_arg(*ap, void *), 16, false);
		break;
	case 'c':
		put(o, (char)va_arg(*ap, int));
		break;
	case 's':
		put_string(o, s, va_arg(*ap, const char *));
		break;
	default:
		put(o, conversion);
		break;
	}
}

size_t vfmt(char *buf, size_t size, const char *format, va_list ap_in)
{
	struct out o = {.buf = buf, .size = size};
	va_list ap;

	va_copy(ap, ap_in);
	for (const char *f = format; *f; f++) {
		struct spec s;

		if (*f != '%') {
			put(&o, *f);
			continue;
		}
		f = parse_spec(f + 1, &s, &ap);
		if (!*f)
			break;
		put_conversion(&o, *f, &s, &ap);
	}
	va_end(ap);
	if (size)
		buf[o.len] = '\0';
	return o.len;
}

size_t fmt(char *buf, size_t size, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	size_t n = vfmt(buf, size, format, ap);
	va_end(ap);
	return n;
}
