/* What the files of the guest ABI share: a call under way, and the ways in which it ends. */
#ifndef HV_HYPERCALL_H
#define HV_HYPERCALL_H

#include "hv/exit.h"
#include "hv/objects.h"

struct call {
	struct core *core;
	struct guest *g;
	const struct vm_exit *exit;
	uint64_t a[6]; /* the arguments */
};

/* `result` goes to RAX, and the guest goes on behind the call. */
enum run_next call_done(const struct call *c, int64_t result);

/* Memory of the guest could not be reached: an error of the memory tree. */
enum run_next call_memory_error(const struct call *c, int err);

/* The guest's code (enum creel_error) for one of ours. */
int64_t call_error(int err);

/* Has the guest's monotonic clock reached `deadline`? */
bool call_late(const struct guest *g, uint64_t deadline);

/* Wait for one of `events`, or until `deadline`; the call is then made again. g->lock is held. */
void call_wait(struct guest *g, unsigned events, uint64_t deadline);

/* hv/hypercall_io.c */
enum run_next call_write(const struct call *c);
enum run_next call_read(const struct call *c);
enum run_next call_send(const struct call *c);
enum run_next call_receive(const struct call *c);
enum run_next call_gather(const struct call *c);

#endif
