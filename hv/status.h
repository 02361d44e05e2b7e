/*
 * What a person in front of the machine sees: a panel on the upper half of the screen with what host
 * this is, its public key (also as a QR code), how busy and how full it is, and what was done last.
 * The same as text on the serial port, once when the host has its address, and again whenever somebody
 * presses a key there.
 */
#ifndef HV_STATUS_H
#define HV_STATUS_H

#include "lib/base.h"

#define STATUS_EVENTS   5  /* that are shown */
#define STATUS_KEY_SIZE 65 /* a key in hexadecimal, with a terminator */

/* When the host is up. `key`: its public key, "" if it has none; `lasts`: beyond this boot. */
void status_start(uint16_t port, const char *key, bool lasts);

/* Something that was done, for the panel: it shows the last STATUS_EVENTS of them. */
void status_event(uint64_t wall_ns, const char *text);

/* Show the present state; about once a second, by the boot core. Writes only what has changed. */
void status_show(void);

/* Goes on with what is to be said on the serial port, a line at a time: the port is slow. True: there
 * is more. */
bool status_say(void);

#endif
