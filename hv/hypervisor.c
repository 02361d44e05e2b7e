#include "hv/hypervisor.h"

#include "boot/handover.h"
#include "hv/core.h"
#include "hv/exit.h"
#include "hv/gmem.h"
#include "hv/guest_state.h"
#include "hv/log.h"
#include "hv/objects.h"
#include "hv/speculation.h"
#include "hv/xstate.h"

#define FRAMES_A_BUCKET 16 /* of the registry's hash tables: few objects are smaller */

struct hypervisor hv;

static uint64_t power_of_two_below(uint64_t v)
{
	return 1ull << (63 - __builtin_clzll(v | 1));
}

static int registry_start(void)
{
	uint64_t buckets = power_of_two_below(hv.pool.total / FRAMES_A_BUCKET);
	uint64_t pages = align_up(buckets * sizeof(struct object *), PAGE_SIZE) / PAGE_SIZE;
	hpa_t by_id, by_name;
	int err = frame_alloc_contiguous(&hv.pool, pages, PAGE_SIZE, &by_id);

	if (!err)
		err = frame_alloc_contiguous(&hv.pool, pages, PAGE_SIZE, &by_name);
	if (!err)
		registry_init(&hv.registry, frame_ptr(&hv.pool, by_id),
			frame_ptr(&hv.pool, by_name), buckets, object_release);
	return err;
}

int hypervisor_start(void)
{
	const uint64_t unlimited[BUDGET_KINDS] = {
		BUDGET_UNLIMITED, BUDGET_UNLIMITED, BUDGET_UNLIMITED};
	int err = gmem_host_init(&hv.pool);

	if (!err)
		err = registry_start();
	if (!err)
		err = budget_create(&hv.pool, 0, NULL, unlimited, &hv.budget);
	hv.owners[OWNER_HOST] = (struct owner){.budget = hv.budget};
	hv.owner_count = 1;
	if (!err)
		err = xstate_init(XSTATE_MAX);
	if (!err) {
		cpuid_init();
		speculation_init();
	}
	return err;
}

int hypervisor_core_start(struct core *core)
{
	core->tlb = &hv.tlb.cores[core->id];
	xstate_core_init();
	speculation_core_start();
	return hv.vm->core_start(core, &hv.pool);
}

void hypervisor_put_images(const struct boot_info *info)
{
	for (unsigned i = 0; i < info->image_count; i++) {
		const struct boot_image *b = &info->images[i];
		uint64_t upload = 0, id;
		int err = image_begin(b->size, OWNER_HOST, &upload);

		if (!err)
			err = image_append(upload, b->data, b->size);
		do {
			if (!err || err == ERR_AGAIN)
				err = image_commit(upload, b->name, &id);
		} while (err == ERR_AGAIN);
		if (!err) {
			log_info("image %s: %llu bytes", b->name, (unsigned long long)b->size);
			continue;
		}
		log_warn("image %s of the boot volume can't be used: %s", b->name, guest_last_error());
		if (upload)
			image_abort(upload);
	}
}
