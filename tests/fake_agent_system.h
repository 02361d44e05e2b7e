/*
 * The system that creel-agent's sessions run on, of paper: commands are pipes that the test holds the
 * other end of, and a freeze is a flag. For guest-sdk/linux/session.c and link.c, compiled with
 * -Dkill=fake_kill.
 */
#ifndef TESTS_FAKE_AGENT_SYSTEM_H
#define TESTS_FAKE_AGENT_SYSTEM_H

#include "guest-sdk/linux/agent.h"

#define FAKE_CHILDREN SESSIONS_MAX

struct fake_child {
	bool used;
	pid_t pid;
	int in, out, err; /* the command's own ends, non-blocking; -1: none */
	int signalled;    /* the last signal */
};

extern struct fake_child fake_children[FAKE_CHILDREN];
extern bool fake_frozen;
extern uint64_t fake_generation; /* of the last reset */

int fake_kill(pid_t pid, int number);

/* A port whose other end, non-blocking, is returned; nothing is left of what was. */
int fake_agent_begin(void);
/* Every command ends, and the guest becomes another one: no session is left. Closes the port. */
void fake_agent_end(int port);

/* What a turn of the agent does, but for its poll(). */
void fake_agent_turn(void);
void fake_child_ends(struct fake_child *c, int status);
/* Sends a frame to the agent, and lets it read. */
void fake_agent_hears(int port, uint8_t type, uint64_t session, const void *payload, uint32_t size);

#endif
