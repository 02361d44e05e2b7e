/* What becomes of a guest after an exit. Written once for both backends. */
#ifndef HV_EXIT_H
#define HV_EXIT_H

#include "hv/objects.h"
#include "hv/vm.h"

struct core;

enum run_next {
	RUN_AGAIN, /* enter it again */
	RUN_YIELD, /* its slice is over, or something else wants the core */
	RUN_LEAVE, /* it waits, is paused, or has to be stopped: take it off the core */
};

/* Handle one exit of the guest that is loaded on `core`. */
enum run_next exit_handle(struct core *core, struct guest *g, const struct vm_exit *exit);

/* Take the guest off the core and stop it; returns RUN_LEAVE. `text` may be NULL. */
enum run_next exit_stop(struct core *core, struct guest *g, enum guest_stop stop, uint64_t detail,
	uint64_t rip, const char *text);

/* The guest can't get a page: `err` is ERR_LIMIT, ERR_NOMEM (it is paused) or ERR_AGAIN. */
enum run_next exit_no_memory(struct core *core, struct guest *g, int err);

/* For what can only be changed while the vCPU is loaded nowhere: take it out, put it back. */
void exit_unload(struct core *core, struct guest *g);
void exit_reload(struct core *core, struct guest *g);

/* A hypercall (guest-sdk/include/creel/abi.h). */
enum run_next hypercall_handle(struct core *core, struct guest *g, const struct vm_exit *exit);

/* CPUID and MSRs by allow-list. False from the MSR functions: the guest gets #GP. */
void cpuid_init(void);
void cpuid_handle(struct core *core, struct guest *g);
bool msr_read(struct core *core, struct guest *g, uint32_t msr, uint64_t *value);
bool msr_write(struct core *core, struct guest *g, uint32_t msr, uint64_t value);

/* Deliver an exception at the next entry. */
static inline void exit_inject(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error)
{
	vcpu->pending = (struct vm_event){
		.kind = EVENT_EXCEPTION, .vector = vector, .has_error = has_error, .error = error};
}

#endif
