/*
 * Owners: who makes guests, snapshots and images, in whose names they are found, and on whose budget
 * they lie. Each client that the host knows has a name, and clients of the same name are one owner;
 * the host itself, OWNER_HOST, has the images of the boot volume. Owners come at boot, and stay.
 */
#ifndef HV_OWNER_H
#define HV_OWNER_H

#include "hv/budget.h"
#include "hv/guest.h"

#define OWNERS_MAX     65 /* the host, and one for each client that creel.conf can authorise */
#define OWNER_NAME_MAX 32 /* with its terminator */

struct owner {
	char name[OWNER_NAME_MAX];
	struct budget *budget;
};

/*
 * The owner called `name`, made if there is none. With `limit` a new one has a budget of its own below
 * the host's; NULL: the host's. ERR_LIMIT: there are OWNERS_MAX; or what budget_create() returns.
 */
int owner_add(const char *name, const uint64_t *limit, uint16_t *owner) MUST_CHECK;

/* That pays for what belongs to `owner`. */
struct budget *owner_budget(uint16_t owner);

#endif
