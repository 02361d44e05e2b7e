/*
 * Text on the firmware's frame buffer: a panel of rows on top that are written by place, and below it
 * rows that scroll. The frame buffer is only written, and only where something changes: reading it is
 * slow, and what is written twice flickers. Called by hv/log.h and panic only, which see to it that
 * one core writes at a time. Before screen_start() nothing happens.
 */
#ifndef HV_SCREEN_H
#define HV_SCREEN_H

#include "boot/handover.h"

struct qr;

enum screen_color {
	COLOR_BACK,
	COLOR_TEXT,
	COLOR_DIM,
	COLOR_BRIGHT,
	COLOR_LOBSTER,
	COLOR_ERROR,
	COLOR_WARN,
	COLOR_GREEN,
	COLOR_BLUE,
	COLOR_VIOLET,
	COLOR_TROUGH, /* of a bar, where it is empty */
	COLORS
};

/* A stretch of a bar. */
struct screen_part {
	uint64_t amount;
	enum screen_color color;
};

/* Show text on `fb` from now on. It must be mapped. */
void screen_start(const struct boot_framebuffer *fb);

/* 0 without a screen. */
unsigned screen_columns(void);
unsigned screen_rows(void);

/* A character of the scrolling text. */
void screen_put(char c, enum screen_color ink);

/* Take the first `rows` rows for the panel, cleared; what scrolls keeps its last lines. 0: none. */
void screen_panel(unsigned rows);

/* In the panel: `width` cells of text, cut or filled up with spaces. */
void screen_text(unsigned row, unsigned column, unsigned width, enum screen_color ink,
	enum screen_color paper, const char *text);

/* Letters of twice the size, on two rows; drawn at every call. */
void screen_title(unsigned row, unsigned column, enum screen_color ink, enum screen_color paper,
	const char *text);

/* A bar of `width` cells for `total`: the parts one after another, to the pixel. */
void screen_bar(unsigned row, unsigned column, unsigned width, const struct screen_part *parts,
	unsigned count, uint64_t total);

/* A code with its quiet zone, as large as `rows` rows allow; returns the columns that it takes, 0 if
 * it does not fit. Drawn at every call. */
unsigned screen_qr(unsigned row, unsigned column, unsigned rows, const struct qr *qr);

#endif
