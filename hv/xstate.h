/*
 * Vector and floating-point state: which components guests are offered, and the XSAVE image in which
 * a guest that is on no core keeps them (SDM Vol 1, "Managing State Using the XSAVE Feature Set").
 *
 * Host code uses no vector register, so a guest's stay in the processor from load to store. They are
 * switched eagerly and whole: all components that are offered, whatever the guest's own XCR0 says, so
 * that nothing of one guest is ever in the registers of another.
 */
#ifndef HV_XSTATE_H
#define HV_XSTATE_H

#include "lib/base.h"
#include "lib/err.h"

/* Once, on the boot core. ERR_UNSUPPORTED: no XSAVE. `room` is what an image may take. */
int xstate_init(size_t room);

/* On each core, before virtualisation is switched on. */
void xstate_core_init(void);

/* The XCR0 that a guest may have at most, and starts with. */
uint64_t xstate_offered(void);

/* Bytes of an image that mean something; the rest is never read. */
size_t xstate_size(void);

/* Bytes that CPUID leaf 0xD names for a set of components, in the standard format. */
uint32_t xstate_standard_size(uint64_t xcr0);
/* The same in the compacted format; 0: XSAVEC is not there, or does not work. */
uint32_t xstate_compacted_size(uint64_t xcr0);

/* The state after reset. `image` is 64-byte aligned. */
void xstate_reset(void *image);
void xstate_save(void *image);
void xstate_restore(const void *image);

#endif
