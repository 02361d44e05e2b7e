/*
 * A machine for the drivers' tests: PCI functions with configuration spaces, register windows with
 * a model device behind each, DMA memory at addresses unlike its pointers, a clock, a log. It
 * stands in for drivers/io.c and fills in a struct driver_env. What real hardware would answer with
 * a bus error ends the test: a register touched while its function does not decode, DMA outside of
 * what was allocated or without bus mastering.
 */
#ifndef TESTS_UNIT_FAKE_MACHINE_H
#define TESTS_UNIT_FAKE_MACHINE_H

#include "drivers/driver.h"
#include "tests/unit/test.h"

#define FAKE_CONFIG_DWORDS 64

#define FAKE_REG_COMMAND 1 /* dword numbers of configuration space */
#define FAKE_REG_CLASS   2
#define FAKE_REG_HEADER  3
#define FAKE_REG_BAR0    4
#define FAKE_REG_BUSES   6
#define FAKE_REG_CAPS    13

#define FAKE_COMMAND_MEMORY 2u
#define FAKE_COMMAND_MASTER 4u
#define FAKE_STATUS_CAPS    (1u << 20)

struct fake_function {
	uint8_t bus, device, function;
	uint32_t config[FAKE_CONFIG_DWORDS];
	uint32_t writable[FAKE_CONFIG_DWORDS]; /* bits that take what is written */
	uint32_t clears[FAKE_CONFIG_DWORDS];   /* bits that a written 1 clears */
	unsigned master_off_order;             /* when its bus mastering went off: 1, 2, ... */
	bool decoded_while_sizing;             /* a BAR held all ones with decoding on */
	uint32_t sizing_answer;                /* what BAR 0 reads as, once all ones were written */
	bool all_functions;                    /* answers at functions 1 to 7 as well */
};

/* A range of device registers. Without read and write it behaves as memory. */
struct fake_window {
	uint64_t physical, size;
	uint8_t *memory;
	struct fake_function *owner;
	void *ctx;
	uint32_t (*read)(void *ctx, uint32_t offset, unsigned width);
	void (*write)(void *ctx, uint32_t offset, unsigned width, uint32_t value);
};

/* An empty machine, with plenty of memory and one interrupt vector. */
void fake_reset(void);

/* A function with memory decoding off and bus mastering on, as firmware may leave it. */
struct fake_function *fake_add(
	uint8_t bus, uint8_t device, uint8_t function, uint16_t vendor, uint16_t device_id);

/* A memory BAR of `size` bytes at `base`; 64 bits wide when `wide`. */
void fake_bar(struct fake_function *f, unsigned index, uint64_t base, uint64_t size, bool wide);

/* Link a capability at `offset` to the front of the list; `head_rest` is its upper 16 bits. */
void fake_capability(struct fake_function *f, uint8_t offset, uint8_t id, uint32_t head_rest);

/* Put a register window on the bus. It is zeroed. */
struct fake_window *fake_window(struct fake_function *owner, uint64_t physical, uint64_t size);

/* The `length` bytes behind a device's address. Ends the test when they aren't the device's. */
void *fake_dma(const struct fake_function *device, uint64_t physical, size_t length);

unsigned fake_dma_blocks(void); /* allocated and not freed */

struct fake_host {
	uint64_t now_us;
	void (*step)(void *ctx); /* called each time a driver looks at the clock */
	void *step_ctx;
	unsigned dma_left; /* allocations until there is no memory */
	unsigned vectors_left;
	driver_irq_handler *irq_handler;
	void *irq_arg;
	char log[16384];
	unsigned maps_refused;
	unsigned config_reads;
};

#define FAKE_MSI_ADDRESS 0xfee01000u
#define FAKE_MSI_DATA    0x51u

extern struct fake_host fake_host;
extern const struct driver_env fake_env;

#endif
