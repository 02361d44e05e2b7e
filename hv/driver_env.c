#include "hv/driver_env.h"

#include "hv/apic.h"
#include "hv/clock.h"
#include "hv/core.h"
#include "hv/hostmap.h"
#include "hv/hypervisor.h"
#include "hv/idt.h"
#include "hv/log.h"
#include "lib/string.h"

/*
 * Runs of frames that a driver gave back, kept for the next one that asks for the same size: the pool
 * has no way to take a run back. Used at start-up, by one core.
 */
#define FREED_RUNS 32

static struct {
	hpa_t base;
	uint64_t size;
} freed[FREED_RUNS];

static void *env_map_mmio(void *ctx, uint64_t physical, uint64_t size)
{
	(void)ctx;
	return hostmap_mmio(physical, size);
}

static hpa_t take_freed(uint64_t size)
{
	for (unsigned i = 0; i < FREED_RUNS; i++) {
		if (freed[i].size != size)
			continue;
		freed[i].size = 0;
		memset(frame_ptr(&hv.pool, freed[i].base), 0, size);
		return freed[i].base;
	}
	return 0;
}

static void *env_dma_alloc(void *ctx, size_t size, uint64_t *physical)
{
	uint64_t bytes = align_up(size, PAGE_SIZE);
	hpa_t base;

	(void)ctx;
	if (!bytes || bytes < size)
		return NULL;
	base = take_freed(bytes);
	if (!base && frame_alloc_contiguous(&hv.pool, bytes / PAGE_SIZE, PAGE_SIZE, &base))
		return NULL;
	*physical = base;
	return frame_ptr(&hv.pool, base);
}

static void env_dma_free(void *ctx, void *memory, size_t size)
{
	(void)ctx;
	for (unsigned i = 0; i < FREED_RUNS; i++) {
		if (freed[i].size)
			continue;
		freed[i].base = frame_hpa(&hv.pool, memory);
		freed[i].size = align_up(size, PAGE_SIZE);
		return;
	}
	log_warn("%zu bytes of a driver are lost", size);
}

static uint64_t env_now_us(void *ctx)
{
	(void)ctx;
	return clock_us();
}

static int env_irq_alloc(void *ctx, driver_irq_handler *handler, void *arg, uint64_t *msi_address,
	uint32_t *msi_data)
{
	uint8_t vector;
	int err = irq_alloc(handler, arg, &vector);

	(void)ctx;
	if (!err)
		apic_msi(cores[0], vector, msi_address, msi_data);
	return err;
}

static void env_log(void *ctx, enum driver_log_level level, const char *line)
{
	static const enum config_log_level levels[] = {
		[DRIVER_ERROR] = LOG_ERROR,
		[DRIVER_WARN] = LOG_WARN,
		[DRIVER_INFO] = LOG_INFO,
	};

	(void)ctx;
	log_write(levels[level], "%s", line);
}

const struct driver_env *driver_env(void)
{
	static const struct driver_env env = {
		.map_mmio = env_map_mmio,
		.dma_alloc = env_dma_alloc,
		.dma_free = env_dma_free,
		.now_us = env_now_us,
		.irq_alloc = env_irq_alloc,
		.log = env_log,
	};

	return &env;
}
