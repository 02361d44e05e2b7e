/* What the files of the server share. */
#ifndef MGMT_SERVER_INTERNAL_H
#define MGMT_SERVER_INTERNAL_H

#include "boot/config.h"
#include "hv/guest.h"
#include "hv/host.h"
#include "lib/string.h"
#include "mgmt/audit.h"
#include "mgmt/crypto/blake2s.h"
#include "mgmt/proto.h"
#include "mgmt/server.h"

#define BLOCK_SIZE   16384u
#define RX_SIZE      (2 * BLOCK_SIZE) /* of rx: the start of a frame, and a sealed message */
#define LOG_LINE_MAX 512                    /* room that a look at the host log needs */
#define CONN_ROOM    (2 * PROTO_ANSWER_MAX) /* without so much to send into, no work is begun */

struct conn_timer {
	struct list link;
	uint64_t at_us;
};

/*
 * A client, over all of its connections; or all strangers. Conns move between its lists by their
 * `link` (ready, turn) and `work`.
 */
struct party {
	struct list turn_link; /* ready or turn of the server, or none */
	struct list work_link; /* working of the server, or none */
	struct list ready, turn;
	struct list work; /* conns with tickets or ready requests, and room to answer */
	int64_t credit;
	uint64_t credit_at; /* poll up to which it was given */
	uint32_t weight;
	uint8_t role;
	uint32_t conns, requests, queued, receive_held, send_held;
	uint64_t wait_us; /* of the request that waited and began last */
	uint64_t begun, refused;
};

/* A request that waits for its turn, as the bytes that came. */
struct ticket {
	struct list link; /* tickets of the conn */
	uint64_t number, since_us;
	uint8_t *large; /* NULL: it is in `bytes` */
	uint8_t bytes[SERVER_TICKET_BYTES];
};

enum audit_state { AUDIT_NONE, AUDIT_LOOKS, AUDIT_OPEN, AUDIT_DONE };

/* A record in the making. */
struct audit {
	enum audit_state state;
	bool at_once; /* it is complete when its one guest is made, not when that has stopped */
	uint64_t number;
	struct audit_record record;
};

struct conn {
	struct server *server;
	struct party *party;
	struct server_address *address; /* while it is a stranger, else NULL */
	struct channel channel;
	uint32_t from; /* the client's address */
	struct audit *auditing; /* of the request that is being worked on, or NULL */
	struct list link; /* free_conns, starved or slowed of the server, ready or turn of the
			   * party, or none */
	struct list work; /* work of the party, or none */
	struct list tickets;
	uint32_t ticket_count;
	bool step_next; /* of ready requests and tickets, a request's step comes next */
	struct conn_timer timers[TIMER_COUNT];
	struct list requests;
	struct list ready_requests; /* those that have something to do */
	uint32_t request_count, uploads;
	bool open;
	bool greeted;    /* its hello was good */
	bool closing;    /* close once all is sent */
	bool readable;   /* the transport may have bytes */
	bool in_turn;    /* conn_turn() runs, and looks at what woke it */
	bool frame_left; /* a whole frame is in rx, for the next turn */
	uint8_t *rx;     /* NULL while empty; behind the rx_size bytes lie what the channel parks */
	uint32_t rx_size;
	uint8_t *tx; /* NULL while empty; bytes from tx_head to tx_tail */
	uint32_t tx_head, tx_tail;
	uint64_t active_us;
	const uint8_t *frame; /* that begins a request now */
	uint32_t frame_size;
	struct key_entry *entry; /* of the request that is begun or gone on with, or NULL */
	bool many;               /* it has results one by one */
};

enum step {
	STEP_WAIT, /* until it is made ready again */
	STEP_MORE, /* another turn, when there is room to send */
	STEP_OVER, /* the final frame went out: free it */
};

struct create_state {
	enum proto_type type;
	uint64_t source;
	uint32_t index, count;
	uint64_t made;
	struct guest_options options;
	uint8_t *args; /* a block, NULL if there are none */
};

struct list_state {
	struct proto_list ask;
	enum proto_type type;
	uint64_t count;
};

struct batch_state {
	uint16_t action; /* enum proto_type */
	bool force, by_label;
	bool snapshots; /* by label: guests are done with */
	uint32_t index;
	uint64_t after, done;
	uint8_t *block; /* of the args pool: the selector, or references, of which are left: */
	const uint8_t *at;
	uint32_t left;
};

struct events_state {
	char selector[LABELS_SIZE];
	uint8_t *queue; /* frames from head to tail */
	uint32_t head, tail, lost;
};

struct upload {
	uint64_t id, size, received; /* id 0: it has become an image */
	uint16_t owner;
	char name[PROTO_NAME_MAX];
	uint8_t hash[BLAKE2S_HASH_SIZE]; /* of the whole file, as announced */
	struct blake2s so_far;
};

struct put_state {
	struct upload upload;
	uint32_t credit; /* that the client has left */
	bool commits;    /* all is there, and is being made an image */
	bool spoilt;     /* nothing of it is worth keeping */
};

struct output_state {
	bool wanted, ended;
	int slot; /* of a reader that holds, or -1 */
	uint64_t position;
	uint64_t until; /* no further; UINT64_MAX: it is followed */
	uint32_t credit;
};

struct stream_state {
	struct output_state output[2]; /* STREAM_OUT, STREAM_ERR */
	bool follow;
	bool input;        /* the client may send input */
	bool close_input;  /* the guest's input ends with this request */
	bool input_end;    /* the client has sent all */
	bool remove;       /* the guest, when it has stopped and all was told */
	int keeper;        /* reader of stderr that takes nothing but keeps the guest, or -1 */
	uint8_t stop_told; /* enum guest_stop of a pause that the client knows of */
	uint8_t *block;    /* input that the guest had no room for */
	uint32_t block_head, block_size;
	uint32_t credit; /* that the client has left for input */
	uint32_t owed;   /* and what it gets back next */
	uint64_t input_position;
};

/* The port of a guest's agent, while some session goes over it. */
struct agent_link {
	uint64_t guest, position;
	int slot;          /* of its reader */
	bool skipping;     /* more came without a zero than a frame has */
	uint32_t sessions;
	uint32_t passed;   /* bytes of the first frame's payload that its client has got */
};

enum agent_end { AGENT_GOES_ON, AGENT_ENDED, AGENT_ROLLED_BACK, AGENT_RESTARTED, AGENT_BROKE_RULE };

struct agent_state {
	struct agent_link *link;
	uint64_t session;
	bool opened, answered, input_end, end_sent;
	uint8_t end; /* enum agent_end */
	uint8_t *block; /* input that the agent has not been sent */
	uint32_t block_head, block_size;
	uint32_t credit; /* that the client has left for input */
	uint32_t owed;   /* and what it gets back next */
	uint8_t *late;   /* output that the connection had no room for, NULL: none */
	uint32_t late_head, late_size;
	uint32_t fresh;   /* credit for output that the agent has not been told of */
	uint32_t allowed; /* and what it has left of what it was told */
	uint64_t input_position, out_position;
};

struct log_state {
	uint64_t seq;
	uint32_t credit;
	bool follow;
};

struct request {
	struct list link;  /* requests of the conn */
	struct list ready; /* ready_requests of the conn, or none */
	struct list watch; /* a list of watchers or uploading of the server, or none */
	struct list look;  /* looking of the server, or none */
	struct conn *conn;
	uint64_t number;
	struct audit audit;
	uint64_t since_us;     /* when its frame came; 0: its latency means nothing */
	enum server_work kind;
	uint64_t guest; /* whose news it watches */
	struct key_entry *entry; /* where its results are remembered, or NULL */
	enum step (*step)(struct request *r);
	void (*release)(struct request *r);
	union {
		struct create_state create;
		struct list_state list;
		struct batch_state batch;
		struct put_state put;
		struct stream_state stream;
		struct log_state log;
		struct events_state events;
		struct agent_state agent;
	};
};

/* server.c */
void *pool_take(struct server_pool *p);
/* Frees a block and lets those that wait for one try again. NULL is ignored. */
void block_free(struct server *s, struct server_pool *p, void *block);
void conn_wake(struct conn *c);
struct conn *timer_conn(struct list *link, enum server_timer kind);
/* All of `from` to the end of `to`. */
void list_move(struct list *to, struct list *from);
/* Those that watch a guest look at it. */
void watchers_wake(struct server *s, uint64_t guest);
void timer_start(struct conn *c, enum server_timer kind); /* again, if it runs */
void timer_stop(struct conn *c, enum server_timer kind);

/* server_admit.c */
size_t admit_memory(const struct server_config *config);
uint32_t admit_parties(const struct server_config *config);
void admit_init(struct server *s);
/* A new poll begins, with new credit for all. */
void admit_begin(struct server *s);
/* A stranger comes from `from`; the one that it displaces goes. */
void admit_stranger(struct server *s, uint32_t from);
void admit_stranger_in(struct conn *c, uint32_t from);
/* The conn may have its answer to a first message of the handshake; else it is told when. */
bool admit_handshake(struct conn *c);
/* A stranger has said hello, and counts as its client's. False: that has all its connections. */
bool admit_enter(struct conn *c);
/* The conn closes: soon, and now. */
void admit_drop(struct conn *c);
void admit_leave(struct conn *c);
/* A buffer of the pool, counted in *held of the party; NULL if there is none for it. */
void *admit_buffer(struct conn *c, struct server_pool *pool, uint32_t *held);
bool admit_has_buffer(const struct conn *c, const struct server_pool *pool, uint32_t held);
/* Whether one more request in progress would be within the client's share. */
bool admit_request(const struct conn *c);
/* The whole frame of a new request: begins it, lets it wait, or refuses it. */
void admit_frame(struct conn *c, const struct proto_header *h, const uint8_t *frame,
	const union proto_message *m);
struct ticket *admit_find(struct conn *c, uint64_t number);
void ticket_free(struct conn *c, struct ticket *t);
/* Takes the credit for `n` guests made, or as much work as one is. */
void admit_charge(struct conn *c, uint32_t n);
/* At the end of a conn's turn: goes on with its requests, or puts it in line for that. */
void admit_work(struct conn *c);
/* Goes on with what waits, client by client. True: there is more. */
bool admit_poll(struct server *s);
void admit_latency(struct server *s, enum server_work kind, uint64_t since_us);

/* server_conn.c */
/* Sends what there is; false: the connection has gone. */
bool conn_flush(struct conn *c);
void conn_trim(struct conn *c);
/* One turn: send, receive, work. True: it wants another. False: it waits for an event, or is gone.
 */
bool conn_turn(struct conn *c);
void conn_close(struct conn *c, bool abort);
/* `size` bytes to write at the end of what goes out, or NULL; conn_sent() says how many were used.
 */
uint8_t *conn_room(struct conn *c, size_t size);
void conn_sent(struct conn *c, size_t size);
/* The same for a frame. The caller has made sure of PROTO_ANSWER_MAX bytes. */
void conn_send(
	struct conn *c, uint16_t type, uint16_t flags, uint64_t request, const void *message);
/* Refuses a request that would be accepted after `retry_ms`. */
void conn_refuse(struct conn *c, uint64_t request, uint32_t retry_ms, const char *format, ...)
	PRINTF(4, 5);
/* Answers a request with an error. */
void conn_error(struct conn *c, uint64_t request, enum proto_code code, const char *format, ...)
	PRINTF(4, 5);
/* The client broke a rule: tells it and closes. */
void conn_fatal(struct conn *c, uint64_t request, enum proto_code code, const char *format, ...)
	PRINTF(4, 5);
/* Bytes of DATA that can be sent now. */
uint32_t conn_data_room(struct conn *c);

/* server_request.c */
/* NULL when a limit is reached; the client has been told. */
struct request *request_new(struct conn *c, uint64_t number);
struct request *request_find(struct conn *c, uint64_t number);
void request_free(struct request *r);
void request_wake(struct request *r);
/* Ends it: its client has asked for the same elsewhere. */
void request_supplant(struct request *r);
void request_watch(struct request *r, uint64_t guest);
/* Wakes it now and then from here on, where there is no news of what it waits for. */
void request_look(struct request *r);
void request_error(struct conn *c, uint64_t number, int err);
enum proto_code code_of(int err);
const char *text_of(int err);
/* The answer to what is done in one go. */
void request_done(struct conn *c, uint64_t number, int err);
/* Begins a request, whose frame came at `since_us`. */
void request_start(struct conn *c, uint64_t number, uint16_t type, const union proto_message *m,
	uint64_t since_us);
/* A whole frame from a client that has said hello. */
void request_frame(struct conn *c, const struct proto_header *h, const uint8_t *frame);

/* server_audit.c */
void audit_begin(struct conn *c, struct audit *a, uint64_t number, uint16_t type,
	const union proto_message *m);
/* A frame goes to the client. */
void audit_answer(
	struct conn *c, uint16_t type, uint16_t flags, uint64_t number, const void *message);
/* One of the things that a request does to many. */
void audit_item(struct conn *c, uint16_t action, const struct proto_ref *ref, enum proto_code code);
/* A request ends without an answer. */
void audit_abandon(struct request *r);
void audit_connect(struct conn *c);
void audit_refused(struct conn *c);
void audit_poll(struct server *s);
uint64_t audit_next_timer(const struct server *s);
void audit_start(struct conn *c, uint64_t number, const struct proto_get_audit *m);

/* server_owner.c */
enum config_role conn_role(const struct conn *c);
/* Whose guests it makes. */
uint16_t conn_owner(const struct conn *c);
/* False: the client has been told that its role does not allow the request. */
bool role_allows(struct conn *c, uint64_t number, uint16_t type, const union proto_message *m);
/* It may look at what all owners have. */
bool conn_sees_all(const struct conn *c);
bool conn_sees(const struct conn *c, enum proto_kind kind, uint16_t owner, bool public);
/*
 * The id that `ref` means for this client, which must be of one of the kinds in `kinds` (bits 1 <<
 * enum proto_kind), and with `change` one that it may change. False: it has been told why not.
 */
bool ref_resolve(struct conn *c, uint64_t number, const struct proto_ref *ref, unsigned kinds,
	bool change, uint64_t *id, enum proto_kind *kind);
/* The same without an answer: PROTO_OK, or another code and a sentence. */
enum proto_code ref_find(struct conn *c, const struct proto_ref *ref, unsigned kinds, bool change,
	uint64_t *id, enum proto_kind *kind, char text[PROTO_TEXT_MAX]);
/* It may change what `owner` has. */
bool conn_changes(const struct conn *c, uint16_t owner);
void publish(struct conn *c, uint64_t number, const struct proto_publish *m);

/* server_events.c */
void events_start(struct conn *c, uint64_t number, const struct proto_get_events *m);
/* Something has happened to a thing that is there. */
void event_of(struct server *s, enum proto_kind kind, uint64_t id, enum proto_what what);
/* What a guest's news (set of enum guest_news) mean. */
void event_of_news(struct server *s, uint64_t guest, unsigned news);
/* Removes a thing, which after that can't be looked at. */
int remove_and_tell(
	struct server *s, enum proto_kind kind, uint64_t id, int (*remove)(uint64_t id));

/* server_keys.c */
size_t keys_memory(const struct server_config *config);
/* True: the request has come again, and was answered. False: it is to be begun, then keys_begun(). */
bool keys_answer(struct conn *c, uint64_t number, uint16_t type, const union proto_message *m);
void keys_begun(struct conn *c, uint64_t number);
/* An answer goes out to the request of c->entry. */
void keys_note(struct conn *c, uint16_t type, uint16_t flags, const void *message);
/* The result at `index` of a request that was interrupted. False: it had not come to that. */
bool keys_result(const struct key_entry *e, uint32_t index, struct proto_result *result);
void keys_release(struct request *r);

/* server_batch.c */
/* False: the client has been told what is wrong with the labels. */
bool selector_right(struct conn *c, uint64_t number, const char *selector);
bool pairs_right(struct conn *c, uint64_t number, const char *labels);
void label(struct conn *c, uint64_t number, const struct proto_label *m);
/* PAUSE, RESUME, KILL, REMOVE or REMOVE_IMAGE. */
int act_on(struct conn *c, uint16_t action, enum proto_kind kind, uint64_t id);
void batch_start(struct conn *c, uint64_t number, const struct proto_batch *m);

/* server_list.c */
void list_start(struct conn *c, uint64_t number, enum proto_type type, const struct proto_list *m);
void get_send(struct conn *c, uint64_t number, const struct proto_get *m);
void info_send(struct conn *c, uint64_t number);
void meters_start(struct conn *c, uint64_t number, const struct proto_get_meters *m);
void image_send(struct conn *c, uint64_t number, uint16_t flags, const struct image_info *i);
void log_start(struct conn *c, uint64_t number, const struct proto_get_log *m);
/* Where credit for a stream is counted; NULL if the request doesn't send that one. */
uint32_t *log_credit(struct request *r, uint8_t stream);

/* server_figures.c */
void figures_start(struct conn *c, uint64_t number);

/* server_create.c */
void create_start(
	struct conn *c, uint64_t number, enum proto_type type, const struct proto_create *m);

/* server_put.c */
size_t uploads_memory(const struct server_config *config);
static inline uint32_t uploads_kept_most(const struct server_config *config)
{
	return SERVER_KEPT_PER_OWNER * admit_parties(config);
}
void put_start(struct conn *c, uint64_t number, const struct proto_put *m);
bool request_is_put(const struct request *r);
void put_data(struct request *r, const struct proto_data *m);
void put_commit(struct request *r);
/* The request ends, and what came is not kept. */
void put_abandon(struct request *r);
/* Drops what was kept too long, or while memory is short. */
void uploads_poll(struct server *s);
/* Something failed with `err`. True: that was for want of memory, some of which is free in a moment. */
bool uploads_give_way(struct server *s, int err);
/* The upload that is kept with the lowest id above `after`; false: there is none for this client. */
bool upload_next(const struct conn *c, uint64_t after, struct proto_image *m);
/* False: the client has no such upload that is kept. */
bool upload_remove(struct conn *c, uint64_t id);

/* server_stream.c */
void attach_start(struct conn *c, uint64_t number, const struct proto_attach *m);
void wait_start(struct conn *c, uint64_t number, const struct proto_get *m);
/*
 * Makes `r` the streams of `guest`. `flags` are of enum proto_attach_flags; `from` are the
 * positions of stdout and stderr. On an error `r` is as it was, but for what its release() frees.
 */
int stream_open(
	struct request *r, uint64_t guest, uint8_t flags, uint32_t credit, const uint64_t from[2]);
/* Tells the client why stream_open() failed. */
void stream_error(struct conn *c, uint64_t number, int err);
bool request_is_stream(const struct request *r);
void stream_input(struct request *r, const struct proto_data *m);
uint32_t *stream_credit(struct request *r, uint8_t stream);

/* server_agent.c */
void agent_start(struct conn *c, uint64_t number, const struct proto_agent *m);
bool request_is_agent(const struct request *r);
void agent_input(struct request *r, const struct proto_data *m);
uint32_t *agent_credit(struct request *r, uint8_t stream);
/* The sessions of a guest end that has become what it was before them. */
void agent_rolled_back(struct server *s, uint64_t guest);

#endif
