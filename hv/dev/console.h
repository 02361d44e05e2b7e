/*
 * The bytes of a Linux guest's console, whichever of its devices carries them: what it writes is the
 * guest's stdout, and its input is stdin. The kernel's last words are watched for.
 */
#ifndef HV_DEV_CONSOLE_H
#define HV_DEV_CONSOLE_H

#include "hv/objects.h"

struct core;

/*
 * Bytes that the guest writes: how many were taken. With 0 the guest waits for room in the stream, has
 * to leave its core, and makes its access again. Errors of frame_alloc(): exit_no_memory().
 */
int64_t console_put(struct core *core, struct guest *g, const uint8_t *data, size_t size);

/* There is input: a look without the guest's lock, by the core that runs it. What is put in later wakes
 * the guest. */
bool console_waiting(const struct guest *g);

/* Take up to `size` bytes of it; returns how many. */
size_t console_take(struct core *core, struct guest *g, uint8_t *buf, size_t size);

/* The next byte of it, which stays; -1: there is none. */
int console_peek(struct guest *g);

#endif
