/*
 * What happens on the host, told to those who want to know: each audit record on the status screen, and
 * by syslog (RFC 5424 over UDP, RFC 5426) to the address in creel.conf, with the log's warnings and
 * errors, and at last a panic. Datagrams are not acknowledged: numbers tell of those that were lost.
 */
#ifndef HV_REPORT_H
#define HV_REPORT_H

#include "boot/config.h"
#include "lib/base.h"

struct audit_ring;
struct net_stack;

void report_start(struct net_stack *net, const struct boot_config *conf);

/* The last few records for the status screen, before it is drawn anew: what comes faster can't be read.
 * `audit` is NULL while there is no server, here and below. */
void report_show(const struct audit_ring *audit);

/* From the service's loop. Returns when to call it next, in microseconds of clock_us(). */
uint64_t report_poll(const struct audit_ring *audit, uint64_t now_us);

/*
 * For panic alone, on whatever core: the frame that carries `text` to the syslog server, in memory of our
 * own, or NULL if there is no server or the way to it is not known. Takes no lock and sends nothing.
 */
const void *report_panic_frame(const char *text, size_t *size);

#endif
