/*
 * The SDK's library: the hypercalls as functions, and the little of C that a guest needs. A program
 * defines `int main(int argc, char **argv)`; its result is the guest's exit status.
 *
 * Functions that can fail return a negative enum creel_error. Deadlines are as in creel/abi.h.
 */
#ifndef CREEL_CREEL_H
#define CREEL_CREEL_H

#include <creel/abi.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int main(int argc, char **argv);

/* ---- hypercalls ------------------------------------------------------------------------------- */

__attribute__((noreturn)) void creel_exit(int status);
__attribute__((noreturn)) void creel_crash(const char *reason);

/* One call each; may take or give less than asked for. */
int64_t creel_write(int stream, const void *data, size_t size);
int64_t creel_read(void *buf, size_t size, uint64_t deadline);
/* All of it. 0, or the error that ended it. */
int64_t creel_write_all(int stream, const void *data, size_t size);

int64_t creel_info(struct creel_info *info);
/* The arguments and environment, which a fork may have anew: bytes of all, argc | envc << 32 in *counts. */
int64_t creel_args(char *buf, size_t size, uint64_t *counts);
uint64_t creel_clock(enum creel_clock clock);
void creel_sleep_until(uint64_t deadline);
void creel_sleep(uint64_t ns);
void creel_yield(void);
int64_t creel_random(void *buf, size_t size);
uint64_t creel_generation(void);

/* Id of the snapshot; 0 in a guest that was forked from it or rolled back to it. NULL: no name. */
int64_t creel_snapshot(const char *name);
/* Only returns if it fails. */
int64_t creel_rollback(uint64_t snapshot);
/* Like fork(): the child's id in the parent, 0 in the child. */
int64_t creel_fork(void);
/* `count` children. In the parent: how many were made, with their ids in `ids` unless it is NULL. In a
 * child: 0, and its number from 1 in *index. */
int64_t creel_fork_many(uint32_t count, uint64_t *ids, unsigned flags, uint64_t *index);
/* Waits until at most `count` of the forks are alive; how many are. */
int64_t creel_children(uint64_t count, uint64_t deadline);

/* `to` is 0 for the parent. */
int64_t creel_send(uint64_t to, const void *message, size_t size, uint64_t deadline);
/* Bytes of the message, the sender's id in *from. */
int64_t creel_receive(void *buf, size_t size, uint64_t *from, uint64_t deadline);
/* The same, but CREEL_EPIPE when nothing was sent and no fork is left that could send. */
int64_t creel_gather(void *buf, size_t size, uint64_t *from, uint64_t deadline);

/* ---- strings and memory ----------------------------------------------------------------------- */

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
long strtol(const char *s, char **end, int base);
int atoi(const char *s);

/* From the memory behind the image, up to what the guest has. NULL when there is none left. */
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *p, size_t size);
void free(void *p);

/* ---- text ------------------------------------------------------------------------------------- */

/* The value of an environment variable, or NULL. */
char *getenv(const char *name);

/* %d %i %u %x %X %c %s %p %%, with 0 - # flags, width, precision, and l, ll, z, h, hh. */
int vsnprintf(char *buf, size_t size, const char *format, va_list ap);
int snprintf(char *buf, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* To standard output, through a buffer that creel_exit() and the end of main() flush. */
int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int puts(const char *s);
int putchar(int c);
void creel_flush(void);
/* To standard error, at once. */
int eprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A byte of standard input, -1 at its end. */
int getchar(void);
/* A line with its newline, at most size - 1 bytes; NULL at the end of the input. */
char *creel_gets(char *buf, size_t size);

#endif
