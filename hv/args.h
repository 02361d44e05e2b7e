/*
 * A guest's arguments and environment: one block of bytes, written once, shared by all forks.
 */
#ifndef HV_ARGS_H
#define HV_ARGS_H

#include "hv/frame.h"
#include "hv/guest.h"

#define ARGS_PAGES (GUEST_ARGS_MAX / PAGE_SIZE)

/* Lives at the start of a frame, whose reference count it uses. */
struct args {
	uint32_t size, argc, envc;
	hpa_t page[ARGS_PAGES]; /* bytes behind the first ARGS_SMALL */
	uint8_t small[];
};

#define ARGS_SMALL (PAGE_SIZE - sizeof(struct args))

/* Copies `size` bytes. ERR_TOOBIG above GUEST_ARGS_MAX; ERR_INVALID unless they are just argc + envc
 * terminated strings; or as frame_alloc(). */
int args_create(struct frame_pool *pool, unsigned core, struct account *account, const char *data,
	uint32_t size, uint32_t argc, uint32_t envc, struct args **out) MUST_CHECK;

/* NULL is an empty block. */
int args_get(struct frame_pool *pool, struct args *a) MUST_CHECK;
void args_put(struct frame_pool *pool, unsigned core, struct args *a);

/* The run of bytes at `offset` that lie side by side; NULL at the end. */
const uint8_t *args_span(const struct frame_pool *pool, const struct args *a, uint32_t offset,
	uint32_t *size);

#endif
