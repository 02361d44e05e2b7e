/*
 * creel-agent: runs commands and moves files in a Linux guest for clients of its host, and makes the
 * guest another one after a fork. One thread, which waits for the port and for its children.
 */
#ifndef CREEL_AGENT_H
#define CREEL_AGENT_H

#include "guest-sdk/linux/agent_link.h"
#include "guest-sdk/linux/agent_proto.h"

#include <poll.h>
#include <sys/types.h>

#define SESSIONS_MAX 256
#define STDIN_WINDOW (64 * 1024)
#define OUTPUT_MAX   (32 * 1024) /* of a session, not sent yet: its pipes wait */
#define LINK_MAX     (64 * 1024) /* for the port, not written yet: sessions wait */

/* A queue of bytes. */
struct bytes {
	uint8_t *data;
	size_t begin, end, room;
};

uint8_t *bytes_room(struct bytes *b, size_t size); /* to write at its end; then add to `end` */
void bytes_add(struct bytes *b, const void *data, size_t size);
void bytes_take(struct bytes *b, size_t size);
void bytes_free(struct bytes *b);

static inline size_t bytes_size(const struct bytes *b)
{
	return b->end - b->begin;
}

/* What it may do to the system that it runs on. */
struct agent_mode {
	bool init;        /* it is process 1 */
	bool identity;    /* clock, generator, names and addresses are its to change */
	const char *run;  /* folder of the generation page */
	const char *cwd;  /* of commands that name none */
};

extern struct agent_mode mode;

/* Of a clock that is never stepped. */
uint64_t now_ms(void);
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* boot.c: what process 1 has to do. */
void boot_system(void);
/* Its messages go to the console from here on. */
void boot_console(void);
void boot_entry(void);
/* A descriptor of the port, or -1: there is none. */
int boot_port(void);

/* link.c */
void link_open(int fd);
int link_fd(void);
bool link_idle(void); /* nothing waits to be written */
bool link_full(void);
/* False: the port is gone. */
bool link_read(void);
bool link_write(void);
void link_send(uint8_t type, uint64_t session, const void *payload, uint32_t size);

/* session.c */
void session_frame(const struct agent_frame *f);
/* This guest is another one now: what runs goes on, and nobody is told of it. */
void sessions_abandon(void);
/* Adds what to wait for; `fds` has room for 3 * SESSIONS_MAX. */
unsigned sessions_poll(struct pollfd *fds);
/* There is something to send, and room for it now: the port took all that had been in its way. */
bool sessions_ready(void);
/* Looks at what poll() found. */
void sessions_work(void);
void sessions_reaped(pid_t pid, int status);

/* spawn.c */
struct spawn {
	const char *cwd;
	char **argv, **env;
	uint32_t uid, gid;
	const char *user; /* USER[:GROUP]; NULL: uid and gid count */
	uint16_t rows, columns;
	bool tty, input, builtin;
};

struct spawned {
	pid_t pid;
	int in, out, err; /* ours, non-blocking; -1: none. A terminal is `out`, and `in` a copy */
};

/* 0, or an errno; and what could not be done in *what. */
int spawn(const struct spawn *s, struct spawned *to, const char **what);
/* With the console as its streams, and nobody who waits for it. 0, or an errno. */
int spawn_console(const struct spawn *s);

/* files.c: the agent's own commands. */
int builtin(char **argv);

/* unique.c */
void unique_start(void);
void unique_reset(const struct agent_reset *r);
/* Milliseconds until unique_tick() has something to do; -1: nothing. */
int unique_left(void);
void unique_tick(void);

/* freeze.c: every process but the agent stands still, or goes on. */
void freeze_prepare(void);
/* In a child: be frozen with the others. */
void freeze_join(void);
/* For so many milliseconds at most. False: they go on, and errno says why. */
bool freeze_begin(uint32_t ms);
void freeze_end(void);
bool freeze_under_way(void);
/* Milliseconds until freeze_tick() has something to do; -1: nothing. */
int freeze_left(void);
void freeze_tick(void);

#endif
