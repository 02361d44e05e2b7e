/*
 * What a client and the agent in a Linux guest say to each other in a session (agent_link.h), which
 * is a pipe both ways. Each side sends messages:
 *
 *     u32 size    of what follows: the type and the payload
 *     u8 type     enum agent_message
 *
 * little-endian, with the payload that stands beside the type. A session is one command: EXEC begins
 * it, and what follows belongs to it, until the agent sends EXIT or ERROR and ends the session. Or it
 * is one freeze: FREEZE begins it, and THAW or the end of the session ends it.
 *
 * Each side takes nothing of the other on trust. The agent is whatever runs in the guest.
 */
#ifndef CREEL_AGENT_PROTO_H
#define CREEL_AGENT_PROTO_H

#define AGENT_MESSAGE_MAX  (64 * 1024) /* type and payload */
#define AGENT_MESSAGE_HEAD 5           /* size and type */
#define AGENT_TEXT_MAX     256         /* of an ERROR */
#define AGENT_NO_ID        0xffffffffu

enum agent_message {
	/* From the client. */
	AGENT_EXEC = 1,      /* struct agent_exec's fields, then its strings */
	AGENT_STDIN = 2,     /* bytes, as many as were WANTED */
	AGENT_STDIN_END = 3, /* there is no more */
	AGENT_SIGNAL = 4,    /* u8 number, for the command and what it started */
	AGENT_RESIZE = 5,    /* u16 rows, u16 columns of its terminal */
	AGENT_FREEZE = 6,    /* u32 milliseconds after which everything goes on by itself */
	AGENT_THAW = 7,
	/* From the agent. */
	AGENT_STARTED = 0x81, /* u32 process id */
	AGENT_STDOUT = 0x82,  /* bytes; all output of a terminal */
	AGENT_STDERR = 0x83,  /* bytes */
	AGENT_WANTED = 0x84,  /* u32 bytes of STDIN more */
	AGENT_EXIT = 0x85,    /* u8 how: 0 exited, 1 a signal; u8 status or signal */
	AGENT_ERROR = 0x86,   /* u32 errno of Linux or 0; a sentence. The command was not started */
	AGENT_FROZEN = 0x87,  /* nothing but the agent runs */
};

enum agent_exec_flags {
	AGENT_EXEC_TTY = 1,     /* a terminal of `rows` and `columns` */
	AGENT_EXEC_STDIN = 2,   /* input may come; else it reads nothing */
	AGENT_EXEC_BUILTIN = 4, /* argv is one of the agent's own commands */
	AGENT_EXEC_USER = 8,    /* a user's name is among the strings; uid and gid don't count */
};

/*
 * EXEC: these integers, one after the other in as many bytes as said, then strings with their
 * terminators: the working directory (empty: what the image says, or /), with AGENT_EXEC_USER the user as
 * USER[:GROUP] in names of the guest or numbers, then argc arguments, envc "K=V".
 */
#define AGENT_EXEC_FIXED 17 /* u8 flags, u32 uid, u32 gid, u16 rows, columns, argc, envc */

/*
 * An image's entry point, in /etc/creel/entry: "KEY=VALUE" with a zero behind each, the keys being arg, env
 * (K=V), cwd and user (USER[:GROUP]).
 */
#define AGENT_ENTRY_MAX (64 * 1024)

/*
 * The agent's own commands, which need no program in the guest. Each uses stdin, stdout, stderr and
 * a status as a program does:
 *
 *     push PATH MODE    stdin to a file of this mode (octal)
 *     pull PATH         a file to stdout
 *     tar PATH          a tar stream of what lies in a directory, or of one file
 *     untar PATH        the reverse; makes the directory
 *     stat PATH         "directory", "file" or "other", and the mode; status 1 if there is none
 */

#endif
