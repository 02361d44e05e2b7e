#include "hv/stream.h"

#include "lib/string.h"

_Static_assert(STREAM_SMALL >= 3 * KIB, "a small stream is most of a frame");
_Static_assert(STREAM_MAX_READERS <= 8, "struct stream.readers has a bit for each");

static uint64_t capacity(const struct stream *s)
{
	return s->grown ? STREAM_PAGES * PAGE_SIZE : STREAM_SMALL;
}

/* The longest run of bytes at `position` that lie side by side in the ring; NULL: no frame there. */
static uint8_t *span(struct stream *s, uint64_t position, uint64_t *size)
{
	if (!s->grown) {
		uint64_t at = position % STREAM_SMALL;

		*size = STREAM_SMALL - at;
		return s->small + at;
	}
	uint64_t offset = position % PAGE_SIZE;
	hpa_t page = s->page[position / PAGE_SIZE % STREAM_PAGES];

	*size = PAGE_SIZE - offset;
	return page ? (uint8_t *)frame_ptr(s->pool, page) + offset : NULL;
}

static int take_page(struct stream *s, unsigned core, uint64_t position)
{
	hpa_t *page = &s->page[position / PAGE_SIZE % STREAM_PAGES];

	if (*page)
		return OK;
	return frame_alloc(s->pool, core, 0, FRAME_STREAM, s->account, FRAME_ZEROED, page);
}

static void free_pages(struct stream *s, unsigned core)
{
	for (unsigned i = 0; i < STREAM_PAGES; i++) {
		if (s->page[i] && frame_put(s->pool, s->page[i]))
			frame_free(s->pool, core, s->page[i]);
		s->page[i] = 0;
	}
}

int stream_create(struct frame_pool *pool, unsigned core, struct account *account,
	struct stream **out)
{
	hpa_t frame;
	int err = frame_alloc(pool, core, 0, FRAME_STREAM, account, FRAME_ZEROED, &frame);

	if (err)
		return err;
	*out = frame_ptr(pool, frame);
	(*out)->pool = pool;
	(*out)->account = account;
	return OK;
}

void stream_destroy(struct stream *s, unsigned core)
{
	struct frame_pool *pool = s->pool;
	hpa_t frame = frame_hpa(pool, s);

	free_pages(s, core);
	if (frame_put(pool, frame))
		frame_free(pool, core, frame);
}

/* Move the bytes that are kept from the small ring to pages. */
static int grow(struct stream *s, unsigned core)
{
	uint64_t at = s->kept;

	for (uint64_t p = align_down(at, PAGE_SIZE); p < s->written; p += PAGE_SIZE) {
		int err = take_page(s, core, p);

		if (err) {
			free_pages(s, core);
			return err;
		}
	}
	while (at < s->written) {
		uint64_t from_size, to_size;
		uint8_t *from = span(s, at, &from_size), *to;

		s->grown = true;
		to = span(s, at, &to_size);
		s->grown = false;
		uint64_t n = MIN(from_size, to_size);

		n = MIN(n, s->written - at);
		memcpy(to, from, n);
		at += n;
	}
	s->grown = true;
	return OK;
}

/* The oldest position that some reader may still ask for; the newest where there is no reader. */
static uint64_t held(const struct stream *s)
{
	uint64_t least = s->written;

	for (unsigned i = 0; i < STREAM_MAX_READERS; i++) {
		if (s->readers & 1u << i)
			least = MIN(least, s->reader[i]);
	}
	return least;
}

uint64_t stream_room(const struct stream *s)
{
	return STREAM_PAGES * PAGE_SIZE - (s->written - held(s));
}

int64_t stream_put(struct stream *s, unsigned core, const uint8_t *data, size_t size)
{
	uint64_t taken = 0, least = held(s);

	size = MIN(size, STREAM_PAGES * PAGE_SIZE - (s->written - least));
	if (!s->grown && s->written + size - s->kept > STREAM_SMALL) {
		int err = grow(s, core);

		if (err)
			return err;
	}
	while (taken < size) {
		uint64_t n;

		if (s->grown) {
			int err = take_page(s, core, s->written);

			if (err)
				return taken ? (int64_t)taken : err;
		}
		uint8_t *to = span(s, s->written, &n);

		n = MIN(n, size - taken);
		memcpy(to, data + taken, n);
		taken += n;
		s->written += n;
		if (s->written - s->kept > capacity(s))
			s->kept = s->written - capacity(s);
	}
	return (int64_t)taken;
}

size_t stream_get(const struct stream *s, uint64_t *position, uint8_t *buf, size_t size)
{
	size_t done = 0;

	*position = MAX(*position, s->kept);
	if (*position >= s->written)
		return 0;
	size = MIN(size, s->written - *position);
	while (done < size) {
		uint64_t n;
		/* span() only computes; the stream is not written through it here */
		const uint8_t *from = span((struct stream *)(uintptr_t)s, *position, &n);

		n = MIN(n, size - done);
		memcpy(buf + done, from, n);
		done += n;
		*position += n;
	}
	return done;
}

int stream_reader_open(struct stream *s, uint64_t *position)
{
	for (int i = 0; i < STREAM_MAX_READERS; i++) {
		if (s->readers & 1u << i)
			continue;
		s->readers |= (uint8_t)(1u << i);
		s->reader[i] = *position = s->kept;
		return i;
	}
	return ERR_LIMIT;
}

void stream_reader_close(struct stream *s, int slot)
{
	s->readers &= (uint8_t)~(1u << slot);
}

void stream_reader_done(struct stream *s, int slot, uint64_t position)
{
	if (position > s->reader[slot] && position <= s->written)
		s->reader[slot] = position;
}
