/* Counters and costs of what a core does; summed over all cores when somebody asks (hv/host.h). */
#ifndef HV_METER_H
#define HV_METER_H

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/host.h"

static inline void meter_count(struct core *core, enum host_meter kind)
{
	core->meter[kind].count++;
}

/* One more operation, which began at TSC `start`. */
static inline void meter_time(struct core *core, enum host_meter kind, uint64_t start)
{
	struct host_meter_value *m = &core->meter[kind];
	uint64_t ticks = rdtsc() - start;

	m->min = m->count++ ? MIN(m->min, ticks) : ticks;
	m->max = MAX(m->max, ticks);
	m->last = ticks;
	m->ticks += ticks;
}

#endif
