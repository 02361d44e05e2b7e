/*
 * libcreel: the C client of a Creel host.
 *
 *     struct creel *c = creel_new();
 *     uint64_t id;
 *
 *     if (creel_open(c, "lab1", 5000) != CREEL_OK ||
 *             creel_run(c, "hello", NULL, &id) != CREEL_OK)
 *             fprintf(stderr, "%s\n", creel_error_text(c));
 *     creel_free(c);
 *
 * Every call that takes a connection sends a request and returns when its answer is complete:
 * CREEL_OK or another code of enum creel_code, for which creel_error_text() has a sentence. An
 * error from the host leaves the connection usable; CREEL_CONNECTION means that it is gone, and
 * creel_open() may be called again. After creel_async() a call is only started, and goes on beside
 * others whenever the program has time for it.
 *
 * Threads: a connection is used by one thread at a time; different connections are independent.
 * Callbacks are made on the thread that makes the call, or calls creel_process(); they may start
 * calls on their connection, but not wait for one. One that returns other than 0 ends its call
 * early, which then returns CREEL_CANCELLED.
 *
 * A guest, snapshot or image is named by a string: its number as decimal digits, or its name.
 * Sizes are in bytes, pages in units of 4 KiB, times in nanoseconds; *_ns at an instant since 1970.
 */
#ifndef CREEL_H
#define CREEL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- values ---- */

#define CREEL_API __attribute__((visibility("default")))

#define CREEL_DEFAULT_PORT 7117
#define CREEL_NAME_SIZE    64
#define CREEL_LABELS_SIZE  256
#define CREEL_TEXT_SIZE    240
#define CREEL_ADDRESS_SIZE 256
#define CREEL_PATH_SIZE    4096
#define CREEL_KEY_SIZE     32
#define CREEL_KEY_TEXT_SIZE 65 /* a key in hexadecimal, and its end */
#define CREEL_FORK_MOST    100000 /* guests of one creel_fork() */

enum creel_code {
	CREEL_OK = 0,
	CREEL_INVALID = 1,     /* a value makes no sense */
	CREEL_NOENT = 2,       /* no such guest, snapshot, image */
	CREEL_EXIST = 3,       /* the name is taken */
	CREEL_BUSY = 4,        /* in use, or in a state that forbids it */
	CREEL_NOMEM = 5,       /* the host has no memory above its reserve */
	CREEL_LIMIT = 6,       /* a budget or a named limit is used up */
	CREEL_RETRY = 7,       /* not now: see creel_retry_ms() */
	CREEL_UNSUPPORTED = 8, /* the host doesn't know this request */
	CREEL_DENIED = 9,
	CREEL_CANCELLED = 10, /* a callback or the cancel flag ended it */
	CREEL_TOOBIG = 11,
	CREEL_PROTOCOL = 12, /* one side broke a rule of the protocol; the connection is closed */
	CREEL_BAD_VERSION = 13, /* no version of the protocol in common */
	CREEL_TIMEOUT = 14,
	CREEL_INTERNAL = 15,
	CREEL_CONNECTION = 100, /* could not connect, or the connection was lost */
	CREEL_LOCAL = 101,      /* something on this side: a file, memory */
	CREEL_EXEC = 102,       /* the guest could not start the command */
};

enum creel_kind { CREEL_ANY = 0, CREEL_GUEST = 1, CREEL_SNAPSHOT = 2, CREEL_IMAGE = 3 };

enum creel_state {
	CREEL_RUNNABLE = 1, /* on a core or waiting for one */
	CREEL_WAITING = 2,  /* for input, a message, a child or a timer */
	CREEL_PAUSED = 3,   /* by a client or a limit: see the reason */
	CREEL_STOPPED = 4,
};

/* Why a guest is paused or stopped. */
enum creel_stop {
	CREEL_STOP_NONE = 0,
	CREEL_STOP_EXIT = 1, /* it exited; exit_status is valid */
	CREEL_STOP_KILLED = 2,
	CREEL_STOP_CRASHED = 3,
	CREEL_STOP_BAD_ADDRESS = 4,
	CREEL_STOP_TRIPLE_FAULT = 5,
	CREEL_STOP_FORBIDDEN = 6,
	CREEL_STOP_HALTED = 7,
	CREEL_STOP_BAD_STATE = 8,
	CREEL_STOP_CLIENT = 9,        /* paused by a client */
	CREEL_STOP_MEMORY_LIMIT = 10, /* paused: its budget, or one above it, is used up */
	CREEL_STOP_HOST_RESERVE = 11, /* paused: the host is full */
	CREEL_STOP_FORBIDDEN_LOOP = 12,
	CREEL_STOP_POWER_OFF = 13, /* Linux: it switched itself off */
	CREEL_STOP_REBOOT = 14,    /* Linux: it restarted, which is an end too */
	CREEL_STOP_PANIC = 15,     /* Linux: its kernel panicked */
	CREEL_STOP_DEADLINE = 16,  /* the time that it was given is over */
};

enum creel_stream_id { CREEL_IN = 0, CREEL_OUT = 1, CREEL_ERR = 2 };

/* What the host lets a client do: all; all but the host's own settings; what it made itself; look. */
enum creel_role { CREEL_VIEWER = 1, CREEL_OWNER = 2, CREEL_OPERATOR = 3, CREEL_ADMIN = 4 };

/* A connection to a host. */
struct creel;

struct creel_info {
	char version[32], backend[16], cpu[64];
	uint64_t boot_id[2]; /* new at each boot; numbers of another boot mean nothing */
	uint32_t cores;
	uint32_t address; /* IPv4, host byte order */
	uint8_t mac[6];
	uint64_t tsc_khz, uptime_ns, wall_ns;
	/* Frames of 4 KiB. */
	uint64_t frames_total, frames_free, frames_quarantined, frames_reserve;
	uint64_t frames_table, frames_data, frames_state, frames_stream, frames_image, frames_host;
	uint64_t guests, guests_runnable, guests_waiting, guests_paused, guests_stopped;
	uint64_t snapshots, images;
	uint32_t connections, requests;
};

/* Counts of one operation or exit; the rest is in ticks of tsc_khz. */
struct creel_meter {
	char name[CREEL_NAME_SIZE];
	uint64_t count, ticks, last, min, max;
};

/* A figure of the host's management: docs/protocol.md has their names. */
struct creel_figure {
	char name[CREEL_NAME_SIZE];
	char of[CREEL_NAME_SIZE]; /* a client, a kind of request, or "" */
	uint64_t below_us; /* "latency": those that took less, but not below half of it; 0: longer */
	uint64_t value;
};

/* Or an upload of one that was cut off: creel_uploads(). */
struct creel_image {
	uint64_t id;
	char name[CREEL_NAME_SIZE], owner[CREEL_NAME_SIZE]; /* owner "": the host itself */
	bool is_public;
	uint64_t size;   /* of the file */
	uint64_t memory; /* default of its guests */
	uint64_t pages;  /* that it holds */
	uint64_t created_ns;
	bool is_upload;
	uint64_t received; /* of an upload: so many bytes of `size` */
};

struct creel_guest {
	uint64_t id;
	uint64_t parent;  /* guest or snapshot that it was forked from, 0: it began from an image */
	uint64_t lineage; /* id of the first guest of its line */
	uint64_t image;
	char name[CREEL_NAME_SIZE], owner[CREEL_NAME_SIZE];
	enum creel_state state;
	enum creel_stop stop;
	int exit_status;
	char reason[CREEL_TEXT_SIZE];
	uint64_t generation; /* how often it was cloned or rolled back on its way here */
	uint64_t memory;
	uint64_t private_pages;           /* what would be free if it were gone */
	uint64_t max_pages, budget_pages; /* its budget, and what it and its forks use of it */
	uint32_t weight;
	uint64_t cpu_ns, created_ns, exits, faults, forks, children;
	uint64_t bytes_in, bytes_out, bytes_err; /* ever read and written */
	uint64_t timeout_ns, deadline_ns; /* what it was given, and what is left; 0: none */
	bool timeout_running;             /* its time stands still while it is paused */
	char labels[CREEL_LABELS_SIZE];   /* "key=value,key=value" */
};

struct creel_snapshot {
	uint64_t id, parent, lineage, image;
	char name[CREEL_NAME_SIZE], owner[CREEL_NAME_SIZE];
	bool is_public; /* all clients may see and fork it */
	char labels[CREEL_LABELS_SIZE];
	uint64_t pages, forks, created_ns;
};

/* One action of a client. A jump in `seq` is what the host has overwritten meanwhile. */
struct creel_audit {
	uint64_t seq, wall_ns;
	char client[CREEL_NAME_SIZE]; /* its name in the host's creel.conf */
	enum creel_role role;
	uint32_t address;             /* IPv4, host byte order */
	char action[CREEL_NAME_SIZE]; /* "fork", "kill", "connect", "refused handshake" */
	char object[CREEL_TEXT_SIZE]; /* "guest 17", "image hello", or empty */
	enum creel_code code;         /* how it ended */
	uint64_t made;                /* id of the first thing made, 0: nothing was */
	uint32_t count;               /* how many were made, or refused */
};

enum creel_power { CREEL_REBOOT = 1, CREEL_POWER_OFF = 2 };

struct creel_item {
	enum creel_kind kind;
	union {
		struct creel_guest guest;
		struct creel_snapshot snapshot;
		struct creel_image image;
	};
};

struct creel_status {
	uint64_t id;
	enum creel_state state;
	enum creel_stop stop;
	int exit_status;
	char reason[CREEL_TEXT_SIZE];
};

/* One guest of a creel_fork(), or one target of a creel_act(). */
struct creel_result {
	uint32_t index;
	uint64_t id; /* 0 with an error of creel_fork() */
	enum creel_code code;
	char text[CREEL_TEXT_SIZE];
};

enum creel_what {
	CREEL_EVENT_NONE = 0, /* the first: from here on; or only `lost` */
	CREEL_EVENT_CREATED = 1,
	CREEL_EVENT_STATE = 2, /* a guest was paused, goes on, or has stopped */
	CREEL_EVENT_REMOVED = 3,
	CREEL_EVENT_ROLLED_BACK = 4,
};

/* Something that happened to a guest, snapshot or image. */
struct creel_event {
	uint64_t time_ns;
	uint32_t lost; /* events before this one that we were too slow for */
	enum creel_what what;
	enum creel_kind kind;
	uint64_t id, parent;
	char name[CREEL_NAME_SIZE], owner[CREEL_NAME_SIZE];
	enum creel_state state; /* of a guest, as it was then; and the next four */
	enum creel_stop stop;
	int exit_status;
	char reason[CREEL_TEXT_SIZE];
	char labels[CREEL_LABELS_SIZE];
};

/* How a guest begins. All zero is a good start: no name, defaults, no arguments, running. */
struct creel_options {
	const char *name;
	uint64_t memory, max_pages, max_guests, max_snapshots; /* 0: default */
	uint32_t weight;                                       /* 1 to 10000; 0: default, 100 */
	uint64_t timeout_ns;  /* it is stopped after so long; 0: never */
	bool timeout_running; /* the time stands still while it is paused */
	const char *labels;   /* "key=value,key=value"; a fork has its source's beside these */
	bool paused;
	bool remove_when_stopped;
	bool input_open;         /* input may come; else the guest finds it at its end */
	const char *const *args; /* NULL at the end; or NULL. A fork without any has its parent's */
	const char *const *env;  /* "K=V" */
};

/* Where the streams of an attached guest go. */
struct creel_streams {
	int input_fd; /* read until its end and sent to the guest; -1: nothing */
	/*
	 * Reads from input_fd in read()'s stead, up to `size` bytes, which is above 1: how many, 0 at
	 * the end, -1 if there is nothing now, -2 to end the call. NULL: read() is good enough.
	 */
	long (*input)(void *arg, void *buf, size_t size);
	/* Bytes of a stream. More than before + size as position: bytes in between were dropped. */
	int (*output)(void *arg, enum creel_stream_id stream, uint64_t position, const void *data,
		size_t size);
	/* It was paused by a limit, or goes on; may be NULL. */
	int (*state)(void *arg, const struct creel_status *status);
	/* It is there, with this id; may be NULL. */
	int (*started)(void *arg, uint64_t id);
	void *arg;
	/* If set (by a signal handler, say) a call that waits ends soon; may be NULL. */
	const volatile sig_atomic_t *cancel;
};

enum creel_attach_flags {
	CREEL_ATTACH_IN = 1,
	CREEL_ATTACH_OUT = 2,
	CREEL_ATTACH_ERR = 4,
	CREEL_ATTACH_FOLLOW = 8, /* until the guest stops; else only what there is */
	CREEL_ATTACH_HOLD = 16,  /* the guest waits for us, we miss nothing */
	CREEL_ATTACH_NOW = 32,   /* from now on; else from the oldest output kept */
};

/* Something for a command that runs. */
struct creel_exec_event {
	uint8_t signal;         /* a number of Linux; 0: its terminal has another size */
	uint16_t rows, columns;
};

/* All zero, but for argv and input_fd, is a good start. */
struct creel_exec {
	const char *const *argv; /* NULL at the end */
	const char *const *env;  /* "K=V" more than the guest has; NULL at the end; or NULL */
	const char *cwd;         /* NULL: what the image says, or / */
	bool as_user;            /* uid and gid count */
	uint32_t uid, gid;
	bool tty; /* a terminal of this size, whose output is all CREEL_OUT */
	uint16_t rows, columns;
	bool builtin; /* argv is a command of the agent's own: guest-sdk/linux/agent_proto.h */
	int input_fd; /* read until its end and sent to the command; -1: nothing */
	int (*output)(void *arg, enum creel_stream_id stream, const void *data, size_t size);
	/* Asked every moment, and when a signal has come: true with something to pass on. May be NULL. */
	bool (*event)(void *arg, struct creel_exec_event *event);
	void *arg;
	uint32_t start_ms; /* the agent has so long to start it; 0: as long as it takes */
	/* If set (by a signal handler, say) the call ends within a moment; may be NULL. */
	const volatile sig_atomic_t *cancel;
	/* USER[:GROUP], names or numbers of the guest's /etc; NULL: as_user says, or else it is root. */
	const char *user;
};

struct creel_exec_status {
	int exit_status;
	int signal; /* that ended it; 0: it exited */
	int error;  /* with CREEL_EXEC: errno of Linux, or 0 */
};

/* ---- connection ---- */

/* NULL: no memory. */
CREEL_API struct creel *creel_new(void);
CREEL_API void creel_free(struct creel *c);

/*
 * Connects to a host of the user's configuration, with the user's key (below). `host` is a name in
 * it, or the address of one; NULL: what CREEL_HOST says, else the configuration's default. With
 * CREEL_HOST_KEY set an address need not be known. A timeout of 0 waits as long as the system does.
 *
 * CREEL_DENIED: the host refuses us, or isn't the one that we know. CREEL_NOENT: no such host, or
 * no key.
 */
CREEL_API int creel_open(struct creel *c, const char *host, int timeout_ms);

/*
 * The same without a configuration: `address` is HOST, HOST:PORT or [IPv6]:PORT, and must be that of
 * the host whose public key is `host_key`.
 */
CREEL_API int creel_connect(struct creel *c, const char *address,
	const uint8_t host_key[CREEL_KEY_SIZE], const uint8_t private_key[CREEL_KEY_SIZE],
	int timeout_ms);

/* The version of this library, as "0.1.0". */
CREEL_API const char *creel_version(void);
/* A code in a word or two, as for a log: "not found". */
CREEL_API const char *creel_code_name(int code);

/* About the last call that failed. The text stays until the next call. */
CREEL_API const char *creel_error_text(const struct creel *c);
CREEL_API uint32_t creel_retry_ms(const struct creel *c);

/* Who the host takes us for: the name in its creel.conf, which is the owner of what we make. The text
 * lives as long as the connection. */
CREEL_API const char *creel_client(const struct creel *c);
CREEL_API enum creel_role creel_role(const struct creel *c);

/* ---- keys ---- */

/* A key as 64 hexadecimal digits; and back, false if it is not that. */
CREEL_API void creel_key_text(
	char text[CREEL_KEY_TEXT_SIZE], const uint8_t key[CREEL_KEY_SIZE]);
CREEL_API bool creel_key_parse(uint8_t key[CREEL_KEY_SIZE], const char *text);

CREEL_API int creel_make_key(struct creel *c, uint8_t private_key[CREEL_KEY_SIZE]);
CREEL_API void creel_public_key(
	uint8_t public_key[CREEL_KEY_SIZE], const uint8_t private_key[CREEL_KEY_SIZE]);

/*
 * The file of the user's private key: CREEL_KEY, else "key" in $XDG_CONFIG_HOME/creel, else in
 * ~/.config/creel. creel_keygen() makes it with a new key, and its folder; CREEL_EXIST: it never
 * overwrites one. creel_load_key() refuses a file that others can read, CREEL_DENIED. `path` NULL:
 * that file.
 */
CREEL_API int creel_key_path(struct creel *c, char path[CREEL_PATH_SIZE]);
CREEL_API int creel_keygen(struct creel *c, const char *path, uint8_t public_key[CREEL_KEY_SIZE]);
CREEL_API int creel_load_key(struct creel *c, const char *path, uint8_t private_key[CREEL_KEY_SIZE]);

/* ---- the hosts that the user knows: "config" in the same folder ---- */

struct creel_host {
	char name[CREEL_NAME_SIZE]; /* "": none, it came from the environment */
	char address[CREEL_ADDRESS_SIZE];
	uint8_t key[CREEL_KEY_SIZE];
	bool is_default;
};

/* As creel_open() finds it. */
CREEL_API int creel_find_host(struct creel *c, const char *host, struct creel_host *out);
CREEL_API int creel_hosts(
	struct creel *c, int (*each)(void *arg, const struct creel_host *h), void *arg);
CREEL_API int creel_add_host(struct creel *c, const char *name, const char *address,
	const uint8_t key[CREEL_KEY_SIZE]);
CREEL_API int creel_remove_host(struct creel *c, const char *name);
CREEL_API int creel_default_host(struct creel *c, const char *name);

/* ---- without waiting ---- */

/*
 * The next call on `c` is only started: it returns CREEL_OK at once, and what it would have
 * returned comes as `code` to done(), from creel_process(). Up to 64 calls may be under way, and
 * go on side by side. What a call was given to write its results to, and what its callbacks use,
 * must stay until then; other arguments needn't. If it can't be started it returns another code
 * than CREEL_OK, and done() is not called.
 *
 * done() may ask for creel_error_text() and creel_retry_ms(); it and all other callbacks may
 * start calls, but not wait for one. Connecting can only be waited for, and so can the agent of a
 * guest. A call that waits lets those that were started go on.
 */
CREEL_API void creel_async(struct creel *c, void (*done)(void *arg, int code), void *arg);

/*
 * For poll(): it becomes readable (POLLIN) when creel_process() has something to do. It stays the
 * same until creel_free(), through all connections; to be asked for before calls are started.
 */
CREEL_API int creel_fd(struct creel *c);

/*
 * Goes on with all calls that were started, and never waits. Other than CREEL_OK: the connection
 * is lost, and every call has ended with that code.
 */
CREEL_API int creel_process(struct creel *c);

/* How many are under way. */
CREEL_API unsigned creel_pending(const struct creel *c);

/* Ends those early that were started with `arg`; each comes to its done(), with CREEL_CANCELLED. */
CREEL_API void creel_cancel(struct creel *c, const void *arg);

/* ---- looking ---- */

CREEL_API int creel_get_info(struct creel *c, struct creel_info *info);
CREEL_API int creel_meters(struct creel *c, bool reset,
	int (*each)(void *arg, const struct creel_meter *m), void *arg);
/* What management itself counts: how many wait, who was refused, how long requests took. */
CREEL_API int creel_figures(
	struct creel *c, int (*each)(void *arg, const struct creel_figure *f), void *arg);
/* Lines of the host's log. *position: 0 for the oldest kept; where to go on afterwards. */
CREEL_API int creel_log(struct creel *c, uint64_t *position, bool follow,
	const volatile sig_atomic_t *cancel, int (*text)(void *arg, const char *data, size_t size),
	void *arg);
/* Records of who did what, oldest first, with a number above *after; with `follow` also those to come,
 * until `each` returns other than 0. *after is where to go on. For roles operator and admin. */
CREEL_API int creel_audit(struct creel *c, uint64_t *after, bool follow,
	int (*each)(void *arg, const struct creel_audit *a), void *arg);
/* The host restarts, or switches itself off; all that is in it is gone. For role admin. */
CREEL_API int creel_host_power(struct creel *c, enum creel_power action);
CREEL_API int creel_images(
	struct creel *c, int (*each)(void *arg, const struct creel_image *i), void *arg);
/* Uploads that were cut off, and that the host keeps for a while. */
CREEL_API int creel_uploads(
	struct creel *c, int (*each)(void *arg, const struct creel_image *i), void *arg);
/* `all`: stopped ones too. `lineage` 0: any. */
CREEL_API int creel_guests(struct creel *c, bool all, uint64_t lineage,
	int (*each)(void *arg, const struct creel_guest *g), void *arg);
CREEL_API int creel_snapshots(struct creel *c, uint64_t lineage,
	int (*each)(void *arg, const struct creel_snapshot *s), void *arg);
/* The same of those with labels: "key=value,key" means one with that value, and another with any. */
CREEL_API int creel_select_guests(struct creel *c, bool all, const char *selector,
	int (*each)(void *arg, const struct creel_guest *g), void *arg);
CREEL_API int creel_select_snapshots(struct creel *c, const char *selector,
	int (*each)(void *arg, const struct creel_snapshot *s), void *arg);
/*
 * Tells of events as they happen, until `each` returns other than 0. A selector picks by labels; NULL:
 * all that we may see. Who is too slow is told how many events were lost; no guest waits for it.
 */
CREEL_API int creel_events(struct creel *c, const char *selector,
	int (*each)(void *arg, const struct creel_event *e), void *arg);
CREEL_API int creel_get(
	struct creel *c, enum creel_kind kind, const char *what, struct creel_item *item);

/* ---- images ---- */

#define CREEL_HASH_SIZE 32

/* The hash by which a host knows a file of `size` bytes, which `read` gives as for creel_put(): BLAKE2s.
 * Asks no host. */
CREEL_API int creel_hash(struct creel *c, uint64_t size,
	long (*read)(void *arg, uint64_t offset, void *buf, size_t size), void *arg,
	uint8_t hash[CREEL_HASH_SIZE]);
/*
 * Uploads `size` bytes that `read` gives: up to `size` of them from `offset` on, the count returned;
 * less than 1 gives up (CREEL_LOCAL). Their hash is `hash`; with NULL they are read once more before,
 * to find it. An image of the same name is replaced. An upload of the same bytes that was cut off goes
 * on where it was, so that `read` is first asked for what lies further on. When it is waited for and
 * the connection is lost, it goes on over a new one as long as it gets further.
 */
CREEL_API int creel_put(struct creel *c, const char *name, uint64_t size,
	const uint8_t hash[CREEL_HASH_SIZE],
	long (*read)(void *arg, uint64_t offset, void *buf, size_t size), void *arg,
	struct creel_image *image);
/* Or an upload that was cut off, by its number. */
CREEL_API int creel_remove_image(struct creel *c, const char *image);

/* ---- guests ---- */

CREEL_API int creel_run(
	struct creel *c, const char *image, const struct creel_options *options, uint64_t *id);
/*
 * Makes `count` guests of a guest or snapshot and tells of each, in order, as it is made. CREEL_OK
 * if all were tried; how many were made is in *made (may be NULL). With a count of 1 the error of
 * that one is returned instead.
 */
CREEL_API int creel_fork(struct creel *c, const char *source, const struct creel_options *options,
	uint32_t count, int (*each)(void *arg, const struct creel_result *r), void *arg,
	uint64_t *made);
/*
 * Runs one guest with its streams attached and returns when it has stopped, with its status.
 * Nothing that it writes is missed. `source` is an image, or with `fork` a guest or snapshot.
 */
CREEL_API int creel_run_attached(struct creel *c, const char *source, bool fork,
	const struct creel_options *options, const struct creel_streams *streams,
	struct creel_status *status);
CREEL_API int creel_attach(struct creel *c, const char *guest, unsigned flags,
	const struct creel_streams *streams, struct creel_status *status);
/* Returns when the guest has stopped. `cancel` as in struct creel_streams. */
CREEL_API int creel_wait(struct creel *c, const char *guest, const volatile sig_atomic_t *cancel,
	struct creel_status *status);

/* `name` may be NULL. `is_public`: all clients may see and fork it. */
CREEL_API int creel_take_snapshot(
	struct creel *c, const char *guest, const char *name, bool is_public, uint64_t *id);
/* The same for a snapshot or image that is there, or no longer. */
CREEL_API int creel_publish(struct creel *c, const char *what, bool is_public);
CREEL_API int creel_rollback(struct creel *c, const char *guest, const char *snapshot);
CREEL_API int creel_pause(struct creel *c, const char *guest);
CREEL_API int creel_resume(struct creel *c, const char *guest);
CREEL_API int creel_kill(struct creel *c, const char *guest);
/* A stopped guest, or a snapshot. */
CREEL_API int creel_remove(struct creel *c, const char *what);

enum creel_action { CREEL_PAUSE, CREEL_RESUME, CREEL_KILL, CREEL_REMOVE };

/*
 * One action on many, in one request where they fit into one, with a result for each: on `count`
 * targets, in order, or with a selector on all guests (to remove: and snapshots) that it selects and
 * that the action can change. `force`: a guest that is to be removed and still runs is killed first.
 * CREEL_OK if all were tried; how many went well is in *done (may be NULL).
 */
CREEL_API int creel_act(struct creel *c, enum creel_action action, bool force,
	const char *const *targets, size_t count, const char *selector,
	int (*each)(void *arg, const struct creel_result *r), void *arg, uint64_t *done);
/* Sets labels of a guest or snapshot ("key=value,..."), and removes some ("key,..."); NULL: none. */
CREEL_API int creel_label(
	struct creel *c, const char *what, const char *set, const char *remove);
/* Gives a guest so long from now on. `running`: the time stands still while it is paused. */
CREEL_API int creel_set_timeout(struct creel *c, const char *guest, uint64_t ns, bool running);
/* 0 leaves a value as it is. */
CREEL_API int creel_set_limit(struct creel *c, const char *guest, uint64_t max_pages,
	uint64_t max_guests, uint32_t weight);

/* ---- commands in Linux guests ---- */

/*
 * Runs a command in a Linux guest with an agent, and returns when it has ended. A guest that was
 * forked runs it like any other; what was under way in the parent is the parent's.
 */
CREEL_API int creel_exec(struct creel *c, const char *guest, const struct creel_exec *exec,
	struct creel_exec_status *status);
/*
 * creel_take_snapshot() while the agent holds every other process still. An error, CREEL_TIMEOUT if
 * the agent did not answer in `wait_ms`, means that there is no snapshot.
 */
CREEL_API int creel_take_quiet_snapshot(struct creel *c, const char *guest, const char *name,
	bool is_public, uint32_t wait_ms, uint64_t *id);

#ifdef __cplusplus
}
#endif

#endif
