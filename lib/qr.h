/*
 * QR codes (ISO/IEC 18004, model 2) of short texts: byte mode, versions 1 to 10, error correction
 * level M (15 % of the code may be unreadable). No allocation; pure.
 */
#ifndef LIB_QR_H
#define LIB_QR_H

#include "lib/base.h"

#define QR_VERSION_MAX 10
#define QR_SIZE_MAX    (17 + 4 * QR_VERSION_MAX)
#define QR_TEXT_MAX    213 /* bytes in version 10 */
#define QR_QUIET       4   /* light modules that must surround a code on every side */

struct qr {
	unsigned size;             /* modules on each side */
	uint64_t row[QR_SIZE_MAX]; /* bit x is set where module x is dark */
};

/* Makes the smallest code that holds `size` bytes. ERR_TOOBIG above QR_TEXT_MAX. */
int qr_make(struct qr *qr, const void *text, size_t size);

/* Any x and y: modules outside of the code are light. */
static inline bool qr_dark(const struct qr *qr, int x, int y)
{
	return x >= 0 && y >= 0 && x < (int)qr->size && y < (int)qr->size && qr->row[y] >> x & 1;
}

#endif
