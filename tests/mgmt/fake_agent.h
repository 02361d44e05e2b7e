/* Real agents at the ports of the fake host's guests. */
#ifndef TESTS_MGMT_FAKE_AGENT_H
#define TESTS_MGMT_FAKE_AGENT_H

#include <poll.h>
#include <stdbool.h>

#define FAKE_AGENTS_FDS 64

/* Moves bytes. True: there may be more. */
bool fake_agents_tick(void);
/* What to wait for; fills up to FAKE_AGENTS_FDS. */
unsigned fake_agents_poll(struct pollfd *fds);

#endif
