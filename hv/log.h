/*
 * The log: one line an event, on the consoles and in a ring that clients read. Safe on every core and
 * in interrupt handlers; NMI and machine-check handlers call log_from_nmi().
 */
#ifndef HV_LOG_H
#define HV_LOG_H

#include "boot/config.h"
#include "lib/base.h"

/* Lines less important than `level` are dropped from now on. */
void log_set_level(enum config_log_level level);

void log_write(enum config_log_level level, const char *format, ...) PRINTF(2, 3);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

/* As a warning, but returns false and does nothing where this core may hold the log's lock. */
bool log_from_nmi(const char *format, ...) PRINTF(1, 2) MUST_CHECK;

/* lib/logring.h, logring_read(). `size` is at least LOGRING_LINE_MAX. */
size_t log_read(uint64_t *seq, char *buf, size_t size);

/* Calls draw(ctx), which may use hv/screen.h and hv/console.h, in turn with the lines of the log. Short:
 * interrupts are off, and whoever logs waits. */
void log_consoles(void (*draw)(void *ctx), void *ctx);

/* For panic alone: a line without a prefix, past the lock, whoever holds it. */
void log_panic_line(const char *line);

#endif
