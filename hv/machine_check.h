/* Machine checks: the banks are switched on everywhere, and what they report is shown. */
#ifndef HV_MACHINE_CHECK_H
#define HV_MACHINE_CHECK_H

struct trap_frame;

/* On each core: log and clear what the banks hold from before, then enable all of them. */
void machine_check_init(void);

/* The handler of #MC. Shows the banks and panics: the machine's state cannot be trusted. */
void machine_check(const struct trap_frame *frame);

#endif
