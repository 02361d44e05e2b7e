/*
 * Deadlines: a guest that was given a timeout is stopped when it is over. Time counts from when the
 * guest was made, and with `running` stands still while the guest is paused. What a guest makes of
 * itself has its deadline. Management looks for those that have passed (hv/guest.h, guest_expire()).
 *
 * A guest in the heap has not stopped, so that it can be pinned there. Its lock is held by the caller of
 * all but deadline_inherit(), and comes before the heap's.
 */
#ifndef HV_DEADLINE_H
#define HV_DEADLINE_H

#include "hv/objects.h"

/* From the host's TSC `now` on; `ns` 0: none. */
void deadline_set(struct guest *g, uint64_t ns, bool running, uint64_t now);
/* `child`, which nobody else can hold yet, must end when `parent` must. */
void deadline_inherit(struct guest *child, const struct guest *parent);
/* The guest has stopped, or goes on. */
void deadline_end(struct guest *g);
/* The guest's clock stands still from now on, or runs again. */
void deadline_pause(struct guest *g, uint64_t now);
void deadline_resume(struct guest *g, uint64_t now);
/* Nanoseconds left; 0: there is no deadline, or it has passed. */
uint64_t deadline_left(const struct guest *g, uint64_t now);

#endif
