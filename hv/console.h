/*
 * Where people read the host: COM1, and the text of hv/screen.h. Called by hv/log.h and by panic only,
 * which see to it that one core writes at a time.
 */
#ifndef HV_CONSOLE_H
#define HV_CONSOLE_H

#include "lib/base.h"

/* Find COM1. `serial` false: leave it alone. */
void console_start(bool serial);

enum console_tone { TONE_PLAIN, TONE_WARN, TONE_ERROR };

/* A line, its end added here, on both. */
void console_line(const char *text, size_t size, enum console_tone tone);

/* A line for the serial port alone. */
void console_serial_line(const char *text);

/* Has somebody typed on the serial port since the last call? */
bool console_key(void);

/* Wait, for a bounded time, until all bytes have left the serial port. */
void console_flush(void);

#endif
