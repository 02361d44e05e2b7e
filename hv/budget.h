/*
 * Budgets and accounts: who pays for a frame.
 *
 * A budget is a set of limits. Budgets nest: a charge counts against the budget and all above it, and
 * is refused if any of them is used up. So a guest that forks itself divides what it has.
 * An account is what a frame's record names: the holder of frames (one guest, one snapshot) under a
 * budget. When a snapshot is taken of a guest, the guest's account passes to the snapshot and the
 * guest gets a fresh one: all its frames changed hands in O(1). An account lives on, without an
 * owner, until its last frame is freed.
 *
 * All operations are safe from several cores; counts are atomic and never pass a limit.
 */
#ifndef HV_BUDGET_H
#define HV_BUDGET_H

#include "lib/base.h"
#include "lib/err.h"

#define BUDGET_UNLIMITED UINT64_MAX
#define BUDGET_MAX_DEPTH 8 /* deeper lineages share the budget of their eighth ancestor */

enum budget_kind {
	BUDGET_PAGES, /* frames of any kind, 4 KiB each */
	BUDGET_GUESTS,
	BUDGET_SNAPSHOTS,
	BUDGET_KINDS,
};

struct budget;
struct account;

#endif
