/* What there is once on a machine: the parts of the hypervisor that its files share. */
#ifndef HV_HYPERVISOR_H
#define HV_HYPERVISOR_H

#include "hv/frame.h"
#include "hv/owner.h"
#include "hv/registry.h"
#include "hv/tlb.h"
#include "hv/vm.h"
#include "lib/heap.h"

struct hypervisor {
	struct frame_pool pool;
	struct tlb_host tlb;
	const struct vm_ops *vm; /* the backend */
	struct vm_caps caps;
	struct registry registry;
	struct budget *budget;   /* the root: all guests' memory */
	struct owner owners[OWNERS_MAX]; /* written at boot only */
	unsigned owner_count;
	bool tell_made; /* atomic: management wants to know what guests make */
	struct {
		struct spinlock lock;
		struct heap heap; /* guests by the TSC at which they must stop */
	} deadlines;
	uint64_t boot_id[2];
	uint64_t boot_tsc;
	uint64_t next_generation; /* atomic: of clones and rollbacks, unique in the life of the host */
};

extern struct hypervisor hv;

struct boot_info;
struct core;

/*
 * The steps of hv_main() that make it, once the backend is chosen and memory is shared out.
 */

/* The registry, the root budget, what guests are shown of the processor. ERR_NOMEM; ERR_UNSUPPORTED:
 * no XSAVE. */
int hypervisor_start(void) MUST_CHECK;
/* Switch virtualisation on, on the core that this runs on. */
int hypervisor_core_start(struct core *core) MUST_CHECK;
/* The images of the boot volume, as if a client had put them. */
void hypervisor_put_images(const struct boot_info *info);

#endif
