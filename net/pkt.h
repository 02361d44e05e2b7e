/*
 * The two views of a packet. A span is received bytes: consumed from the front, trimmed at the
 * back, never written. A pkt is a packet being built: it starts with headroom, so that each layer
 * prepends its header and nothing is ever moved. Every call answers NULL (or false) when there is
 * not room, and then has changed nothing.
 */
#ifndef NET_PKT_H
#define NET_PKT_H

#include "lib/base.h"

struct span {
	const uint8_t *data;
	size_t len;
};

/* The first `n` bytes, which the span then no longer holds. */
static inline const uint8_t *span_consume(struct span *s, size_t n)
{
	const uint8_t *p = s->data;

	if (n > s->len)
		return NULL;
	s->data += n;
	s->len -= n;
	return p;
}

/* Forgets what lies after the first `len` bytes. */
static inline bool span_trim(struct span *s, size_t len)
{
	if (len > s->len)
		return false;
	s->len = len;
	return true;
}

struct pkt {
	uint8_t *data; /* the packet so far */
	size_t len;
	size_t headroom; /* bytes that may still be prepended */
	size_t tailroom; /* bytes that may still be appended */
};

/* An empty packet in `size` bytes at `buf`, of which `headroom` are kept for headers. */
static inline void pkt_init(struct pkt *p, uint8_t *buf, size_t size, size_t headroom)
{
	*p = (struct pkt){
		.data = buf + headroom,
		.headroom = headroom,
		.tailroom = size - headroom,
	};
}

static inline uint8_t *pkt_prepend(struct pkt *p, size_t n)
{
	if (n > p->headroom)
		return NULL;
	p->data -= n;
	p->len += n;
	p->headroom -= n;
	return p->data;
}

static inline uint8_t *pkt_append(struct pkt *p, size_t n)
{
	uint8_t *end = p->data + p->len;

	if (n > p->tailroom)
		return NULL;
	p->len += n;
	p->tailroom -= n;
	return end;
}

#endif
