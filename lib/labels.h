/*
 * Labels: "key=value" pairs that clients put on guests and snapshots, and selectors that pick by them.
 * Both are one string, its items separated by commas; a selector's item may be a key alone, which any
 * value matches. Pure, and used by both ends of the management protocol.
 */
#ifndef LIB_LABELS_H
#define LIB_LABELS_H

#include "lib/base.h"

#define LABELS_SIZE     256 /* of the string, with its terminator */
#define LABELS_MAX      16  /* pairs */
#define LABEL_KEY_MAX   63  /* characters of [A-Za-z0-9_.-] and '/' */
#define LABEL_VALUE_MAX 63  /* the same and ':' '@' '+'; may be none */

enum labels_kind {
	LABELS_PAIRS,    /* each item has a value, and no key comes twice */
	LABELS_SELECTOR, /* an item may be a key alone */
	LABELS_KEYS,     /* every item is */
};

/* NULL, or what is wrong with it. "" is right: none. */
const char *labels_check(const char *labels, enum labels_kind kind);

/*
 * `labels` with the pairs `set` put in place of those with the same keys, and without the keys in
 * `remove`; all three are right. False: that is too much, and `labels` is as it was.
 */
bool labels_change(char labels[LABELS_SIZE], const char *set, const char *remove) MUST_CHECK;

/* Every item of the selector is there. All have "". */
bool labels_match(const char *labels, const char *selector);

#endif
