/*
 * A hypervisor that only pretends: hv/guest.h and hv/host.h over guests that are little scripts, so
 * that management runs and is tested on the developer's own system. A guest's image is text, a
 * command a line, of which each tick carries out one for every runnable guest:
 *
 *     echo TEXT    err TEXT     a line to stdout, stderr
 *     args         env          each on a line to stdout
 *     cat                       stdin to stdout until its end
 *     flood N                   N bytes of the alphabet to stdout
 *     sleep N                   N ticks
 *     spin                      runs for ever
 *     wait                      waits for ever
 *     agent                     waits for ever; as the first line: the guest has an agent's port
 *     paused                    pauses at its memory limit, once
 *     exit N       crash TEXT   stops
 *
 * The end of the script exits with 0.
 */
#ifndef TESTS_FAKE_HV_H
#define TESTS_FAKE_HV_H

#include "hv/guest.h"
#include "hv/host.h"

/* One step of every runnable guest. True: some could go on. */
bool fake_tick(void);

/* What is held; all but the first two are 0 when no client is there. */
struct fake_counts {
	uint64_t guests, snapshots, uploads, readers;
};

void fake_count(struct fake_counts *c);

/* Makes calls fail with ERR_NOMEM once so many guests exist; 0: never. */
void fake_guest_limit(uint64_t guests);

/* So many frames are free, of so many. */
void fake_memory(uint64_t free, uint64_t total);

/* The owner of that name, from now on. */
uint16_t fake_owner(const char *name);

/* What host_power() was asked for: 1 a restart, 2 switching off; 0: nothing. */
extern int fake_power;

/* Forgets everything. */
void fake_reset(void);

/* The other end of an agent's port: what was sent to it; what it says, and how much of it was taken. */
size_t fake_agent_take(uint64_t id, uint8_t *buf, size_t size);
size_t fake_agent_say(uint64_t id, const uint8_t *data, size_t size);

/* Adds a line to the host's log. */
void fake_log(const char *line);

#endif
