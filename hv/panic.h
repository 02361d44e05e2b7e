/*
 * The end: something that must never happen did. Shows why, the registers, where each core was, and
 * the way there with names, on all consoles; stops all cores; halts for ever.
 */
#ifndef HV_PANIC_H
#define HV_PANIC_H

#include "lib/base.h"

struct trap_frame;

/* For broken invariants of our own. What a guest, a client or a packet does never gets here. */
NORETURN void panic(const char *format, ...) PRINTF(1, 2);

/* With the registers of `frame`. A NULL format describes the exception itself. */
NORETURN void panic_trap(const struct trap_frame *frame, const char *format, ...) PRINTF(2, 3);

/*
 * This machine, or its configuration, is not one that we can run on: say why, and halt. Only before
 * guests run.
 */
NORETURN void refuse(const char *format, ...) PRINTF(1, 2);

/*
 * Stop the other cores and take the consoles, for a caller that shows more before it panics. A core
 * that comes second does not return. Calling it again on the same core does nothing.
 */
void panic_begin(void);

/*
 * From now on `report` is given what a panic has to say, in a line, once all of it is on the consoles. It
 * takes no lock, waits a bounded time, and may itself fault.
 */
void panic_set_reporter(void (*report)(const char *text));

/* Has another core begun? */
bool panic_elsewhere(void);

/* Stop this core, after another's panic; `frame` says where it was. */
NORETURN void panic_stop_here(const struct trap_frame *frame);

#endif
