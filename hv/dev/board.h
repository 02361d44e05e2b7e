/*
 * What a Linux guest has beside its processor and memory: the state of its devices, in one frame that
 * snapshots and forks copy with the guest. SDK guests have none. A guest reaches its devices by port,
 * MSR and CPUID; board_exit() is the one door.
 */
#ifndef HV_DEV_BOARD_H
#define HV_DEV_BOARD_H

#include "hv/dev/lapic.h"
#include "hv/dev/bus.h"
#include "hv/dev/uart.h"
#include "hv/dev/vconsole.h"
#include "hv/dev/vnet.h"
#include "hv/exit.h"

#define BOARD_LINE_MAX 128

struct board {
	struct lapic lapic;
	struct uart uart;
	struct bus bus;
	struct virtio virtio[VIRTIO_SLOTS]; /* by slot; 0 is the host bridge */
	struct vconsole console;
	struct vnet net;
	uint64_t generation;          /* of the guest, as the devices know it */
	uint8_t said_size;            /* of the agent's frame so far; above sizeof(said): too long to matter */
	uint8_t said[32];
	uint64_t clock_msr, wall_msr; /* of kvmclock, as last written */
	bool halted;                  /* behind a HLT, until the next interrupt */
	bool hvc_spoke;               /* of the two consoles, hvc0 has written last */
	uint8_t line_size;
	char line[BOARD_LINE_MAX];    /* what the console's last line is so far */
	char panic[BOARD_LINE_MAX];   /* what the kernel said when it panicked; "": it did not */
};

_Static_assert(sizeof(struct board) <= PAGE_SIZE, "a board is one frame");

/* A board as it is at power-on, with a disk of so many bytes; errors of frame_alloc(). */
int board_create(struct core *core, struct account *account, uint64_t disk,
	struct board **out) MUST_CHECK;
/* A copy of `from`, of which NULL is one too. */
int board_clone(struct core *core, struct account *account, const struct board *from,
	struct board **out) MUST_CHECK;
/* NULL is nothing. */
void board_free(struct core *core, struct board *b);

/*
 * Before each entry of the loaded guest: deliver interrupts. RUN_AGAIN: enter it, and leave it when the
 * host's TSC reaches *until, which may have become earlier. RUN_LEAVE: it halted, and waits.
 */
enum run_next board_enter(struct core *core, struct guest *g, uint64_t *until);

/* In the place of exit_handle(), to which it leaves what is not about devices. */
enum run_next board_exit(struct core *core, struct guest *g, const struct vm_exit *exit);

#endif
