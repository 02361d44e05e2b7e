/* The host as management sees it: identity, capacity, counters. */
#ifndef HV_HOST_H
#define HV_HOST_H

#include "lib/base.h"

struct host_info {
	char version[32];
	char backend[16];       /* "VT-x" or "AMD-V" */
	char cpu[49];           /* the processor's brand string */
	uint64_t boot_id[2];    /* random, new at each boot */
	uint32_t cores;
	uint32_t address;       /* IPv4, host byte order, 0: none yet */
	uint8_t mac[6];
	uint64_t tsc_khz;
	uint64_t uptime_ns, wall_ns;
	uint64_t frames_total, frames_free, frames_quarantined, frames_reserve;
	uint64_t frames_table, frames_data, frames_state, frames_stream, frames_image, frames_host;
	uint64_t guests, guests_runnable, guests_waiting, guests_paused, guests_stopped;
	uint64_t snapshots, images;
};

/* Operations and exits that are counted and metered. */
enum host_meter {
	METER_FORK, METER_SNAPSHOT, METER_ROLLBACK, METER_KILL, METER_RUN, METER_REAP, METER_ZERO,
	METER_COW_FAULT, METER_ZERO_FAULT, METER_TABLE_WALK_FAULT, METER_RAISE_FAULT,
	METER_HYPERCALL, METER_IO, METER_CPUID, METER_MSR, METER_INTERRUPT, METER_HLT, METER_OTHER_EXIT,
	METER_FIRST_EXIT, /* from a guest's first entry to its first exit that is no memory fault */
	METER_LOAD, METER_STORE, METER_FLUSH_GUEST, METER_FLUSH_ALL, METER_TABLE_COPY, METER_PAGE_COPY,
	METER_MANAGE, /* turns of the network and of management in which they had something to do */
	METER_KINDS,
};

/* TSC ticks, summed over all cores; last/min/max are of single operations. */
struct host_meter_value {
	uint64_t count, ticks, last, min, max;
};

/* `owner`: what he would see if the host were his: his things are counted, and his budget is all the
 * memory. OWNER_ANY: the whole of it. */
void host_info(struct host_info *info, uint16_t owner);
/* Frames of all owners. */
void host_memory(uint64_t *free, uint64_t *total);
void host_meter(enum host_meter kind, struct host_meter_value *value);
void host_meter_reset(void);
const char *host_meter_name(enum host_meter kind);

/* Recent log lines from sequence number *seq on: copies whole lines, moves *seq on; returns bytes. */
size_t host_log(uint64_t *seq, char *buf, size_t size);

/* Random bytes from the seeded generator (hv/random.h). */
void host_random(void *buf, size_t size);

/* Microseconds since boot. */
uint64_t host_now_us(void);

enum host_power { HOST_REBOOT, HOST_POWER_OFF };

/* In a moment: what is to be sent before has time to leave. Guests are not asked. */
int host_power(enum host_power what);

/* UTC since 1970. */
uint64_t host_wall_ns(void);

#endif
