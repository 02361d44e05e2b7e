/*
 * A byte stream of a guest: a window on the last bytes ever written. Positions count from 0.
 *
 * A stream starts as one frame with a small ring behind its header, which is all that most guests
 * ever need, and grows once to a ring of STREAM_PAGES frames taken as they are filled.
 * Readers hold bytes back: what a reader has not taken is not dropped, and so the writer finds the
 * stream full. Without a reader the oldest bytes give way.
 *
 * Pure; the owner's lock covers it.
 */
#ifndef HV_STREAM_H
#define HV_STREAM_H

#include "hv/frame.h"
#include "hv/guest.h"
#include "lib/base.h"

#define STREAM_PAGES (STREAM_CAPACITY / PAGE_SIZE)

struct stream {
	struct frame_pool *pool;
	struct account *account; /* pays for all frames */
	uint64_t written;        /* position behind the newest byte */
	uint64_t kept;           /* position of the oldest byte that is kept */
	uint64_t reader[STREAM_MAX_READERS]; /* all before it has been taken */
	uint8_t readers;         /* bit i: reader[i] is open */
	bool grown;              /* bytes live in page[], not in small[] */
	bool ended;              /* nothing will be written any more */
	hpa_t page[STREAM_PAGES]; /* 0: not taken yet */
	uint8_t small[];
};

#define STREAM_SMALL (PAGE_SIZE - sizeof(struct stream))

/* An empty stream; errors of frame_alloc(). */
int stream_create(struct frame_pool *pool, unsigned core, struct account *account,
	struct stream **out);
void stream_destroy(struct stream *s, unsigned core);

/*
 * Append up to `size` bytes. Returns how many were taken, 0 when readers hold all the room, or an
 * error of frame_alloc() when nothing could be taken for want of a frame.
 */
int64_t stream_put(struct stream *s, unsigned core, const uint8_t *data, size_t size);

/* Bytes that can be put without dropping any that a reader holds. */
uint64_t stream_room(const struct stream *s);

/* Copy up to `size` bytes from *position on, which first moves up to the oldest byte kept, and then
 * behind what was copied. */
size_t stream_get(const struct stream *s, uint64_t *position, uint8_t *buf, size_t size);

/* A slot that begins at the oldest byte kept, or ERR_LIMIT. */
int stream_reader_open(struct stream *s, uint64_t *position);
void stream_reader_close(struct stream *s, int slot);
void stream_reader_done(struct stream *s, int slot, uint64_t position);

#endif
