/*
 * Memory and string functions of the appliance (the hosted build takes libc's), and the printf
 * family that both use.
 */
#ifndef LIB_STRING_H
#define LIB_STRING_H

#include "lib/base.h"

#include <stdarg.h>

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/*
 * Format into `buf` of `size` bytes, always terminated when size > 0. Returns the length written,
 * without the terminator, never more than size - 1 (unlike snprintf). Understands
 * %d %i %u %x %X %c %s %p %%, the flags 0 and -, width and precision (also *), and l, ll, z, h, hh.
 */
size_t fmt(char *buf, size_t size, const char *format, ...) PRINTF(3, 4);
size_t vfmt(char *buf, size_t size, const char *format, va_list ap);

#endif
