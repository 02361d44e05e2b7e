/* What the files of the library share. */
#ifndef CREEL_INTERNAL_H
#define CREEL_INTERNAL_H

#include <creel/creel.h>

extern struct creel_info creel_self; /* as it was at the start */
extern char **creel_environment;

int64_t creel_hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
	uint64_t *second);

__attribute__((noreturn)) void creel_start(void);
__attribute__((noreturn)) void creel_trap(uint64_t vector, uint64_t error, uint64_t rip,
	uint64_t cr2);

#endif
