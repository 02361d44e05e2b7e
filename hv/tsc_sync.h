/*
 * All cores must show one time. Where the processor has TSC_ADJUST it is made the same on all; then
 * the boot core compares each core's TSC with its own and says what it found.
 */
#ifndef HV_TSC_SYNC_H
#define HV_TSC_SYNC_H

struct core;

/* On a core that has just come up: align it, and answer the boot core's questions. */
void tsc_sync_answer(void);

/* On the boot core, for the core that is in tsc_sync_answer(). */
void tsc_sync_check(const struct core *core);

#endif
