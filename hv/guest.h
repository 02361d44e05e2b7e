/*
 * Guests and snapshots as management sees them: by 64-bit id, never by pointer. This header and
 * hv/host.h are all that mgmt/ knows of the hypervisor.
 *
 * Every call is made on the boot core, from the loop that serves the network, and never blocks longer
 * than it takes to kick a guest out of another core. Ids are handed out once in the life of a host
 * and shared by guests and snapshots, so an id names one thing for ever.
 */
#ifndef HV_GUEST_H
#define HV_GUEST_H

#include "lib/base.h"
#include "lib/err.h"
#include "lib/labels.h"

#define GUEST_NAME_MAX     64         /* with its terminator; [A-Za-z0-9_.-], empty: none */
#define GUEST_ARGS_MAX     (64 * 1024) /* arguments and environment together, with terminators */
#define GUEST_REASON_MAX   160
#define GUEST_WEIGHT_DEFAULT 100
#define GUEST_WEIGHT_MAX   10000
#define OWNER_HOST         0          /* owns the images of the boot volume */
#define OWNER_ANY          0xffff
#define STREAM_MAX_READERS 8
#define STREAM_CAPACITY    (64 * 1024) /* about; bytes that a stream holds before its writer waits */

enum guest_state {
	GUEST_RUNNABLE = 1, /* on a core or waiting for one */
	GUEST_WAITING = 2,  /* for input, a message, a child or a timer */
	GUEST_PAUSED = 3,   /* by a client, or by a limit: see the stop reason */
	GUEST_STOPPED = 4,  /* for good; its memory is gone, its output and status are kept */
};

/* Why a guest is PAUSED or STOPPED. */
enum guest_stop {
	STOP_NONE = 0,
	STOP_EXIT = 1,          /* it called exit; exit_status is valid */
	STOP_KILLED = 2,        /* a client killed it */
	STOP_CRASHED = 3,       /* it reported a fault of its own (SDK exception handler) */
	STOP_BAD_ADDRESS = 4,   /* touched an address that is not there */
	STOP_TRIPLE_FAULT = 5,
	STOP_FORBIDDEN = 6,     /* used what no guest may: string I/O, ... */
	STOP_HALTED = 7,        /* halted with nothing that could wake it */
	STOP_BAD_STATE = 8,     /* its state cannot be entered by the hardware */
	STOP_CLIENT = 9,        /* PAUSED by a client */
	STOP_MEMORY_LIMIT = 10, /* PAUSED: its budget, or one above it, has no page left */
	STOP_HOST_RESERVE = 11, /* PAUSED: the host is at its reserve */
	/* 12 is not used */
	STOP_POWER_OFF = 13,    /* Linux: it switched itself off */
	STOP_REBOOT = 14,       /* Linux: it restarted, which is an end too */
	STOP_PANIC = 15,        /* Linux: its kernel panicked */
	STOP_DEADLINE = 16,     /* the time that it was given is over */
};

enum guest_stream {
	STREAM_IN = 0,
	STREAM_OUT = 1,
	STREAM_ERR = 2,
	STREAM_AGENT_OUT = 3, /* the agent's port of a Linux guest: guest-sdk/linux/agent_link.h */
	STREAM_OUT_END = 4,   /* output streams are STREAM_OUT to here */
	STREAM_AGENT_IN = 4,
	STREAM_COUNT = 5
};

/* What may be given at run and fork; zero means "the default", which is named. */
struct guest_options {
	char name[GUEST_NAME_MAX];
	uint16_t owner;         /* who makes it, pays for it, and has its name in his own */
	uint64_t memory;        /* bytes of guest memory; run only. Default: what the image asks for */
	uint64_t max_pages;     /* budget: frames of 4 KiB. Default: memory / 4 KiB + 256 */
	uint64_t max_guests;    /* budget: guests that it may have forked alive at once. Default 1024 */
	uint64_t max_snapshots; /* default 64 */
	uint32_t weight;        /* share of the processor, 1 to GUEST_WEIGHT_MAX. Default 100 */
	bool paused;            /* do not start it yet */
	bool remove_when_stopped;
	const char *labels;     /* lib/labels.h; NULL: none. A fork has its origin's, and these in their place */
	uint64_t timeout_ns;    /* it is stopped after so long; 0: never */
	bool timeout_running;   /* the time stands still while it is paused */
	bool input_open;        /* more input may come; else its input is at its end from the start */
	/* argc strings, then envc strings "K=V", each with its terminator. A fork inherits its
	 * parent's unless args_size is not 0. */
	const char *args;
	uint32_t args_size, argc, envc;
};

struct guest_info {
	uint64_t id;
	uint64_t parent;       /* the guest or snapshot it was forked from, 0: an image */
	uint64_t lineage;      /* id of the first guest of its line */
	uint64_t image;        /* id of the image it began as */
	char name[GUEST_NAME_MAX];
	uint16_t owner;
	enum guest_state state;
	enum guest_stop stop;
	int32_t exit_status;   /* valid with STOP_EXIT */
	char reason[GUEST_REASON_MAX]; /* a sentence, empty while it runs */
	uint64_t generation;   /* how often it was cloned or rolled back on its way here */
	uint64_t memory;       /* bytes it may address */
	uint64_t private_pages; /* frames charged to itself: what would be free if it were gone */
	uint64_t max_pages, budget_pages; /* its budget, and what it and its descendants use of it */
	uint32_t weight;
	uint64_t timeout_ns, deadline_ns; /* what it was given, and what is left */
	bool timeout_running;
	char labels[LABELS_SIZE];
	uint64_t cpu_ns;       /* time on a core */
	uint64_t created_ns;   /* wall clock */
	uint64_t exits, faults, forks, children;
	uint64_t stream_bytes[STREAM_COUNT]; /* ever written (OUT, ERR), ever read (IN) */
};

struct snapshot_info {
	uint64_t id;
	uint64_t parent;       /* the guest it was taken of */
	uint64_t lineage;
	uint64_t image;
	char name[GUEST_NAME_MAX];
	uint16_t owner;
	bool public;
	uint64_t pages;        /* frames charged to it */
	uint64_t forks;        /* guests ever made of it */
	uint64_t created_ns;
	char labels[LABELS_SIZE];
};

struct image_info {
	uint64_t id;
	char name[GUEST_NAME_MAX];
	uint16_t owner;
	bool public;
	uint64_t size;         /* of the file */
	uint64_t memory;       /* default memory of its guests */
	uint64_t pages;        /* frames it holds */
	uint64_t created_ns;
};

/*
 * Every call returns 0 or an error; on an error nothing has changed. ERR_NOENT: no such id.
 * ERR_BUSY: it is in a state that forbids this (why is in `detail` of guest_last_error()).
 * ERR_LIMIT, ERR_NOMEM: refused by a budget or by the host's reserve.
 */

/* The sentence that goes with the last error a call of this header returned. */
const char *guest_last_error(void);

/*
 * Owners: small numbers, in which names are unique, and on whose budgets guests, snapshots and images
 * lie. What a guest makes of itself belongs to its owner. OWNER_HOST is one of them.
 */
unsigned owner_count(void);
const char *owner_name(uint16_t owner); /* "" for OWNER_HOST */

enum thing_kind { THING_GUEST = 1, THING_SNAPSHOT = 2, THING_IMAGE = 3 };

/* What an id stands for, for those who decide who may see it. */
struct thing_brief {
	enum thing_kind kind;
	uint16_t owner;
	bool public;
};

int thing_look(uint64_t id, struct thing_brief *brief);
/* ERR_NOENT: `owner` has nothing of the kind with this name. */
int thing_find(enum thing_kind kind, uint16_t owner, const char *name, uint64_t *id);
/* A guest or a snapshot: sets and removes labels (lib/labels.h). ERR_RANGE: too many. */
int thing_label(uint64_t id, const char *set, const char *remove);
/* A snapshot or an image. */
int thing_publish(uint64_t id, bool public);

/* Images. Bytes are appended in order; commit checks the file and makes the template that guests are
 * forked from: a slice of a large one at a time, ERR_AGAIN says that there is more of it. Until then the
 * image has no name and can't be run. A committed image of the same name
 * and owner is replaced; guests that came from it go on. */
int image_begin(uint64_t size, uint16_t owner, uint64_t *upload);
int image_append(uint64_t upload, const uint8_t *data, size_t size);
int image_commit(uint64_t upload, const char *name, uint64_t *id);
void image_abort(uint64_t upload);
int image_remove(uint64_t id);
/* The image with the lowest id above `after`; ERR_NOENT at the end. The same for guests and snapshots. */
int image_next(uint64_t after, struct image_info *info);

int guest_run(uint64_t image, const struct guest_options *options, uint64_t *id);
/* `source` is a guest (kicked out of its core if it runs; it goes on at once) or a snapshot. */
int guest_fork(uint64_t source, const struct guest_options *options, uint64_t *id);
/* `owner` takes it and pays for it, and for what it holds, if the guest is his. */
int guest_snapshot(uint64_t id, uint16_t owner, const char *name, uint64_t *snapshot);
/* Back to a snapshot of the guest's own lineage, which stays. The guest is then in the state that it
 * was in when the snapshot was taken (runnable or waiting), or PAUSED if it is paused now. */
int guest_rollback(uint64_t id, uint64_t snapshot);
int guest_pause(uint64_t id);
int guest_resume(uint64_t id);
int guest_kill(uint64_t id);
/* A guest must be STOPPED. */
int guest_remove(uint64_t id);
int snapshot_remove(uint64_t id);
/* Gives a guest so long from now on. ERR_BUSY: it has stopped. */
int guest_timeout(uint64_t id, uint64_t ns, bool running);
/* Stops guests whose time is over; to be called at guest_deadline_us(), which is when the next one's is,
 * as host_now_us() counts. UINT64_MAX: none's. */
void guest_expire(void);
uint64_t guest_deadline_us(void);
/* Change budget and weight; zero leaves a field. ERR_UNSUPPORTED: the budget is not this guest's alone,
 * it lies too deep. */
int guest_limit(uint64_t id, uint64_t max_pages, uint64_t max_guests, uint32_t weight);

int guest_get(uint64_t id, struct guest_info *info);
int guest_next(uint64_t after, struct guest_info *info);
int snapshot_get(uint64_t id, struct snapshot_info *info);
int snapshot_next(uint64_t after, struct snapshot_info *info);

/*
 * Streams. An output stream is a window on the last STREAM_CAPACITY bytes ever written; positions
 * count from 0 at the guest's start. A reader holds bytes back from being dropped, and so makes a
 * fast writer wait; without a reader the oldest bytes give way to new ones.
 */
/* Bytes taken (may be short), or ERR_AGAIN when the stream is full: wait for NEWS_INPUT. */
int64_t guest_input(uint64_t id, const uint8_t *data, size_t size);
int guest_input_end(uint64_t id);
/* A slot of 0 to STREAM_MAX_READERS - 1 which begins at the oldest byte kept, or ERR_LIMIT. */
int guest_reader_open(uint64_t id, enum guest_stream stream, uint64_t *position);
void guest_reader_close(uint64_t id, enum guest_stream stream, int slot);
/* All before `position` has been taken. */
void guest_reader_done(uint64_t id, enum guest_stream stream, int slot, uint64_t position);
/*
 * Copy up to `size` bytes from *position on. If bytes there were dropped, *position moves up to the
 * oldest kept first. Returns the count; 0 with *end set when no more will ever come.
 */
int64_t guest_output(uint64_t id, enum guest_stream stream, uint64_t *position, uint8_t *buf,
	size_t size, bool *end);

/*
 * Bytes to the agent in a Linux guest: all of `size`, or ERR_AGAIN when there is no room (wait for
 * NEWS_INPUT). What tells the agent who it is stands before them if it has not been told yet.
 * ERR_UNSUPPORTED: the guest is none of Linux. What the agent says is STREAM_AGENT_OUT.
 */
int guest_agent_send(uint64_t id, const uint8_t *data, size_t size);

/* What changed, so that the server need not look at all guests. */
enum guest_news {
	NEWS_OUTPUT = 1,
	NEWS_INPUT = 2,
	NEWS_STATE = 4,
	NEWS_CREATED = 8,   /* another guest made it; and it took a snapshot of itself: both only after */
	NEWS_SNAPSHOT = 16, /* guest_tell_made() */
};

/* Whether what guests make is news. */
void guest_tell_made(bool wanted);

/* Takes one guest with news: its id and the set of enum guest_news. False: none. Never loses any. One
 * that goes when it stops can be looked at until the next call. */
bool guest_news(uint64_t *id, unsigned *news);

#endif
