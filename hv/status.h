/* The lowest rows of the screen: what host this is, where to reach it, how full it is. */
#ifndef HV_STATUS_H
#define HV_STATUS_H

#include "lib/base.h"

/* Set the rows aside, when the host is up. Without a screen nothing happens, here and below. */
void status_start(uint16_t port);

/* Show the present state; about once a second, by the boot core. */
void status_show(void);

#endif
