/*
 * Guests, snapshots and images, as the hypervisor's core keeps them. Each is one frame: the struct,
 * and behind it, at XSTATE_OFFSET, the image of the vector registers (hv/xstate.h).
 *
 * Locks, outermost first: families, one guest.lock, then one of: a sched_core.lock, the registry's, the
 * news', the ledger's; then the frame pool's.
 */
#ifndef HV_OBJECTS_H
#define HV_OBJECTS_H

#include "hv/args.h"
#include "hv/gmem.h"
#include "hv/guest.h"
#include "hv/registry.h"
#include "hv/stream.h"
#include "hv/vm.h"
#include "lib/heap.h"

struct board;

#define XSTATE_OFFSET 1600
#define XSTATE_MAX    (PAGE_SIZE - XSTATE_OFFSET)

#define CORE_NONE UINT32_MAX

/* The whole of a guest that a snapshot freezes. */
struct machine {
	struct gmem mem;
	struct vcpu vcpu;
	struct args *args;
	struct board *board; /* devices of a Linux guest; NULL: an SDK guest */
	uint64_t tsc;       /* the guest's TSC while its clock stands still */
	uint64_t image_end;
};

/* What a WAITING guest waits for. */
enum guest_wait {
	WAIT_TIMER = 1,
	WAIT_INPUT = 2,
	WAIT_ROOM = 4,    /* in an output stream */
	WAIT_MESSAGE = 8,
	WAIT_CHILD = 16,
	WAIT_PEER = 32,   /* room in another guest's mailbox */
};

struct guest {
	struct object object;
	struct machine machine;
	struct tlb_guest tlb;

	struct spinlock lock; /* covers all below that has no other mark */
	uint8_t state;        /* enum guest_state; allowed transitions stand in guest_state.c */
	uint8_t stop;         /* enum guest_stop */
	uint8_t wait;         /* set of enum guest_wait */
	uint8_t news;         /* set of enum guest_news; under the news lock */
	bool queued;          /* in the run queue of core `home` */
	bool clock_runs;      /* machine.vcpu.tsc_offset counts, not machine.tsc */
	bool begun;           /* it has had an exit that was no memory fault */
	bool keep;            /* stays listed when it has stopped */
	bool child;           /* its parent made it by a fork call */
	bool counted;         /* and counts it among its children: it has not stopped */
	bool input_open;      /* more input may come than there was at the start */
	bool input_ended;
	bool input_wanted;    /* management has more input than there was room for */
	bool agent_wanted;    /* the same of bytes for its agent */
	uint32_t holds;       /* reasons for not running now */
	uint32_t running_on;  /* core, or CORE_NONE; atomic, read without the lock */
	uint32_t home;        /* core whose queues it uses */
	uint32_t timer_core;
	bool kick;            /* atomic: leave the core at the next exit */

	struct heap_node run_node;   /* under the home core's lock */
	struct heap_node timer_node; /* under the timer core's lock */
	struct heap_node deadline_node; /* under the deadlines' lock; and it is queued only while
					 * this guest's lock is held */
	uint64_t timeout_ns; /* as it was given, 0: none */
	uint64_t time_left;  /* ticks, while it does not count */
	bool timeout_running; /* it counts only while the guest is not paused */
	uint64_t vruntime;
	uint32_t weight;
	int32_t exit_status;
	uint64_t detail[2];    /* of the stop: an address, an instruction pointer */

	struct account *account; /* of all but its memory, which machine.mem.account pays for */
	struct budget *budget;
	struct budget *charged;  /* pays for this guest's being */
	struct stream *stream[STREAM_COUNT]; /* made when first used */
	struct stream *mailbox;
	struct list news_node;
	struct list senders;    /* guests that wait for room in the mailbox; under families */
	struct list sender_node;

	uint64_t generation;
	uint64_t announced; /* generation that its agent has been told of, or is about to be */
	uint64_t cpu_tsc, input_read;
	uint64_t exits, faults, forks; /* atomic: guest_count() */
	uint32_t children;      /* alive; written under families, atomic */
	uint32_t fork_progress; /* of a fork call that was interrupted */
};

struct snapshot {
	struct object object;
	struct machine machine; /* machine.mem.account pays for the struct too */
	struct budget *charged;
	uint64_t forks;
};

/* An image, whose guests are clones of it, or an upload, which may become one. */
struct image {
	struct object object;
	struct machine machine; /* machine.mem.account pays for the struct too */
	uint64_t size;   /* of the file */
	uint64_t memory; /* of a guest that asks for no other size */
	uint64_t filled; /* OBJECT_UPLOAD: machine.mem holds so many bytes of the file, from address 0 */
	struct image *draft; /* OBJECT_UPLOAD: the template that is being made of it; NULL: none */
	uint64_t loaded; /* of a draft: bytes of its parts that have been copied */
};

_Static_assert(sizeof(struct guest) <= XSTATE_OFFSET, "a guest is one frame");
_Static_assert(sizeof(struct snapshot) <= XSTATE_OFFSET, "a snapshot is one frame");
_Static_assert(sizeof(struct image) <= XSTATE_OFFSET, "an image is one frame");

/* A counter that one core writes, and others look at. */
static inline void guest_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* The vector registers' image of a guest, snapshot or image; of a STOPPED guest, why it stopped. */
static inline void *object_xstate(struct object *o)
{
	return (uint8_t *)o + XSTATE_OFFSET;
}

static inline struct guest *guest_of(struct object *o)
{
	return CONTAINER_OF(o, struct guest, object);
}

static inline struct snapshot *snapshot_of(struct object *o)
{
	return CONTAINER_OF(o, struct snapshot, object);
}

static inline struct image *image_of(struct object *o)
{
	return CONTAINER_OF(o, struct image, object);
}

#endif
