/*
 * What a driver needs of its host, passed in. Drivers include lib/ and drivers/ only; hv/ fills
 * this in once at boot, and a test fills it in with a model of its own. Registers and ports are
 * reached through drivers/io.h.
 *
 * Drivers are opened and used by one core at a time; only interrupt handlers may run beside them.
 */
#ifndef DRIVERS_DRIVER_H
#define DRIVERS_DRIVER_H

#include "lib/base.h"
#include "lib/err.h"

enum driver_log_level { DRIVER_ERROR, DRIVER_WARN, DRIVER_INFO };

/* Runs with interrupts off, on whichever core the vector was given to. */
typedef void driver_irq_handler(void *arg);

struct driver_env {
	void *ctx; /* first argument of every function below */

	/*
	 * Map `size` bytes of device registers at `physical`, uncached, for ever; neither needs any
	 * alignment. A device names its own addresses, so this must refuse what is RAM.
	 * Returns the address that corresponds to `physical`, or NULL.
	 */
	void *(*map_mmio)(void *ctx, uint64_t physical, uint64_t size);

	/*
	 * `size` bytes of zeroed memory, page aligned and physically contiguous, for devices to
	 * read and write; all devices here take 64-bit addresses. Returns NULL when there is none,
	 * else stores the address that the device uses.
	 */
	void *(*dma_alloc)(void *ctx, size_t size, uint64_t *physical);
	void (*dma_free)(void *ctx, void *memory, size_t size);

	/* Microseconds since some fixed instant; never goes back. */
	uint64_t (*now_us)(void *ctx);

	/*
	 * Reserve an interrupt vector that calls `handler(arg)`, and say what message raises it.
	 * NULL where the host has no vectors to give. Returns 0 or ERR_LIMIT.
	 */
	int (*irq_alloc)(void *ctx, driver_irq_handler *handler, void *arg, uint64_t *msi_address,
		uint32_t *msi_data);

	/* One line for the log, without a newline. */
	void (*log)(void *ctx, enum driver_log_level level, const char *line);
};

#define DRIVER_LOG_LINE 160

void driver_log(const struct driver_env *env, enum driver_log_level level, const char *format, ...)
	PRINTF(3, 4);

/* Wait at least `us` microseconds. */
void driver_delay_us(const struct driver_env *env, uint64_t us);

#endif
