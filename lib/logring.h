/*
 * A ring of text lines, oldest lost first. Positions count bytes since the start and are never used
 * again, so a reader that comes back late knows what it has missed.
 */
#ifndef LIB_LOGRING_H
#define LIB_LOGRING_H

#include "lib/base.h"

#define LOGRING_SIZE     (128 * 1024)
#define LOGRING_LINE_MAX 512

struct logring {
	char bytes[LOGRING_SIZE];
	uint64_t first; /* position of the oldest line */
	uint64_t end;   /* behind the newest */
};

/* Append a line; its newline is added here. More than LOGRING_LINE_MAX - 1 bytes are cut off. */
void logring_put(struct logring *r, const char *line, size_t size);

/*
 * Copy whole lines, with their newlines, from position *seq on; move *seq behind them. Any *seq may
 * be asked for: one that is gone means the oldest, one inside a line the next. Returns the bytes
 * copied, 0 when there is nothing newer. `size` is at least LOGRING_LINE_MAX.
 */
size_t logring_read(const struct logring *r, uint64_t *seq, char *buf, size_t size);

#endif
