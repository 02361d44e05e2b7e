/*
 * The management protocol, version 1: the one description of what goes over the wire, used by the
 * server, the client library and the tests. docs/protocol.md says how the messages play together.
 *
 * A connection is two streams of frames. Every frame is a header and a payload:
 *
 *     u32 length    of the frame, header included
 *     u16 type      enum proto_type
 *     u16 flags     enum proto_flags
 *     u64 request   number of the request it belongs to, chosen by the client
 *
 * Integers are little-endian and nothing is padded. The payload of a type is the struct declared
 * for it below: its members in order, each as it would be alone. What C can't say is written so:
 *
 *     char name[N]       u16 length, then as many bytes of printable ASCII, no terminator; < N
 *     struct proto_ref   u8 kind, u64 id, name; exactly one of id (not 0) and name (not empty)
 *     struct proto_blob  u32 length, then as many bytes
 *
 * A payload that is short, long, or has a value outside its named range is malformed as a whole.
 */
#ifndef MGMT_PROTO_H
#define MGMT_PROTO_H

#include "lib/base.h"
#include "lib/err.h"
#include "lib/labels.h"

#define PROTO_MAGIC       0x0a0d6c6565726343ull /* "Ccreel\r\n" */
#define PROTO_VERSION     1
#define PROTO_PORT        7117
#define PROTO_HEADER_SIZE 16
#define PROTO_FRAME_MAX   16368 /* with a 16-byte seal it fits one message of 16,384 */
#define PROTO_ANSWER_MAX  1024  /* no answer but DATA is larger */
#define PROTO_DATA_MAX    (PROTO_FRAME_MAX - PROTO_HEADER_SIZE - PROTO_DATA_FIXED)
#define PROTO_DATA_FIXED  14     /* of a DATA payload: what stands before its bytes */
#define PROTO_ARGS_MAX    15000  /* arguments and environment, with terminators */
#define PROTO_COUNT_MAX   100000 /* guests of one RUN or FORK */
#define PROTO_NAME_MAX    64     /* with its terminator; [A-Za-z0-9_.-], not digits alone */
#define PROTO_TEXT_MAX    240    /* with its terminator */
#define PROTO_CREDIT_MAX  (1u << 30)

enum proto_type {
	/* Either way, once a request has streams. */
	PROTO_DATA = 0x01,
	PROTO_CREDIT = 0x02,

	/* From the client. Everything but HELLO and CANCEL starts a request. */
	PROTO_HELLO = 0x10,
	PROTO_CANCEL = 0x11,     /* no payload: end the request of that number early */
	PROTO_GET_INFO = 0x12,   /* no payload -> INFO */
	PROTO_GET_METERS = 0x13, /* proto_get_meters -> METER..., DONE */
	PROTO_GET_LOG = 0x14,    /* proto_get_log -> DATA on PROTO_STREAM_LOG..., DONE */

	PROTO_GET_AUDIT = 0x15,  /* proto_get_audit -> AUDIT..., DONE */
	PROTO_HOST_POWER = 0x16, /* proto_host_power -> DONE, and then the host is gone */
	PROTO_GET_FIGURES = 0x1a, /* no payload -> FIGURE..., DONE */

	PROTO_PUT = 0x20,          /* proto_put -> UPLOAD, then DATA from the client */
	PROTO_PUT_COMMIT = 0x21,   /* no payload, same request, after the last byte -> IMAGE */
	PROTO_LIST_IMAGES = 0x22,  /* proto_list -> IMAGE..., DONE */
	PROTO_REMOVE_IMAGE = 0x23, /* proto_act -> DONE */

	PROTO_RUN = 0x30,  /* proto_create of an image -> RESULT for each, then DONE or streams */
	PROTO_FORK = 0x31, /* proto_create of a guest or snapshot -> the same */
	PROTO_TAKE_SNAPSHOT = 0x32, /* proto_take_snapshot -> RESULT, DONE */
	PROTO_ROLLBACK = 0x33,      /* proto_rollback -> DONE */
	PROTO_PAUSE = 0x34,         /* proto_act -> DONE */
	PROTO_RESUME = 0x35,        /* proto_act -> DONE */
	PROTO_KILL = 0x36,          /* proto_act -> DONE */
	PROTO_REMOVE = 0x37,        /* proto_act on a stopped guest or a snapshot -> DONE */
	PROTO_SET_LIMIT = 0x38,     /* proto_set_limit -> DONE */
	PROTO_PUBLISH = 0x39,       /* proto_publish -> DONE */
	PROTO_LABEL = 0x3a,         /* proto_label -> DONE */
	PROTO_BATCH = 0x3b,         /* proto_batch -> RESULT for each, DONE */

	PROTO_LIST_GUESTS = 0x40,    /* proto_list -> GUEST..., DONE */
	PROTO_LIST_SNAPSHOTS = 0x41, /* proto_list -> SNAPSHOT..., DONE */
	PROTO_GET = 0x42,            /* proto_get -> GUEST, SNAPSHOT or IMAGE */
	PROTO_ATTACH = 0x43,         /* proto_attach -> RESULT, streams, then STATUS */
	PROTO_WAIT = 0x44,           /* proto_get -> STATUS, once the guest has stopped */
	PROTO_GET_EVENTS = 0x46,     /* proto_get_events -> EVENT... until CANCEL */
	PROTO_AGENT = 0x45, /* proto_agent -> RESULT, DATA both ways with a guest's agent, DONE */

	/* From the host. */
	PROTO_WELCOME = 0x80,
	PROTO_ERROR = 0x81,
	PROTO_DONE = 0x82,
	PROTO_RESULT = 0x83,
	PROTO_INFO = 0x84,
	PROTO_METER = 0x85,
	PROTO_UPLOAD = 0x86,
	PROTO_IMAGE = 0x87,
	PROTO_GUEST = 0x88,
	PROTO_SNAPSHOT = 0x89,
	PROTO_STATUS = 0x8a,
	PROTO_EVENT = 0x8b,
	PROTO_AUDIT = 0x90,
	PROTO_FIGURE = 0x9a,
};

enum proto_flags {
	PROTO_FINAL = 1, /* from the host: the last frame of its request */
};

enum proto_code {
	PROTO_OK = 0,
	PROTO_E_INVALID = 1,     /* a value makes no sense; the text names it */
	PROTO_E_NOENT = 2,       /* no such guest, snapshot, image */
	PROTO_E_EXIST = 3,       /* the name is taken */
	PROTO_E_BUSY = 4,        /* in use, or in a state that forbids it */
	PROTO_E_NOMEM = 5,       /* the host has no memory above its reserve */
	PROTO_E_LIMIT = 6,       /* a budget or a named limit is used up */
	PROTO_E_RETRY = 7,       /* not now; after retry_ms it may work */
	PROTO_E_UNSUPPORTED = 8, /* no such request in this version */
	PROTO_E_DENIED = 9,      /* not allowed to this client */
	PROTO_E_CANCELLED = 10,  /* by CANCEL */
	PROTO_E_TOOBIG = 11,     /* above a named maximum */
	PROTO_E_PROTOCOL = 12,   /* the client broke a rule; the connection closes */
	PROTO_E_VERSION = 13,    /* no version in common; the connection closes */
	PROTO_E_TIMEOUT = 14,    /* the client was too slow; the connection closes */
	PROTO_E_INTERNAL = 15,
	PROTO_CODE_COUNT
};

enum proto_kind {
	PROTO_ANY = 0,
	PROTO_KIND_GUEST = 1,
	PROTO_KIND_SNAPSHOT = 2,
	PROTO_KIND_IMAGE = 3
};

enum proto_stream {
	PROTO_STREAM_IN = 0,
	PROTO_STREAM_OUT = 1,
	PROTO_STREAM_ERR = 2,
	PROTO_STREAM_LOG = 3,
	PROTO_STREAM_UPLOAD = 4,
	PROTO_STREAM_COUNT
};

struct proto_header {
	uint32_t length;
	uint16_t type, flags;
	uint64_t request;
};

struct proto_blob {
	const uint8_t *data; /* within the frame that was decoded */
	uint32_t size;
};

struct proto_ref {
	uint8_t kind; /* enum proto_kind */
	uint64_t id;
	char name[PROTO_NAME_MAX];
};

/* Chosen by the client at random; a request that comes again with the key of one that was carried
 * out is answered from memory. All zero: none. */
struct proto_key {
	uint8_t bytes[16];
};

/* ---- either way ---- */

struct proto_data {
	uint8_t stream;    /* enum proto_stream */
	uint8_t end;       /* 1: no more will come on this stream */
	uint64_t position; /* of the first byte; more than expected says that bytes were dropped */
	struct proto_blob bytes;
};

/* The receiver of a stream takes so many bytes more. A sender never exceeds the sum. */
struct proto_credit {
	uint8_t stream;
	uint32_t bytes; /* 1 to PROTO_CREDIT_MAX, which the sum may not exceed either */
};

/* ---- from the client ---- */

struct proto_hello { /* request 0, first frame */
	uint64_t magic;
	uint16_t version_min, version_max;
	uint64_t capabilities;       /* none are defined: 0, unknown ones are ignored */
	char client[PROTO_NAME_MAX]; /* name and version of the program, for the log */
};

struct proto_get_meters {
	uint8_t reset; /* 1: set them to zero afterwards */
};

struct proto_get_log {
	uint64_t position; /* 0: the oldest kept; the DATA frames say where to go on */
	uint8_t follow;
	uint32_t credit;
};

/* Records of the audit ring, oldest first. */
struct proto_get_audit {
	uint64_t after; /* with a higher number; 0: all that are kept */
	uint8_t follow; /* 1: and those to come, until CANCEL */
};

enum proto_power { PROTO_POWER_REBOOT = 1, PROTO_POWER_OFF = 2 };

struct proto_host_power {
	uint8_t action; /* enum proto_power */
};

struct proto_put {
	struct proto_key key;
	char name[PROTO_NAME_MAX];
	uint64_t size;
	uint8_t hash[32]; /* BLAKE2s of all of it */
};

struct proto_list {
	uint64_t after;   /* lists what has a higher id */
	uint32_t max;     /* items, 0: as many as there are */
	uint64_t lineage; /* 0: of any */
	uint8_t all; /* 1: stopped guests too; or uploads that were cut off beside the images */
	char selector[LABELS_SIZE]; /* guests and snapshots with these labels; "": all */
};

struct proto_get {
	struct proto_ref ref;
};

struct proto_act {
	struct proto_key key;
	struct proto_ref ref;
};

enum proto_create_flags {
	PROTO_CREATE_PAUSED = 1,
	PROTO_CREATE_REMOVE = 2, /* once it has stopped, and its attached client was told */
	PROTO_CREATE_INPUT = 4,  /* input may come; else the guest finds it at its end */
	PROTO_CREATE_TIMEOUT_RUNNING = 8, /* its time stands still while it is paused */
};

enum proto_attach_flags {
	PROTO_ATTACH_IN = 1,
	PROTO_ATTACH_OUT = 2,
	PROTO_ATTACH_ERR = 4,
	PROTO_ATTACH_FOLLOW = 8, /* until the guest stops; else up to what there is now */
	PROTO_ATTACH_HOLD = 16,  /* the guest waits for this reader, which misses nothing */
	PROTO_ATTACH_NOW = 32,   /* from now on; else from the given positions */
};

struct proto_create {
	struct proto_key key;
	struct proto_ref source;
	uint32_t count;  /* 1 to PROTO_COUNT_MAX */
	uint8_t attach;  /* IN, OUT, ERR of enum proto_attach_flags; only with a count of 1 */
	uint32_t credit; /* for each output stream */
	char name[PROTO_NAME_MAX]; /* with a count above 1: a prefix, "-1" and so on follow */
	uint64_t memory, max_pages, max_guests, max_snapshots; /* 0: the default */
	uint32_t weight;                                       /* 0: the default */
	uint8_t flags;                                         /* enum proto_create_flags */
	uint64_t timeout_ns;      /* the guest is stopped after so long; 0: never */
	char labels[LABELS_SIZE]; /* in the place of those of its source, or beside them */
	uint32_t argc, envc;
	struct proto_blob args; /* argc strings, then envc "K=V", each with its terminator */
};

struct proto_take_snapshot {
	struct proto_key key;
	struct proto_ref guest;
	char name[PROTO_NAME_MAX];
	uint8_t public; /* as PUBLISH does */
	char labels[LABELS_SIZE]; /* in the place of the guest's, or beside them */
};

/* Of a guest or snapshot. */
struct proto_label {
	struct proto_key key;
	struct proto_ref ref;
	char set[LABELS_SIZE], remove[LABELS_SIZE]; /* pairs; keys */
};

/* One action on the things that `refs` names, or on all that the client may change, which the labels
 * select and which are in a state in which the action does something. */
struct proto_batch {
	struct proto_key key;
	uint16_t action; /* PROTO_PAUSE, PROTO_RESUME, PROTO_KILL or PROTO_REMOVE */
	uint8_t force;   /* REMOVE: a guest that still runs is killed first */
	char selector[LABELS_SIZE]; /* "": by refs, of which there is one or more then */
	struct proto_blob refs;     /* each a proto_ref; at most PROTO_ARGS_MAX bytes */
};

/* All clients may see the snapshot or image, and run or fork it; or no longer. */
struct proto_publish {
	struct proto_key key;
	struct proto_ref ref;
	uint8_t public;
};

struct proto_rollback {
	struct proto_key key;
	struct proto_ref guest, snapshot;
};

struct proto_set_limit {
	struct proto_key key;
	struct proto_ref guest;
	uint64_t max_pages, max_guests; /* 0: as it is */
	uint32_t weight;                /* 0: as it is */
	uint64_t timeout_ns;            /* so long from now on; 0: as it is */
	uint8_t timeout_running;
};

struct proto_attach {
	struct proto_ref guest;
	uint8_t flags; /* enum proto_attach_flags */
	uint64_t out_position, err_position;
	uint32_t credit; /* for each output stream */
};

/* A session with the agent in a Linux guest: DATA of streams 0 and 1 is guest-sdk/linux/agent_proto.h,
 * which the host passes on. */
struct proto_agent {
	struct proto_ref guest;
	uint32_t credit; /* for what the agent says */
};

/* ---- from the host ---- */

struct proto_welcome { /* request 0 */
	uint64_t magic;
	uint16_t version;
	uint64_t capabilities;
	uint64_t boot_id[2]; /* new at each boot: ids of another boot mean nothing */
	uint32_t frame_max;
	uint32_t requests_max; /* in progress at once on this connection */
	char host[PROTO_NAME_MAX];
	char client[PROTO_NAME_MAX]; /* its name in creel.conf, which its guests have as owner */
	uint8_t role;                /* enum config_role of boot/config.h, for ever */
};

struct proto_error {
	uint16_t code;             /* enum proto_code, not PROTO_OK */
	uint32_t retry_ms;         /* 0: no use in trying again as it is */
	char text[PROTO_TEXT_MAX]; /* a sentence */
};

struct proto_done {
	uint64_t count; /* items or guests before it that went well */
	uint64_t next;  /* lists: the `after` to go on with, 0: that was all */
};

struct proto_result {
	uint32_t index; /* from 0, in order */
	uint64_t id;    /* with an error: 0, or what it is about */
	uint16_t code;  /* enum proto_code */
	char text[PROTO_TEXT_MAX];
};

struct proto_info {
	char version[32], backend[16], cpu[64];
	uint64_t boot_id[2];
	uint32_t cores, address;
	uint8_t mac[6];
	uint64_t tsc_khz, uptime_ns, wall_ns;
	uint64_t frames_total, frames_free, frames_quarantined, frames_reserve;
	uint64_t frames_table, frames_data, frames_state, frames_stream, frames_image, frames_host;
	uint64_t guests, guests_runnable, guests_waiting, guests_paused, guests_stopped;
	uint64_t snapshots, images;
	uint32_t connections, requests; /* of the management server, this one included */
};

struct proto_meter {
	char name[PROTO_NAME_MAX];
	uint64_t count, ticks, last, min, max;
};

/* Of the management server: "queued", "requests_refused" and so on. `latency` counts requests of a
 * kind by the time from their frame to the end of their answer: those below below_us, and not below
 * half of it; 0: all that took longer. Buckets with nothing in them are left out. */
struct proto_figure {
	char name[PROTO_NAME_MAX];
	char of[PROTO_NAME_MAX]; /* a client's name, a kind of request, or empty */
	uint64_t below_us, value;
};

struct proto_upload {
	uint64_t id;
	uint64_t offset; /* where the client goes on: above 0 if the upload was begun before */
	uint32_t credit; /* on PROTO_STREAM_UPLOAD */
};

struct proto_image {
	uint64_t id;
	char name[PROTO_NAME_MAX], owner[PROTO_NAME_MAX];
	uint64_t size, memory, pages, created_ns;
	uint8_t public;
	uint8_t upload;    /* 1: it was cut off, and is kept to be gone on with */
	uint64_t received; /* of an upload: so many bytes of `size` */
};

struct proto_guest {
	uint64_t id, parent, lineage, image;
	char name[PROTO_NAME_MAX], owner[PROTO_NAME_MAX];
	uint8_t state, stop; /* enum guest_state and guest_stop of hv/guest.h, for ever */
	int32_t exit_status;
	char reason[PROTO_TEXT_MAX];
	uint64_t generation, memory, private_pages, max_pages, budget_pages;
	uint32_t weight;
	uint64_t cpu_ns, created_ns, exits, faults, forks, children;
	uint64_t bytes_in, bytes_out, bytes_err;
	uint64_t timeout_ns, deadline_ns; /* what it was given, and what is left; 0: none */
	uint8_t timeout_running;
	char labels[LABELS_SIZE];
};

struct proto_snapshot {
	uint64_t id, parent, lineage, image;
	char name[PROTO_NAME_MAX], owner[PROTO_NAME_MAX];
	uint64_t pages, forks, created_ns;
	uint8_t public;
	char labels[LABELS_SIZE];
};

struct proto_status {
	uint64_t id;
	uint8_t state, stop;
	int32_t exit_status;
	char reason[PROTO_TEXT_MAX];
};

/* One action of a client, or handshakes that were refused. A jump in `seq` is what the reader missed. */
struct proto_audit {
	uint64_t seq, wall_ns;
	char client[PROTO_NAME_MAX]; /* its name in creel.conf */
	uint8_t role;                /* enum config_role of boot/config.h */
	uint32_t address;            /* IPv4 */
	char action[PROTO_NAME_MAX]; /* "fork", "kill", "connect", "refused handshake" */
	char object[PROTO_TEXT_MAX]; /* "guest 17", "image hello", or empty */
	uint16_t code;               /* enum proto_code */
	uint64_t made;               /* id of the first thing made, 0: nothing was */
	uint32_t count;              /* how many were made, or refused */
};

enum proto_what {
	PROTO_EVENT_NONE = 0, /* the first: from here on; or it only tells what was lost */
	PROTO_EVENT_CREATED = 1,
	PROTO_EVENT_STATE = 2, /* of a guest: it was paused, goes on, or has stopped */
	PROTO_EVENT_REMOVED = 3,
	PROTO_EVENT_ROLLED_BACK = 4,
};

struct proto_get_events {
	char selector[LABELS_SIZE]; /* "": all that the client may see */
};

struct proto_event {
	uint64_t time_ns;
	uint32_t lost; /* events before this one that the client was too slow for */
	uint8_t what;  /* enum proto_what */
	uint8_t kind;  /* enum proto_kind */
	uint64_t id, parent;
	char name[PROTO_NAME_MAX], owner[PROTO_NAME_MAX];
	uint8_t state, stop;
	int32_t exit_status;
	char reason[PROTO_TEXT_MAX];
	char labels[LABELS_SIZE];
};

union proto_message {
	struct proto_data data;
	struct proto_credit credit;
	struct proto_hello hello;
	struct proto_get_meters get_meters;
	struct proto_get_log get_log;
	struct proto_get_audit get_audit;
	struct proto_host_power host_power;
	struct proto_put put;
	struct proto_list list;
	struct proto_get get;
	struct proto_act act;
	struct proto_create create;
	struct proto_take_snapshot take_snapshot;
	struct proto_rollback rollback;
	struct proto_set_limit set_limit;
	struct proto_publish publish;
	struct proto_label label;
	struct proto_get_events get_events;
	struct proto_event event;
	struct proto_batch batch;
	struct proto_attach attach;
	struct proto_agent agent;
	struct proto_welcome welcome;
	struct proto_error error;
	struct proto_done done;
	struct proto_result result;
	struct proto_info info;
	struct proto_meter meter;
	struct proto_figure figure;
	struct proto_upload upload;
	struct proto_image image;
	struct proto_guest guest;
	struct proto_snapshot snapshot;
	struct proto_status status;
	struct proto_audit audit;
};

/*
 * Reads the header at `buf`, of which `size` bytes are there. ERR_AGAIN: not all of it yet.
 * ERR_INVALID: a length or flags that no frame has; the stream can't be read on.
 */
int proto_header(const uint8_t *buf, size_t size, struct proto_header *h);

/*
 * Decodes the payload of the whole frame at `frame`, whose header is `h`, into the member of `m`
 * for its type. ERR_UNSUPPORTED: no such type. ERR_INVALID: malformed. Blobs point into `frame`.
 */
int proto_decode(const struct proto_header *h, const uint8_t *frame, union proto_message *m);

/*
 * Writes the frame of `type` with the payload `message`, the struct for the type (NULL where there
 * is none). Returns its length, or 0 if it does not fit `room` or PROTO_FRAME_MAX. Bytes of a
 * string that may not be in one go out as '?'.
 */
size_t proto_encode(uint8_t *buf, size_t room, uint16_t type, uint16_t flags, uint64_t request,
	const void *message);

/* For a DATA frame whose bytes are already in place at PROTO_HEADER_SIZE + PROTO_DATA_FIXED. */
size_t proto_encode_data_head(
	uint8_t *buf, uint64_t request, uint8_t stream, bool end, uint64_t position, uint32_t size);

/* "RUN", "GUEST"; NULL if there is no such type. */
const char *proto_type_name(uint16_t type);

bool proto_name_valid(const char *name);

/* Takes the next reference of a batch. False: there is none, or it is malformed. */
bool proto_ref_next(const uint8_t **at, uint32_t *left, struct proto_ref *ref);
/* Writes one; 0: there is no room. */
size_t proto_ref_put(uint8_t *at, size_t room, const struct proto_ref *ref);

#endif
