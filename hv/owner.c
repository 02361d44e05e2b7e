#include "hv/owner.h"

#include "hv/hypervisor.h"
#include "lib/string.h"

int owner_add(const char *name, const uint64_t *limit, uint16_t *owner)
{
	struct owner *o = &hv.owners[hv.owner_count];
	int err;

	for (unsigned i = 0; i < hv.owner_count; i++) {
		if (strcmp(hv.owners[i].name, name) == 0) {
			*owner = (uint16_t)i;
			return OK;
		}
	}
	if (hv.owner_count == OWNERS_MAX)
		return ERR_LIMIT;
	o->budget = hv.budget;
	if (limit) {
		err = budget_create(&hv.pool, 0, hv.budget, limit, &o->budget);
		if (err)
			return err;
	}
	fmt(o->name, sizeof(o->name), "%s", name);
	*owner = (uint16_t)hv.owner_count++;
	return OK;
}

struct budget *owner_budget(uint16_t owner)
{
	return owner < hv.owner_count ? hv.owners[owner].budget : hv.budget;
}

unsigned owner_count(void)
{
	return hv.owner_count;
}

const char *owner_name(uint16_t owner)
{
	return owner < hv.owner_count ? hv.owners[owner].name : "";
}
