/* Messages of RFC 5424, "The Syslog Protocol", made piece by piece in a buffer. Pure. */
#ifndef LIB_SYSLOG_H
#define LIB_SYSLOG_H

#include "lib/base.h"

#define SYSLOG_MAX 1024 /* bytes of a message; RFC 5426 lets receivers stop at 2,048, and the MTU is below */

enum syslog_facility { SYSLOG_DAEMON = 3, SYSLOG_AUDIT = 13 };
enum syslog_severity { SYSLOG_EMERGENCY = 0, SYSLOG_ERROR = 3, SYSLOG_WARNING = 4, SYSLOG_NOTICE = 5 };

struct syslog {
	char text[SYSLOG_MAX + 1];
	size_t size;
};

/*
 * The header. `wall_ns` is since 1970; 0: not known. An address of 0 is not known either. `process` and
 * `kind` are words of printable ASCII.
 */
void syslog_begin(struct syslog *m, enum syslog_facility facility, enum syslog_severity severity,
	uint64_t wall_ns, uint32_t address, const char *process, const char *kind);

/* Structured data: elements with parameters, or none, and then the end of them. */
void syslog_element(struct syslog *m, const char *id);
void syslog_param(struct syslog *m, const char *name, const char *value);
void syslog_number(struct syslog *m, const char *name, uint64_t value);
void syslog_element_end(struct syslog *m);
void syslog_no_elements(struct syslog *m);

/* The text for people: what is no printable ASCII becomes '?', what is too long is cut off. */
void syslog_text(struct syslog *m, const char *text, size_t size);

#endif
