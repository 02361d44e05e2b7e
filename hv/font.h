/* The glyphs of the screen console: 5 by 8 dots in a cell of 8 by 16 pixels, printable ASCII. */
#ifndef HV_FONT_H
#define HV_FONT_H

#include "lib/base.h"

#define FONT_FIRST ' '
#define FONT_LAST  '~'
#define FONT_ROWS  8

/* A byte a row, bit 4 is the leftmost dot; the last row holds descenders. */
extern const uint8_t font_glyphs[FONT_LAST - FONT_FIRST + 1][FONT_ROWS];

#endif
