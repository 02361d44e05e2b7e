/* The platform and the start of a machine of paper; see fake_vm.h. */
#include "hv/log.h"
#include "hv/platform.h"
#include "hv/sched.h"
#include "hv/speculation.h"
#include "tests/fake_vm.h"
#include "tests/unit/paper_cpu/hv/cpu.h"
#include "tests/unit/test.h"

#include <elf.h>

struct core *cores[CORE_MAX];
unsigned core_count;

_Thread_local unsigned fake_core;
uint64_t fake_kicks[FAKE_MAX_CORES], fake_timer[FAKE_MAX_CORES];

static struct core core_structs[FAKE_MAX_CORES];
static struct tlb_core tlb_cores[FAKE_MAX_CORES];
static void *arena;
static uint64_t arena_frames, clock_now, random_state;

/* ---- hv/platform.h and the clock -------------------------------------------------------------- */

uint64_t fake_now(void)
{
	return __atomic_load_n(&clock_now, __ATOMIC_RELAXED);
}

void fake_advance(uint64_t ticks)
{
	__atomic_fetch_add(&clock_now, ticks, __ATOMIC_RELAXED);
}

uint64_t rdtsc(void)
{
	return __atomic_add_fetch(&clock_now, 1, __ATOMIC_RELAXED);
}

/* As the handler of the interrupt that a kick is. */
void platform_kick(unsigned core)
{
	__atomic_fetch_add(&fake_kicks[core], 1, __ATOMIC_RELAXED);
	sched_attention(cores[core]);
}

void platform_timer(uint64_t tsc)
{
	fake_timer[fake_core] = tsc;
}

/* Nothing passes here: fake_run() moves the clock when all cores have halted. */
void platform_halt(void)
{
}

uint64_t platform_tsc_khz(void)
{
	return FAKE_KHZ;
}

uint64_t platform_wall_ns(void)
{
	return 1700000000000000000ull + fake_now();
}

void platform_random(void *buf, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint64_t state = __atomic_add_fetch(&random_state, 1, __ATOMIC_RELAXED);

		((uint8_t *)buf)[i] = (uint8_t)test_random(&state);
	}
}

void platform_network(uint32_t *address, uint8_t mac[6])
{
	*address = 0;
	memset(mac, 0, 6);
}

/* A processor of paper learns nothing from one guest that another could see. */
void speculation_init(void)
{
}

void speculation_core_start(void)
{
}

void speculation_enter(struct core *core, uint64_t lineage)
{
	core->lineage = lineage;
}

void log_write(enum config_log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

size_t log_read(uint64_t *seq, char *buf, size_t size)
{
	(void)seq;
	(void)buf;
	(void)size;
	return 0;
}

/* ---- the machine ------------------------------------------------------------------------------ */

void fake_start(unsigned count, uint64_t frames, uint64_t reserve)
{
	struct frame_range range = {.size = frames * PAGE_SIZE};
	char why[64];

	hv = (struct hypervisor){.vm = &fake_vm};
	families = (struct spinlock){0};
	if (frames != arena_frames) {
		free(arena);
		arena = aligned_alloc(PAGE_SIZE, frames * PAGE_SIZE);
		CHECK(arena);
	}
	arena_frames = frames;
	memset(arena, 0, frames * PAGE_SIZE);
	clock_now = 1000000;
	fake_core = 0;
	core_count = count;
	CHECK_EQ(hv.vm->probe(&hv.caps, why, sizeof(why)), 0);
	tlb_host_init(&hv.tlb, tlb_cores, count);
	tlb_host_set_caps(&hv.tlb, &hv.caps.tlb, hv.caps.tag_count);
	CHECK_EQ(frame_pool_init(&hv.pool, arena, &range, 1, count, reserve, &hv.tlb), 0);
	CHECK_EQ(hypervisor_start(), 0);
	for (unsigned i = 0; i < count; i++) {
		core_structs[i] = (struct core){.self = &core_structs[i], .id = i};
		cores[i] = &core_structs[i];
		fake_timer[i] = fake_kicks[i] = 0;
		CHECK_EQ(hypervisor_core_start(cores[i]), 0);
	}
}

void fake_reap(void)
{
	while (gmem_reap_pending(&hv.pool)) {
		for (unsigned i = 0; i < core_count; i++)
			gmem_reap(&hv.pool, i, 1000);
	}
	for (unsigned i = 0; i < core_count; i++)
		frame_settle(&hv.pool, i);
}

void fake_check_empty(void)
{
	struct frame_stats s;
	uint64_t id;
	unsigned news;

	fake_reap();
	while (guest_news(&id, &news))
		;
	for (unsigned kind = 0; kind < OBJECT_KINDS; kind++)
		CHECK_EQ(hv.registry.count[kind], 0);
	for (unsigned kind = 0; kind < BUDGET_KINDS; kind++)
		CHECK_EQ(budget_used(hv.budget, (enum budget_kind)kind), 0);
	CHECK_EQ(hv.budget->refs, 1);
	frame_pool_stats(&hv.pool, &s);
	CHECK_EQ(s.used[FRAME_TABLE] + s.used[FRAME_DATA] + s.used[FRAME_STREAM], 0);
	for (uint64_t n = 0; n < arena_frames; n++) {
		if ((hv.pool.records[n].tag & FRAME_KIND_MASK) != FRAME_FREE)
			CHECK_EQ(hv.pool.records[n].tag >> FRAME_KIND_BITS, ACCOUNT_NONE);
	}
	for (unsigned i = 0; i < core_count; i++) {
		CHECK_EQ(cores[i]->sched.runnable.count, 0);
		CHECK_EQ(cores[i]->sched.timers.count, 0);
	}
}

void fake_end(void)
{
	fake_check_empty();
}

uint64_t fake_image(const char *name, const struct fake_op *ops, unsigned n)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
	} file = {
		.header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				   EV_CURRENT},
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_entry = FAKE_CODE,
			.e_phoff = sizeof(Elf64_Ehdr),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1},
		.segment = {.p_type = PT_LOAD,
			.p_flags = PF_R | PF_X,
			.p_offset = PAGE_SIZE,
			.p_vaddr = FAKE_CODE,
			.p_paddr = FAKE_CODE,
			.p_filesz = n * sizeof(*ops),
			.p_memsz = n * sizeof(*ops),
			.p_align = PAGE_SIZE},
	};
	static const uint8_t padding[PAGE_SIZE];
	uint64_t upload, id;

	CHECK_EQ(image_begin(PAGE_SIZE + n * sizeof(*ops), OWNER_HOST, &upload), 0);
	CHECK_EQ(image_append(upload, (const uint8_t *)&file, sizeof(file)), 0);
	CHECK_EQ(image_append(upload, padding, PAGE_SIZE - sizeof(file)), 0);
	CHECK_EQ(image_append(upload, (const uint8_t *)ops, n * sizeof(*ops)), 0);
	int err = image_commit(upload, name, &id);

	if (err)
		fprintf(stderr, "%s\n", guest_last_error());
	CHECK_EQ(err, 0);
	return id;
}

void fake_turn(unsigned core)
{
	fake_core = core;
	run_turn(cores[core], NULL);
	fake_core = 0;
}

static bool any_runnable(void)
{
	for (unsigned i = 0; i < core_count; i++) {
		if (cores[i]->sched.runnable.count)
			return true;
	}
	return false;
}

static uint64_t first_timer(void)
{
	uint64_t at = UINT64_MAX;

	for (unsigned i = 0; i < core_count; i++)
		at = MIN(at, sched_next_timer(cores[i]));
	return at;
}

void fake_run(unsigned max)
{
	for (unsigned round = 0; round < max; round++) {
		if (!any_runnable()) {
			uint64_t at = first_timer();

			if (at == UINT64_MAX)
				return;
			fake_advance(at > fake_now() ? at - fake_now() : 0);
		}
		for (unsigned i = 0; i < core_count; i++)
			fake_turn(i);
	}
}
