/*
 * The virtio devices of a Linux guest, between their own files, which know nothing of guests, and the
 * guest's streams.
 */
#ifndef HV_DEV_SLOTS_H
#define HV_DEV_SLOTS_H

#include "hv/dev/board.h"

/* All of a new board's. `disk` is the size in bytes of what lies at VBLK_GPA, 0: nothing. */
void slots_create(struct board *b, uint64_t disk);

/* The data ports of the bus, and ports that no other device has. */
uint32_t slots_config_read(struct guest *g, unsigned offset, unsigned size);
uint32_t slots_read(struct guest *g, uint16_t port, unsigned size);
/* Both do the exit's access, and skip the instruction when that is done. */
enum run_next slots_config_write(struct core *core, struct guest *g, const struct vm_exit *exit,
	uint32_t value);
enum run_next slots_write(struct core *core, struct guest *g, const struct vm_exit *exit, uint32_t value);

/* The guest's input is for hvc0: it has that open, and it either was the last to speak, or nobody listens
 * to ttyS0. (A ttyS0 which is a console too listens for ever once it was opened.) */
bool slots_take_input(const struct board *b);

/* Whether slots_enter() has anything to do: most often it has not. */
bool slots_due(const struct guest *g);

/* Before each entry: what has come for the guest. RUN_AGAIN, unless memory for it is lacking. */
enum run_next slots_enter(struct core *core, struct guest *g);

/* Something has come that slots_enter() would deliver. */
bool slots_waiting(struct core *core, struct guest *g);

#endif
