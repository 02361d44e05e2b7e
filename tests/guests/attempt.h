/* Calls that may fault: for guests that do what they should not. */
#ifndef TESTS_GUESTS_ATTEMPT_H
#define TESTS_GUESTS_ATTEMPT_H

#include <creel/creel.h>

#define NO_EXCEPTION (-1)
#define VECTOR_DB    1
#define VECTOR_UD    6
#define VECTOR_GP    13

extern uint64_t attempt_error, attempt_rip; /* of the last exception */

/* Installs the interrupt table. */
void attempt_start(void);
/* f(a, b); the vector of the exception that ended it, or NO_EXCEPTION. */
int attempt(void (*f)(uint64_t a, uint64_t b), uint64_t a, uint64_t b);

/* Ends the guest with a sentence. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

#endif
