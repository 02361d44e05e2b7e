/* The machine that the drivers' tests run on; see fake_machine.h. */
#include "tests/unit/fake_machine.h"

#include "drivers/io.h"

#define FUNCTION_MAX 32
#define WINDOW_MAX   32
#define DMA_MAX      32

/* Pointers and device addresses differ by more than an offset that a driver could guess. */
#define DMA_PHYSICAL 0x4200000000ull
#define DMA_SPACING  0x10000000ull

struct dma_block {
	uint8_t *memory;
	size_t size;
};

static struct fake_function functions[FUNCTION_MAX];
static unsigned function_count;
static struct fake_window windows[WINDOW_MAX];
static unsigned window_count;
static struct dma_block dma[DMA_MAX];
static unsigned dma_count;
static uint32_t config_address;
static unsigned master_off_count;

struct fake_host fake_host;

void fake_reset(void)
{
	for (unsigned i = 0; i < window_count; i++)
		free(windows[i].memory);
	for (unsigned i = 0; i < dma_count; i++)
		free(dma[i].memory);
	memset(functions, 0, sizeof(functions));
	memset(windows, 0, sizeof(windows));
	memset(dma, 0, sizeof(dma));
	function_count = window_count = dma_count = master_off_count = 0;
	fake_host = (struct fake_host){.dma_left = DMA_MAX, .vectors_left = 1};
}

/* ---- PCI ------------------------------------------------------------------------------------- */

struct fake_function *fake_add(
	uint8_t bus, uint8_t device, uint8_t function, uint16_t vendor, uint16_t device_id)
{
	CHECK(function_count < FUNCTION_MAX);
	struct fake_function *f = &functions[function_count++];

	f->bus = bus;
	f->device = device;
	f->function = function;
	f->config[0] = vendor | (uint32_t)device_id << 16;
	f->config[FAKE_REG_COMMAND] = FAKE_COMMAND_MASTER;
	f->writable[FAKE_REG_COMMAND] = 0x0547;
	f->clears[FAKE_REG_COMMAND] = 0xf9000000;
	return f;
}

void fake_bar(struct fake_function *f, unsigned index, uint64_t base, uint64_t size, bool wide)
{
	unsigned reg = FAKE_REG_BAR0 + index;
	uint64_t mask = ~(size - 1);

	f->config[reg] = (uint32_t)base | (wide ? 4 : 0);
	f->writable[reg] = (uint32_t)mask & ~15u;
	if (wide) {
		f->config[reg + 1] = (uint32_t)(base >> 32);
		f->writable[reg + 1] = (uint32_t)(mask >> 32);
	}
}

void fake_capability(struct fake_function *f, uint8_t offset, uint8_t id, uint32_t head_rest)
{
	f->config[offset / 4] = id | (f->config[FAKE_REG_CAPS] & 0xff) << 8 | head_rest << 16;
	f->config[FAKE_REG_CAPS] = offset;
	f->config[FAKE_REG_COMMAND] |= FAKE_STATUS_CAPS;
}

static struct fake_function *addressed(void)
{
	unsigned bus = config_address >> 16 & 0xff, device = config_address >> 11 & 31;
	unsigned function = config_address >> 8 & 7;

	if (!(config_address & 0x80000000u))
		return NULL;
	for (unsigned i = 0; i < function_count; i++) {
		struct fake_function *f = &functions[i];

		if (f->bus == bus && f->device == device &&
			(f->function == function || f->all_functions))
			return f;
	}
	return NULL;
}

uint32_t port_in32(uint16_t port)
{
	struct fake_function *f = addressed();

	CHECK_EQ(port, 0xcfc);
	fake_host.config_reads++;
	return f ? f->config[(config_address & 0xfc) / 4] : UINT32_MAX;
}

static void config_write(struct fake_function *f, unsigned reg, uint32_t value)
{
	uint32_t old = f->config[reg];

	f->config[reg] = ((old & ~f->writable[reg]) | (value & f->writable[reg])) &
			 ~(value & f->clears[reg]);
	if (reg == FAKE_REG_BAR0 && value == UINT32_MAX && f->sizing_answer)
		f->config[reg] = f->sizing_answer;
	if (reg == FAKE_REG_BAR0 && value != UINT32_MAX && f->sizing_answer)
		f->config[reg] = value;
	if (reg == FAKE_REG_COMMAND && old & ~f->config[reg] & FAKE_COMMAND_MASTER)
		f->master_off_order = ++master_off_count;
	if (reg >= FAKE_REG_BAR0 && reg < FAKE_REG_BAR0 + 6 && value == UINT32_MAX &&
		f->config[FAKE_REG_COMMAND] & 3)
		f->decoded_while_sizing = true;
}

void port_out32(uint16_t port, uint32_t value)
{
	struct fake_function *f;

	if (port == 0xcf8) {
		config_address = value;
		return;
	}
	CHECK_EQ(port, 0xcfc);
	f = addressed();
	if (f)
		config_write(f, (config_address & 0xfc) / 4, value);
}

/* ---- registers ------------------------------------------------------------------------------- */

struct fake_window *fake_window(struct fake_function *owner, uint64_t physical, uint64_t size)
{
	CHECK(window_count < WINDOW_MAX);
	struct fake_window *w = &windows[window_count++];

	*w = (struct fake_window){
		.physical = physical, .size = size, .owner = owner, .memory = calloc(1, size)};
	return w;
}

static struct fake_window *window_at(const volatile void *at, unsigned width, uint32_t *offset)
{
	uintptr_t p = (uintptr_t)at;

	for (unsigned i = 0; i < window_count; i++) {
		struct fake_window *w = &windows[i];
		uintptr_t start = (uintptr_t)w->memory;

		if (p < start || p + width > start + w->size)
			continue;
		CHECK(w->owner->config[FAKE_REG_COMMAND] & FAKE_COMMAND_MEMORY);
		CHECK_EQ(p % width, 0);
		*offset = (uint32_t)(p - start);
		return w;
	}
	fprintf(stderr, "a register that isn't there\n");
	exit(1);
}

static uint32_t window_read(const volatile void *at, unsigned width)
{
	uint32_t offset, value = 0;
	struct fake_window *w = window_at(at, width, &offset);

	if (w->read)
		return w->read(w->ctx, offset, width);
	memcpy(&value, w->memory + offset, width);
	return value;
}

static void window_write(volatile void *at, unsigned width, uint32_t value)
{
	uint32_t offset;
	struct fake_window *w = window_at(at, width, &offset);

	if (w->write)
		w->write(w->ctx, offset, width, value);
	else
		memcpy(w->memory + offset, &value, width);
}

uint8_t mmio_read8(const volatile void *at)
{
	return (uint8_t)window_read(at, 1);
}

uint16_t mmio_read16(const volatile void *at)
{
	return (uint16_t)window_read(at, 2);
}

uint32_t mmio_read32(const volatile void *at)
{
	return window_read(at, 4);
}

void mmio_write8(volatile void *at, uint8_t value)
{
	window_write(at, 1, value);
}

void mmio_write16(volatile void *at, uint16_t value)
{
	window_write(at, 2, value);
}

void mmio_write32(volatile void *at, uint32_t value)
{
	window_write(at, 4, value);
}

/* ---- the driver's environment ---------------------------------------------------------------- */

static void *map_mmio(void *ctx, uint64_t physical, uint64_t size)
{
	CHECK(ctx == &fake_host);
	for (unsigned i = 0; i < window_count; i++) {
		struct fake_window *w = &windows[i];

		if (physical >= w->physical && size <= w->size &&
			physical - w->physical <= w->size - size)
			return w->memory + (physical - w->physical);
	}
	fake_host.maps_refused++;
	return NULL;
}

static void *dma_alloc(void *ctx, size_t size, uint64_t *physical)
{
	CHECK(ctx == &fake_host);
	if (!fake_host.dma_left)
		return NULL;
	fake_host.dma_left--;
	CHECK(dma_count < DMA_MAX && size <= DMA_SPACING);
	struct dma_block *b = &dma[dma_count];

	*physical = DMA_PHYSICAL + dma_count++ * DMA_SPACING;
	b->size = size;
	b->memory = aligned_alloc(PAGE_SIZE, align_up(size, PAGE_SIZE));
	memset(b->memory, 0, size);
	return b->memory;
}

static void dma_free(void *ctx, void *memory, size_t size)
{
	CHECK(ctx == &fake_host);
	for (unsigned i = 0; i < dma_count; i++) {
		if (dma[i].memory != memory)
			continue;
		CHECK_EQ(dma[i].size, size);
		free(memory);
		dma[i].memory = NULL;
		return;
	}
	fprintf(stderr, "DMA memory freed that was not allocated\n");
	exit(1);
}

void *fake_dma(const struct fake_function *device, uint64_t physical, size_t length)
{
	uint64_t n = (physical - DMA_PHYSICAL) / DMA_SPACING;
	uint64_t offset = (physical - DMA_PHYSICAL) % DMA_SPACING;

	CHECK(device->config[FAKE_REG_COMMAND] & FAKE_COMMAND_MASTER);
	CHECK(physical >= DMA_PHYSICAL && n < dma_count && dma[n].memory);
	CHECK(length <= dma[n].size && offset <= dma[n].size - length);
	return dma[n].memory + offset;
}

unsigned fake_dma_blocks(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < dma_count; i++)
		n += dma[i].memory != NULL;
	return n;
}

static uint64_t now_us(void *ctx)
{
	CHECK(ctx == &fake_host);
	if (fake_host.step)
		fake_host.step(fake_host.step_ctx);
	return fake_host.now_us++;
}

static int irq_alloc(void *ctx, driver_irq_handler *handler, void *arg, uint64_t *msi_address,
	uint32_t *msi_data)
{
	CHECK(ctx == &fake_host);
	if (!fake_host.vectors_left)
		return ERR_LIMIT;
	fake_host.vectors_left--;
	fake_host.irq_handler = handler;
	fake_host.irq_arg = arg;
	*msi_address = FAKE_MSI_ADDRESS;
	*msi_data = FAKE_MSI_DATA;
	return 0;
}

static void log_line(void *ctx, enum driver_log_level level, const char *line)
{
	size_t used = strlen(fake_host.log);

	CHECK(ctx == &fake_host && level <= DRIVER_INFO);
	snprintf(fake_host.log + used, sizeof(fake_host.log) - used, "%s\n", line);
}

const struct driver_env fake_env = {
	.ctx = &fake_host,
	.map_mmio = map_mmio,
	.dma_alloc = dma_alloc,
	.dma_free = dma_free,
	.now_us = now_us,
	.irq_alloc = irq_alloc,
	.log = log_line,
};
