/*
 * Where people read the host: COM1, and text on the firmware's frame buffer. Called by the log and by
 * panic only, which see to it that one core writes at a time.
 */
#ifndef HV_CONSOLE_H
#define HV_CONSOLE_H

#include "boot/handover.h"

/* Find COM1. `serial` false: leave it alone. */
void console_start(bool serial);

/* Show text on `fb` from now on. It must be mapped. */
void console_screen_start(const struct boot_framebuffer *fb);

bool console_has_screen(void);

/* '\n' ends a line on both. */
void console_write(const char *text, size_t size);

/* Wait, for a bounded time, until all bytes have left the serial port. */
void console_flush(void);

/*
 * Take the lowest `rows` rows of the screen (0: none) for a status display that does not scroll, and
 * write row `row` of it. Without a screen nothing happens.
 */
void console_status_rows(unsigned rows);
void console_status(unsigned row, const char *text);

#endif
