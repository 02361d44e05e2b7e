#include "hv/host.h"

#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/hypervisor.h"
#include "hv/log.h"
#include "hv/objects.h"
#include "hv/platform.h"
#include "lib/string.h"
#include "lib/version.h"

#define NS_PER_MS 1000000ull

static void count_guests(struct host_info *info, uint16_t owner)
{
	struct object *o;
	uint64_t *by_state[] = {
		[GUEST_RUNNABLE] = &info->guests_runnable,
		[GUEST_WAITING] = &info->guests_waiting,
		[GUEST_PAUSED] = &info->guests_paused,
		[GUEST_STOPPED] = &info->guests_stopped,
	};

	for (uint64_t id = 0; (o = registry_next(&hv.registry, id, OBJECT_GUEST));) {
		id = o->id;
		if (owner == OWNER_ANY || o->owner == owner) {
			++*by_state[__atomic_load_n(&guest_of(o)->state, __ATOMIC_RELAXED)];
			info->guests++;
		}
		object_unpin(&hv.registry, o, 0);
	}
}

static uint64_t count_owned(enum object_kind kind, uint16_t owner)
{
	struct object *o;
	uint64_t n = 0;

	for (uint64_t id = 0; (o = registry_next(&hv.registry, id, kind));) {
		id = o->id;
		n += o->owner == owner;
		object_unpin(&hv.registry, o, 0);
	}
	return n;
}

static void whole_memory(struct host_info *info)
{
	struct frame_stats s;

	frame_pool_stats(&hv.pool, &s);
	info->frames_total = s.total;
	info->frames_free = s.used[FRAME_FREE];
	info->frames_quarantined = s.quarantined;
	info->frames_reserve = s.reserve;
	info->frames_table = s.used[FRAME_TABLE];
	info->frames_data = s.used[FRAME_DATA];
	info->frames_state = s.used[FRAME_STATE];
	info->frames_stream = s.used[FRAME_STREAM];
	info->frames_image = s.used[FRAME_IMAGE];
	info->frames_host = s.used[FRAME_HOST];
}

void host_memory(uint64_t *free, uint64_t *total)
{
	struct frame_stats s;

	frame_pool_stats(&hv.pool, &s);
	*free = s.used[FRAME_FREE];
	*total = s.total;
}

/* What others use must not show. */
static void owned_memory(struct host_info *info, uint16_t owner)
{
	struct budget *b = owner_budget(owner);
	uint64_t used = budget_used(b, BUDGET_PAGES);

	info->frames_total = MIN(budget_limit(b, BUDGET_PAGES), hv.pool.total);
	info->frames_data = used;
	info->frames_free = info->frames_total > used ? info->frames_total - used : 0;
}

static void brand(char out[49])
{
	for (uint32_t i = 0; i < 3; i++) {
		struct cpuid_regs r = cpuid(CPUID_BRAND + i);

		memcpy(out + 16 * i, &r, sizeof(r));
	}
	out[48] = '\0';
}

void host_info(struct host_info *info, uint16_t owner)
{
	uint64_t ticks = rdtsc() - hv.boot_tsc, khz = platform_tsc_khz();

	*info = (struct host_info){
		.boot_id = {hv.boot_id[0], hv.boot_id[1]},
		.cores = core_count,
		.tsc_khz = khz,
		.uptime_ns = ticks / khz * NS_PER_MS + ticks % khz * NS_PER_MS / khz,
		.wall_ns = platform_wall_ns(),
	};
	fmt(info->version, sizeof(info->version), "%s", CREEL_VERSION);
	fmt(info->backend, sizeof(info->backend), "%s", hv.vm->name);
	brand(info->cpu);
	count_guests(info, owner);
	if (owner == OWNER_ANY) {
		whole_memory(info);
		info->snapshots = registry_count(&hv.registry, OBJECT_SNAPSHOT);
		info->images = registry_count(&hv.registry, OBJECT_IMAGE);
	} else {
		owned_memory(info, owner);
		info->snapshots = count_owned(OBJECT_SNAPSHOT, owner);
		info->images = count_owned(OBJECT_IMAGE, owner);
	}
	platform_network(&info->address, info->mac);
}

void host_meter(enum host_meter kind, struct host_meter_value *value)
{
	*value = (struct host_meter_value){0};
	for (unsigned i = 0; i < core_count; i++) {
		const struct host_meter_value *m = &cores[i]->meter[kind];

		if (!m->count)
			continue;
		value->min = value->count ? MIN(value->min, m->min) : m->min;
		value->max = MAX(value->max, m->max);
		value->last = m->last;
		value->count += m->count;
		value->ticks += m->ticks;
	}
	/* What memory trees do is counted there. */
	if (kind == METER_TABLE_COPY || kind == METER_PAGE_COPY) {
		struct gmem_stats s;

		gmem_stats(&hv.pool, &s);
		value->count = kind == METER_TABLE_COPY ? s.tables_copied : s.pages_copied;
	}
}

void host_meter_reset(void)
{
	for (unsigned i = 0; i < core_count; i++)
		memset(cores[i]->meter, 0, sizeof(cores[i]->meter));
}

const char *host_meter_name(enum host_meter kind)
{
	static const char *const names[] = {
		[METER_FORK] = "fork",
		[METER_SNAPSHOT] = "snapshot",
		[METER_ROLLBACK] = "rollback",
		[METER_KILL] = "kill",
		[METER_RUN] = "run",
		[METER_REAP] = "reap",
		[METER_ZERO] = "zero",
		[METER_COW_FAULT] = "cow_fault",
		[METER_ZERO_FAULT] = "zero_fault",
		[METER_TABLE_WALK_FAULT] = "table_walk_fault",
		[METER_RAISE_FAULT] = "raise_fault",
		[METER_HYPERCALL] = "hypercall",
		[METER_IO] = "io",
		[METER_CPUID] = "cpuid",
		[METER_MSR] = "msr",
		[METER_INTERRUPT] = "interrupt",
		[METER_HLT] = "hlt",
		[METER_OTHER_EXIT] = "other_exit",
		[METER_FIRST_EXIT] = "first_exit",
		[METER_LOAD] = "load",
		[METER_STORE] = "store",
		[METER_FLUSH_GUEST] = "flush_guest",
		[METER_FLUSH_ALL] = "flush_all",
		[METER_TABLE_COPY] = "table_copy",
		[METER_PAGE_COPY] = "page_copy",
		[METER_MANAGE] = "manage",
	};

	_Static_assert(ARRAY_SIZE(names) == METER_KINDS, "every meter has a name");
	return names[kind];
}

size_t host_log(uint64_t *seq, char *buf, size_t size)
{
	return log_read(seq, buf, size);
}

void host_random(void *buf, size_t size)
{
	platform_random(buf, size);
}

uint64_t host_wall_ns(void)
{
	return platform_wall_ns();
}

uint64_t host_now_us(void)
{
	return (rdtsc() - hv.boot_tsc) / (platform_tsc_khz() / 1000);
}
