/*
 * The contract between Creel and an SDK guest, version 1. Self-contained: included by the hypervisor
 * and by guests alike. Numbers in here never change their meaning.
 *
 * A hypercall is `out %eax, $CREEL_PORT` in 64-bit mode with
 *     RAX  call number (enum creel_call)
 *     RDI, RSI, RDX, R10, R8, R9  arguments, as for a Linux system call
 * and comes back with
 *     RAX  result: 0 or more, or a negative enum creel_error
 *     RDX  second result of the calls that have one; unchanged by all others
 * No other register changes. Addresses are guest physical, which at the start is also virtual.
 * All that a call consists of is in registers, so it is copied once, by the exit itself.
 *
 * A call that has to wait takes a deadline on the monotonic clock in nanoseconds: 0 does not wait,
 * CREEL_FOREVER waits without end. One that ran out returns CREEL_EAGAIN.
 *
 * A guest starts at its ELF entry in 64-bit mode, CPL 0, interrupts off:
 *     RSP  CREEL_STACK_TOP                      RDI  CREEL_ABI_VERSION
 *     CR3  CREEL_GPA_PML4: memory mapped one to one in 1 GiB leaves, accessed and dirty bits set
 *     GDT  CREEL_GPA_GDT, flat segments loaded from it; no IDT
 * with SSE enabled (and AVX when CPUID shows OSXSAVE and AVX). Page 0 is not there: a null pointer,
 * or a stack that grows too far, stops the guest.
 */
#ifndef CREEL_ABI_H
#define CREEL_ABI_H

#define CREEL_ABI_VERSION 1

#define CREEL_PORT    0xce
#define CREEL_FOREVER 0xffffffffffffffffull

/* Fixed places in guest memory. All segments of an image lie at or above CREEL_GPA_IMAGE. */
#define CREEL_GPA_STACK 0x1000ull  /* lowest byte of the first stack */
#define CREEL_STACK_TOP 0x9000ull
#define CREEL_GPA_PML4  0x9000ull
#define CREEL_GPA_PDPT  0xa000ull
#define CREEL_GPA_GDT   0xb000ull  /* null, 64-bit code 0x08, data 0x10, room for a TSS at 0x18 */
#define CREEL_GPA_IMAGE 0x10000ull

#define CREEL_MESSAGE_MAX 16384    /* bytes in one message */
#define CREEL_NAME_MAX    64       /* with its terminator */
#define CREEL_RANDOM_MAX  4096     /* bytes of one CREEL_CALL_RANDOM */
#define CREEL_FORK_MAX    65536    /* children of one CREEL_CALL_FORK */

enum creel_call {
	CREEL_CALL_VERSION = 0,    /* -> CREEL_ABI_VERSION */
	CREEL_CALL_EXIT = 1,       /* status; does not return */
	CREEL_CALL_WRITE = 2,      /* stream, address, size -> bytes taken; waits while the stream is full */
	CREEL_CALL_READ = 3,       /* stream, address, size, deadline -> bytes, 0 at the end */
	CREEL_CALL_INFO = 4,       /* address, size -> size of struct creel_info; copies what fits */
	CREEL_CALL_ARGS = 5,       /* address, size -> size of all arguments, then environment, each
	                              string with its terminator; copies what fits. RDX: argc | envc << 32 */
	CREEL_CALL_CLOCK = 6,      /* enum creel_clock -> nanoseconds */
	CREEL_CALL_SLEEP = 7,      /* deadline */
	CREEL_CALL_RANDOM = 8,     /* address, size <= CREEL_RANDOM_MAX -> size */
	CREEL_CALL_GENERATION = 9, /* -> changes whenever this guest was cloned or rolled back */
	CREEL_CALL_SNAPSHOT = 10,  /* name address (0: none), name size -> id; 0 in whoever comes back to it */
	CREEL_CALL_FORK = 11,      /* count, address for count ids (0: don't care), flags
	                              -> in the parent: how many were made; in a child: 0, RDX: index from 1 */
	CREEL_CALL_ROLLBACK = 12,  /* snapshot id; on success the guest goes on where that was taken */
	CREEL_CALL_SEND = 13,      /* guest id (0: parent), address, size, deadline; waits while full */
	CREEL_CALL_RECEIVE = 14,   /* address, size, deadline -> size of the message, cut to fit. RDX: sender */
	CREEL_CALL_CHILDREN = 15,  /* count, deadline: waits until at most count of its forks live -> number */
	CREEL_CALL_YIELD = 16,
	CREEL_CALL_CRASH = 17,     /* text address, size: stops the guest, with this as the reason */
	CREEL_CALL_GATHER = 18,    /* as CREEL_CALL_RECEIVE, but CREEL_EPIPE once there is no message and none of
	                              its forks lives: whatever they had to say has been received */
	CREEL_CALL_COUNT
};

enum creel_error {
	CREEL_EINVAL = -1,  /* no such call, or an argument that no guest could mean */
	CREEL_EFAULT = -2,  /* an address outside the guest's memory */
	CREEL_EAGAIN = -3,  /* the deadline passed */
	CREEL_ELIMIT = -4,  /* a budget is used up */
	CREEL_ENOENT = -5,  /* no such guest or snapshot, or not of this lineage */
	CREEL_EPIPE = -6,   /* the other side is gone */
	CREEL_ETOOBIG = -7, /* above a named maximum */
	CREEL_ENOMEM = -8,  /* the host is full */
};

enum creel_stream { CREEL_STDIN = 0, CREEL_STDOUT = 1, CREEL_STDERR = 2 };

enum creel_clock {
	CREEL_CLOCK_MONOTONIC = 0, /* since the guest began; stands still while it is paused */
	CREEL_CLOCK_WALL = 1,      /* UTC since 1970 */
};

enum creel_fork_flags {
	CREEL_FORK_KEEP = 1, /* a stopped child stays listed until a client removes it */
};

struct creel_info {
	unsigned int version;      /* CREEL_ABI_VERSION */
	unsigned int reserved;
	unsigned long long memory; /* bytes of guest memory, from address 0 */
	unsigned long long id;     /* this guest */
	unsigned long long parent; /* guest or snapshot it was forked from, 0 for none */
	unsigned long long generation;
	unsigned long long image_end; /* first address behind the image */
	unsigned long long tsc_khz;
};

#endif
