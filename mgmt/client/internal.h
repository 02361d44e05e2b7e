/* What the files of libcreel share. */
#ifndef MGMT_CLIENT_INTERNAL_H
#define MGMT_CLIENT_INTERNAL_H

#include "mgmt/channel.h"
#include "mgmt/client/creel.h"
#include "mgmt/proto.h"

#define RECEIVE_SIZE (4 * PROTO_FRAME_MAX)
#define CALLS_MAX    64 /* requests that a host takes at once */

/*
 * Output that a call lets the host send before it has been taken: all of it, of two streams or an agent's
 * one, has room in the socket's receive buffer. So a call whose caller takes nothing for a while does not
 * hold up the connection, which the host would end.
 */
#define OUTPUT_CREDIT  (192 * 1024u)
#define RECEIVE_BUFFER (256 * 1024)

/* Of a call's functions: its caller wants no more, and the host is to be told. */
#define CALL_ENOUGH (-1)

struct frame;

/* A call under way. It stands at the beginning of what it needs besides. */
struct call {
	uint64_t request;
	/* A frame that is no ERROR. CREEL_OK, CALL_ENOUGH, or the code that the call ends with. */
	int (*take)(struct creel *c, struct call *k, const struct frame *f);
	/* In the place of waiting for a frame with nothing else to do; may be NULL. */
	int (*wait)(struct creel *c, struct call *k);
	/* Of one that nobody waits for: sends what it can without waiting; and its end. NULL: nothing */
	int (*send)(struct creel *c, struct call *k);
	void (*end)(struct creel *c, struct call *k);
	struct call *next;
	void (*done)(void *arg, int code);
	void *arg;
	bool cancelled;
	const char *why; /* it ends with CREEL_LOCAL and this, after CALL_ENOUGH; or NULL */
};

struct creel {
	int fd; /* -1: not connected */
	uint64_t next_request;
	uint32_t retry_ms;
	uint8_t role;
	char client[PROTO_NAME_MAX];
	uint64_t boot_id[2];
	/* To connect again when the connection was lost; timeout_ms -1: we never were connected. */
	char address[CREEL_ADDRESS_SIZE];
	uint8_t host_key[CREEL_KEY_SIZE], private_key[CREEL_KEY_SIZE];
	int timeout_ms;
	char error[512];
	struct channel channel;
	bool timed_out; /* the socket's last read; and its error, 0 if it was closed */
	int broken;
	size_t begin, end; /* bytes received and not looked at; behind them what the channel parks */
	uint8_t receive[RECEIVE_SIZE];
	uint8_t send[PROTO_FRAME_MAX];
	size_t wire_size, wire_room; /* sealed and not sent */
	uint8_t *wire;
	unsigned no_wait; /* above 0: what can't be sent at once stays in `wire` */
	bool inside;      /* a callback */
	struct call *calls; /* that were started and are not over */
	unsigned call_count;
	void (*async_done)(void *arg, int code); /* for the next call, NULL: it waits */
	void *async_arg;
	int poll_fd;      /* an epoll, -1: none yet */
	uint32_t watched; /* what of our socket, 0: it is not in there */
};

struct frame {
	struct proto_header header;
	union proto_message message; /* blobs point into the receive buffer, until the next frame */
};

/* Sets the text and returns the code. */
int client_fail(struct creel *c, int code, const char *format, ...) PRINTF(3, 4);
/* The same, and closes the connection. */
int client_lost(struct creel *c, int code, const char *format, ...) PRINTF(3, 4);

/*
 * A whole call, by its request and `k`, which begins `size` bytes that the call needs. Waits until it
 * is over; or after creel_async() starts it with a copy of them.
 */
int client_call(struct creel *c, uint16_t type, const void *message, struct call *k, size_t size);
/* Gives a frame to the call among those started that it belongs to, if any. */
void client_dispatch(struct creel *c, const struct frame *f);
/*
 * At the end of a call that waited, with its code: it may have received what those that were started
 * go on with, which creel_fd() can't know of. Leaves the error text as it was.
 */
void client_let_go_on(struct creel *c, int code);
/* All that were started are over. */
void client_end_calls(struct creel *c, int code);
/* creel_fd() looks at an input too, or no longer. False: it can't, or has nobody to tell. */
bool client_watch_input(struct creel *c, int fd, bool wanted);

/* Connects again as last time. CREEL_CONNECTION: it can't, or the host was restarted meanwhile. */
int client_reconnect(struct creel *c);
/* Begins a request that is waited for; its number is in *request. */
int client_request(struct creel *c, uint16_t type, const void *message, uint64_t *request);
int client_send(struct creel *c, uint16_t type, uint64_t request, const void *message);
/* Waits for the next frame of `request`. An ERROR frame is turned into its code. */
int client_receive(struct creel *c, uint64_t request, struct frame *f);
/* What an ERROR frame means: sets the text, and returns the code. */
int client_error(struct creel *c, const struct frame *f);
/* Receives bytes; waits for some, or takes what there is. */
int client_fill(struct creel *c, bool wait);
/* The next frame of any request; waits for it. */
int client_next_frame(struct creel *c, struct frame *f);
/* True: a whole frame is here already. */
bool client_has_frame(const struct creel *c);
/* Ends the request early; CREEL_CANCELLED, or that the connection is lost. */
int client_cancel(struct creel *c, uint64_t request);
/* More output than it had credit for, or of a stream that it had none for. */
int client_beyond_credit(struct creel *c);
/* An answer of another type than the protocol has. */
int client_unexpected(struct creel *c, const struct frame *f);

/* Random bytes of the system. */
int client_random(struct creel *c, void *buf, size_t size);

/* The handshake over the socket, within its time limit. The proof waits for client_seal_flush(). */
int client_seal(struct creel *c, const char *address, const uint8_t host_key[CREEL_KEY_SIZE],
	const uint8_t private[CREEL_KEY_SIZE]);
/* Sends what the channel has written; with no_wait, what can be sent at once. */
int client_seal_flush(struct creel *c);

/* A file of the configuration; and its folder, made if it isn't there. */
int client_path(struct creel *c, const char *name, char path[CREEL_PATH_SIZE]);
int client_make_folder(struct creel *c);

/* False: it can be neither a number nor a name, and the error is set. */
bool client_ref(struct creel *c, struct proto_ref *ref, enum creel_kind kind, const char *what);
void client_image(struct creel_image *out, const struct proto_image *m);
void client_status(struct creel_status *out, const struct proto_status *m);
/* Everything but key, source, count and attach. The strings stay in `args`. */
int client_options(struct creel *c, struct proto_create *m, const struct creel_options *options,
	uint8_t args[PROTO_ARGS_MAX]);

/* ---- calls.c ---- */

#define LIST_PAGE 1000 /* items that are asked for at once */

/* A call with items and an end, or only that. */
struct each {
	struct call call; /* the first, as client_call() needs it */
	uint16_t type;    /* of the items */
	uint16_t last;    /* of the end; 0: any, which `end` checks */
	int (*each)(struct each *e, const union proto_message *m); /* an item */
	int (*end)(struct creel *c, struct each *e, const struct frame *f); /* may be NULL */
	void *arg;
	union {
		int (*image)(void *arg, const struct creel_image *i);
		int (*guest)(void *arg, const struct creel_guest *g);
		int (*snapshot)(void *arg, const struct creel_snapshot *s);
		int (*meter)(void *arg, const struct creel_meter *m);
		int (*figure)(void *arg, const struct creel_figure *f);
		int (*result)(void *arg, const struct creel_result *r);
		int (*event)(void *arg, const struct creel_event *e);
	};
	union { /* where the caller wants something */
		uint64_t *id;
		struct creel_info *info;
		struct creel_item *item;
	};
	uint64_t *made;
	uint32_t first; /* what an index of 0 stands for */
	uint32_t seen;  /* results that the caller was told of: one that comes again is left out */
};

struct proto_key client_key(void);
void client_text(char *out, size_t size, const char *in);
/* A name, which may be NULL; false: it can be none, and the error is set. */
bool client_name(struct creel *c, char *out, const char *name);
/* The same for labels. */
bool client_labels(struct creel *c, char out[LABELS_SIZE], const char *labels, enum labels_kind kind);
int client_each(struct creel *c, uint16_t type, const void *message, struct each *e);
/* One whose answer says nothing but that it was done. */
int client_do(struct creel *c, uint16_t type, const void *message);
/* `each` of results, and `end` that puts how many there were into *made. */
int client_each_result(struct each *e, const union proto_message *m);
int client_end_count(struct creel *c, struct each *e, const struct frame *f);

#endif
