/*
 * When translations must be flushed. Why these rules are enough, and why nothing less is, in short;
 * docs/memory.md has it in full.
 *
 * What hardware may cache of a tree: leaf translations and pointers to its tables, with the rights
 * found on the way, under the guest's tag (AMD) or under the root's address with and without the
 * guest's tag (Intel: "guest-physical" and "combined" mappings, SDM Vol 3, "Information That May Be
 * Cached"). An entry that is not present is never cached; a fault drops what translates its address.
 *
 * 1. The guest stays on a core and its tree's tlb_gen has moved: what is cached may be wrong. Flush
 *    the guest. Raising a right does not move tlb_gen.
 * 2. The guest comes to a core (for the first time, or back from another): it gets a tag that is not
 *    in use there, so nothing is cached under the tag. Without root tags that is all.
 * 3. With root tags, other guests may have used the same root here (a fork shares its parent's), or
 *    this guest may have before it went elsewhere and the root's tree changed. Flush the root.
 * 4. With root tags, a root that came out of the pool after the guest's last entry, and that was not
 *    shared since, was never used by anybody: quarantine makes sure that nothing is cached under its
 *    address from an earlier life. So neither 1 nor 3 needs a flush. (root_gen says so.)
 * 5. When tags run out all are taken back, under a new generation, and everything is flushed.
 * 6. A core that is behind the epoch flushes everything: freed frames wait for it.
 */
#include "hv/tlb.h"

void tlb_host_init(struct tlb_host *host, struct tlb_core *cores, unsigned count)
{
	*host = (struct tlb_host){.epoch = 1, .cores = cores, .core_count = count, .tag_count = 1};
	for (unsigned i = 0; i < count; i++) {
		/* Epoch 0 is behind from the start: the first entry drops whatever was there. */
		cores[i] = (struct tlb_core){
			.host = host,
			.index = i,
			.tag_generation = 1,
			.next_tag = 1,
			.idle = true,
			.published_epoch = TLB_EPOCH_IDLE,
		};
	}
}

void tlb_host_set_caps(struct tlb_host *host, const struct tlb_caps *caps, uint32_t tag_count)
{
	host->caps = *caps;
	host->tag_count = tag_count;
}

/*
 * The order matters: what was promised is taken back before the epoch is looked at. A core that ended
 * an epoch and then saw this one idle is thereby seen here (both are sequentially consistent).
 */
static void leave_idle(struct tlb_core *core)
{
	core->idle = false;
	core->flushed_epoch = core->idle_epoch;
	__atomic_exchange_n(&core->published_epoch, core->idle_epoch, __ATOMIC_SEQ_CST);
}

/* True when the core's tags had run out and everything must be flushed. */
static bool take_tag(struct tlb_core *core, struct tlb_guest *guest)
{
	bool wrapped = core->next_tag > core->host->tag_count;

	if (wrapped) {
		core->tag_generation++;
		core->next_tag = 1;
	}
	guest->tag = core->next_tag++;
	guest->tag_generation = core->tag_generation;
	guest->core = core->index;
	return wrapped;
}

/* Publishing before the flush is carried out is in order: no guest is entered here in between. */
static bool catch_up(struct tlb_core *core)
{
	uint64_t epoch = __atomic_load_n(&core->host->epoch, __ATOMIC_SEQ_CST);

	if (core->flushed_epoch == epoch)
		return false;
	core->flushed_epoch = epoch;
	__atomic_store_n(&core->published_epoch, epoch, __ATOMIC_RELEASE);
	return true;
}

enum tlb_action tlb_enter_slow(struct tlb_core *core, struct tlb_guest *guest, uint64_t tlb_gen,
	uint64_t root_gen)
{
	const struct tlb_caps *caps = &core->host->caps;

	if (core->idle)
		leave_idle(core);

	bool flush_all = catch_up(core);
	bool arrived = guest->core != core->index ||
		guest->tag_generation != core->tag_generation;
	bool behind = guest->tlb_gen != tlb_gen;
	bool new_root = root_gen > guest->tlb_gen;
	bool new_tag = arrived || (behind && !caps->flush_by_tag);

	guest->tlb_gen = tlb_gen;
	if (new_tag && take_tag(core, guest))
		flush_all = true;
	if (flush_all)
		return TLB_FLUSH_ALL;
	if (caps->root_tagged)
		return (arrived || behind) && !new_root ? TLB_FLUSH_GUEST : TLB_KEEP;
	return behind && !new_tag ? TLB_FLUSH_GUEST : TLB_KEEP;
}

void tlb_enter_failed(struct tlb_core *core)
{
	core->flushed_epoch = 0;
}

void tlb_epoch_end(struct tlb_host *host, uint64_t epoch)
{
	__atomic_compare_exchange_n(&host->epoch, &epoch, epoch + 1, false, __ATOMIC_SEQ_CST,
		__ATOMIC_SEQ_CST);
}

bool tlb_core_lags(const struct tlb_core *core, uint64_t epoch)
{
	return __atomic_load_n(&core->published_epoch, __ATOMIC_SEQ_CST) <= epoch;
}

bool tlb_epoch_passed(const struct tlb_host *host, uint64_t epoch)
{
	/* Idle cores look at the epoch when they wake: it must have moved for them to flush. */
	if (__atomic_load_n(&host->epoch, __ATOMIC_SEQ_CST) <= epoch)
		return false;
	for (unsigned i = 0; i < host->core_count; i++) {
		if (tlb_core_lags(&host->cores[i], epoch))
			return false;
	}
	return true;
}

/* flushed_epoch stays behind, which is what makes the next entry flush. */
void tlb_promise(struct tlb_core *core)
{
	if (!core->idle)
		__atomic_store_n(&core->published_epoch,
			__atomic_load_n(&core->host->epoch, __ATOMIC_SEQ_CST), __ATOMIC_RELEASE);
}

void tlb_idle_enter(struct tlb_core *core)
{
	if (core->idle)
		return;
	core->idle = true;
	core->idle_epoch = core->flushed_epoch;
	core->flushed_epoch = 0;
	__atomic_store_n(&core->published_epoch, TLB_EPOCH_IDLE, __ATOMIC_RELEASE);
}
