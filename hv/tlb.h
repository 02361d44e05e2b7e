/*
 * Which translations a core may still hold, and what must be flushed before a guest is entered.
 *
 * Hardware tags translations: AMD by ASID; Intel by VPID and, for everything that comes from EPT, by
 * the address of the root frame. Here both are one "tag", a small number handed out per core with a
 * generation, plus the root's address. tlb_enter() decides; a backend only carries out.
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

#endif
