#include "hv/args.h"

#include "lib/string.h"

static bool well_formed(const char *data, uint32_t size, uint64_t strings)
{
	uint64_t ends = 0;

	for (uint32_t i = 0; i < size; i++)
		ends += data[i] == '\0';
	return ends == strings && (size == 0 || data[size - 1] == '\0');
}

static void release(struct frame_pool *pool, unsigned core, struct args *a)
{
	for (unsigned i = 0; i < ARGS_PAGES; i++) {
		if (a->page[i] && frame_put(pool, a->page[i]))
			frame_free(pool, core, a->page[i]);
	}
	frame_free(pool, core, frame_hpa(pool, a));
}

int args_create(struct frame_pool *pool, unsigned core, struct account *account, const char *data,
	uint32_t size, uint32_t argc, uint32_t envc, struct args **out)
{
	hpa_t frame;

	if (size > GUEST_ARGS_MAX)
		return ERR_TOOBIG;
	if (!well_formed(data, size, (uint64_t)argc + envc))
		return ERR_INVALID;
	int err = frame_alloc(pool, core, 0, FRAME_STATE, account, FRAME_ZEROED, &frame);

	if (err)
		return err;
	struct args *a = frame_ptr(pool, frame);
	uint32_t done = (uint32_t)MIN(size, ARGS_SMALL);

	a->size = size;
	a->argc = argc;
	a->envc = envc;
	memcpy(a->small, data, done);
	for (unsigned i = 0; done < size; i++) {
		err = frame_alloc(pool, core, 0, FRAME_STATE, account, FRAME_ZEROED, &a->page[i]);
		if (err)
			goto fail;
		uint32_t n = (uint32_t)MIN(size - done, PAGE_SIZE);

		memcpy(frame_ptr(pool, a->page[i]), data + done, n);
		done += n;
	}
	*out = a;
	return OK;
fail:
	if (frame_put(pool, frame))
		release(pool, core, a);
	return err;
}

int args_get(struct frame_pool *pool, struct args *a)
{
	return a ? frame_get(pool, frame_hpa(pool, a)) : OK;
}

void args_put(struct frame_pool *pool, unsigned core, struct args *a)
{
	if (a && frame_put(pool, frame_hpa(pool, a)))
		release(pool, core, a);
}

const uint8_t *args_span(const struct frame_pool *pool, const struct args *a, uint32_t offset,
	uint32_t *size)
{
	if (!a || offset >= a->size)
		return NULL;
	*size = a->size - offset;
	if (offset < ARGS_SMALL) {
		*size = (uint32_t)MIN(*size, ARGS_SMALL - offset);
		return a->small + offset;
	}
	uint32_t beyond = offset - (uint32_t)ARGS_SMALL, at = beyond % PAGE_SIZE;

	*size = (uint32_t)MIN(*size, PAGE_SIZE - at);
	return (const uint8_t *)frame_ptr(pool, a->page[beyond / PAGE_SIZE]) + at;
}
