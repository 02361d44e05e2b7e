/*
 * Which translations a core may still hold, and what must be flushed before a guest is entered.
 *
 * Hardware tags translations: AMD by ASID; Intel by VPID and, for everything that comes from EPT, by
 * the address of the root frame. Here both are one "tag", a small number handed out per core with a
 * generation, plus the root's address. tlb_enter() decides; a backend only carries out.
 *
 * Epochs are for freed frames (hv/frame.h): a frame freed in epoch e may be used again when every
 * core has dropped all guest translations since e ended, or has promised to do so before it next
 * enters a guest. The rules, with their reasons, stand in tlb.c and docs/memory.md.
 *
 * Pure; the host's tests run it against a model TLB that forgets only what it is told to.
 */
#ifndef HV_TLB_H
#define HV_TLB_H

#include "lib/base.h"

/* What a backend must do on this core before it enters the guest. */
enum tlb_action {
	TLB_KEEP,        /* nothing: all that is cached under the tag is right */
	TLB_FLUSH_GUEST, /* drop the translations of this guest (AMD: its ASID; Intel: INVEPT of its root) */
	TLB_FLUSH_ALL,   /* drop everything of every guest on this core */
};

struct tlb_caps {
	bool root_tagged;  /* Intel: what comes from EPT is tagged by the root frame's address */
	bool flush_by_tag; /* the backend can carry out TLB_FLUSH_GUEST */
};

#define TLB_EPOCH_IDLE UINT64_MAX

struct tlb_host;

struct tlb_core {
	struct tlb_host *host;
	uint64_t flushed_epoch;  /* private: the epoch at the last TLB_FLUSH_ALL; 0 while idle */
	uint64_t idle_epoch;     /* private: flushed_epoch is kept here while idle */
	uint64_t tag_generation; /* from 1 */
	uint32_t next_tag;
	unsigned index;
	bool idle;
	uint64_t published_epoch; /* atomic: what other cores may count on, or TLB_EPOCH_IDLE */
} ALIGNED(64);

/* All cores; owns the epoch. */
struct tlb_host {
	uint64_t epoch; /* atomic, from 1 */
	struct tlb_core *cores;
	unsigned core_count;
	struct tlb_caps caps;
	uint32_t tag_count; /* usable tags are 1 .. tag_count */
};

/* A guest's side: what it was last entered with. All zero for a guest that never was. */
struct tlb_guest {
	uint64_t tag_generation;
	uint64_t tlb_gen; /* of its tree, when it was last entered, on whichever core */
	uint32_t tag;     /* ASID or VPID for the entry that tlb_enter() decided */
	unsigned core;
};

/* `cores` has room for `count`; all start idle. */
void tlb_host_init(struct tlb_host *host, struct tlb_core *cores, unsigned count);
/* What the hardware has, before the first entry on any core. `tag_count` is at least 1. */
void tlb_host_set_caps(struct tlb_host *host, const struct tlb_caps *caps, uint32_t tag_count);

/* The cold half of tlb_enter(). */
enum tlb_action tlb_enter_slow(struct tlb_core *core, struct tlb_guest *guest, uint64_t tlb_gen,
	uint64_t root_gen);

/*
 * Decide what to flush before `guest` is entered on `core`, with guest->tag. `tlb_gen` and `root_gen`
 * are its tree's (hv/gmem.h). Called before every entry, as the last thing that touches memory trees
 * or frames on this core; the action must then be carried out even if the entry is given up, or
 * tlb_enter_failed() called. Leaves the idle state by itself.
 */
static inline enum tlb_action tlb_enter(struct tlb_core *core, struct tlb_guest *guest,
	uint64_t tlb_gen, uint64_t root_gen)
{
	if (LIKELY(guest->tlb_gen == tlb_gen && guest->tag_generation == core->tag_generation &&
		    guest->core == core->index &&
		    core->flushed_epoch == __atomic_load_n(&core->host->epoch, __ATOMIC_SEQ_CST)))
		return TLB_KEEP;
	return tlb_enter_slow(core, guest, tlb_gen, root_gen);
}

/* It is not known whether the last action was carried out: the next entry here flushes all. */
void tlb_enter_failed(struct tlb_core *core);

/* End the current epoch if it is still `epoch`. */
void tlb_epoch_end(struct tlb_host *host, uint64_t epoch);
/* True when no core can use a translation that was cached before `epoch` ended. */
bool tlb_epoch_passed(const struct tlb_host *host, uint64_t epoch);
/* True when it is (also) this core that keeps `epoch` from passing: it wants a kick. */
bool tlb_core_lags(const struct tlb_core *core, uint64_t epoch);
/* By the core itself, outside any guest: its next entry flushes all, so others need not wait for it. */
void tlb_promise(struct tlb_core *core);
/* By the core itself, before it waits for work: it holds up no epoch until it enters a guest. */
void tlb_idle_enter(struct tlb_core *core);

#endif
