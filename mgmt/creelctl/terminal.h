/*
 * The user's terminal: raw for a guest's console, or a full screen of our own, and put back on
 * every way out. A SIGWINCH interrupts the calls that wait, and sets terminal_resized.
 */
#ifndef MGMT_CREELCTL_TERMINAL_H
#define MGMT_CREELCTL_TERMINAL_H

#include <signal.h>
#include <stdbool.h>

enum terminal_mode {
	TERMINAL_CONSOLE, /* every key is the guest's; what it writes is shown as it is, but LF as
			     CR LF */
	TERMINAL_SCREEN, /* keys come one by one, ^C and ^Z act; the other screen, without cursor */
};

/* The size has changed, or after a stop (^Z) the screen has to be drawn again. */
extern volatile sig_atomic_t terminal_resized;

/* stdin and stdout are a terminal, which can do more than print lines. */
bool terminal_usable(void);
/* False: it can't be done. */
bool terminal_enter(enum terminal_mode mode);
void terminal_leave(void);
/* Of stdout, or else stderr; 24 and 80 when unknown. */
void terminal_size(int *rows, int *columns);
/* Colours are welcome there: it is a terminal, and NO_COLOR is not set. */
bool terminal_colour(int fd);

/* The keys that leave a console, ^P ^Q, in what the user types. */
struct detach_keys {
	bool held; /* a ^P that was not passed on yet */
};

/*
 * Reads from `fd` up to `size` bytes, which is above 1, without those keys. 0: its end. -1: nothing
 * now. -2: they were typed; what came before them is lost.
 */
long detach_keys_read(struct detach_keys *k, int fd, char *buf, size_t size);

#endif
