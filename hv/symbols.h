/* Names for code addresses, for backtraces. The table is made from the linked image itself. */
#ifndef HV_SYMBOLS_H
#define HV_SYMBOLS_H

#include <stdint.h>

/*
 * The name of the function that `addr` lies in, and how far in. NULL when it is not in our code.
 * Touches only read-only memory and takes no lock: panic calls it.
 */
const char *symbol_lookup(uint64_t addr, uint64_t *offset);

#endif
