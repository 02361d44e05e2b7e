/*
 * A machine of paper for the tests of the hypervisor's core: frames in an arena, cores that are plain
 * structs, a clock that the test turns, and a backend whose guests are programs of struct fake_op. A
 * program lies in guest memory and all its state is in struct vcpu, so that it can be forked, frozen and
 * rolled back like any other.
 */
#ifndef TESTS_FAKE_VM_H
#define TESTS_FAKE_VM_H

#include "creel/abi.h"
#include "hv/core.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/run.h"

#define FAKE_MAX_CORES 4
#define FAKE_CODE      CREEL_GPA_IMAGE
#define FAKE_DATA      0x400000ull /* memory that programs may use, and the image does not */
#define FAKE_KHZ       1000000ull  /* a tick of the clock is a nanosecond */
#define FAKE_OP_TICKS  50 /* of an operation, unless fake_op_ticks says more */

enum fake_op_kind {
	FAKE_CALL,   /* hypercall a[0] with a[1] to a[6] */
	FAKE_SET,    /* reg = a[0] */
	FAKE_ADD,    /* reg += a[0] */
	FAKE_LOAD,   /* reg = 8 bytes at a[0] */
	FAKE_STORE,  /* 8 bytes at a[0] = a[1] */
	FAKE_JUMP,   /* to operation a[0] */
	FAKE_JUMP_0, /* if reg is 0 */
	FAKE_WORK,   /* for a[0] ticks, but no longer than the slice */
	FAKE_SPIN,   /* for ever */
	FAKE_VECTOR, /* vector state = a[0] */
	FAKE_EXIT,   /* exit of kind a[0] as fake_exit says */
	FAKE_HOST,   /* fake_host_op() decides */
};

/* An operand whose bit stands in `from_reg` is the number of a register. */
struct fake_op {
	uint8_t op, reg, from_reg, reserved[5];
	uint64_t a[7];
};

_Static_assert(sizeof(struct fake_op) == 64, "operations have fixed places");

/* The fields of the exit that FAKE_EXIT makes. */
extern struct vm_exit fake_exit;

/* What FAKE_HOST does: makes an exit, or changes registers and returns false to go on. */
extern bool (*fake_host_op)(struct core *core, struct vcpu *v, struct vm_exit *exit);

extern const struct vm_ops fake_vm;

/* The vector registers of the core that this thread plays; xstate_save() takes them. */
extern _Thread_local uint64_t fake_vector;
extern _Thread_local bool fake_loaded;
extern _Thread_local unsigned fake_core;

/* Kicks that each core was sent. */
extern uint64_t fake_kicks[FAKE_MAX_CORES];
/* What halts wait for: the timer of each core, 0 for none. */
extern uint64_t fake_timer[FAKE_MAX_CORES];

uint64_t fake_now(void);
void fake_advance(uint64_t ticks);

/* A machine of `frames` frames, `reserve` of them kept; afterwards nothing may be left. */
void fake_start(unsigned cores, uint64_t frames, uint64_t reserve);
void fake_end(void);
/* Nothing is charged to anybody and no tree, page or stream is there. */
void fake_check_empty(void);
/* Free all that waits to be freed. */
void fake_reap(void);

/* An image whose guests run `n` operations. */
uint64_t fake_image(const char *name, const struct fake_op *ops, unsigned n);

/* One turn of a core's loop. */
void fake_turn(unsigned core);
/* Turns of all cores, until no guest is runnable and no timer set, `max` rounds at most. */
void fake_run(unsigned max);

extern uint64_t fake_op_ticks;

#endif
