/* Machine checks: the banks are switched on everywhere, and what they report is shown. */
#ifndef HV_MACHINE_CHECK_H
#define HV_MACHINE_CHECK_H

struct trap_frame;

/* On each core: log and clear what the banks hold from before, then enable all of them. */
void machine_check_init(void);

/* Keep what the banks of this core hold, if it is in a machine check. By each core, once it stops. */
void machine_check_record(void);

/* Show what all cores have kept; by the core that panics, when the others have stopped. */
void machine_check_show(void);

/* The handler of #MC. Panics: the machine's state cannot be trusted. */
void machine_check(const struct trap_frame *frame);

#endif
