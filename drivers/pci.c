/* PCI enumeration, bus mastering, address registers and capabilities; see pci.h. */
#include "drivers/pci.h"

#include "drivers/io.h"
#include "lib/string.h"

/* PCI Local Bus 3.0, "Software Generation of Configuration Transactions". */
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  (1u << 31)

#define BUS_COUNT      256
#define DEVICE_COUNT   32
#define FUNCTION_COUNT 8

/* Registers of every header, then of types 0 and 1. */
#define REG_ID           0x00
#define REG_COMMAND      0x04 /* status in the upper half: a written 1 clears, a 0 does nothing */
#define REG_CLASS        0x08
#define REG_HEADER       0x0c
#define REG_BAR0         0x10
#define REG_BUS_NUMBERS  0x18
#define REG_CAPABILITIES 0x34

#define COMMAND_MEMORY      (1u << 1)
#define COMMAND_MASTER      (1u << 2)
#define COMMAND_DECODE      3u
#define COMMAND_INTX_OFF    (1u << 10)
#define COMMAND_MASK        0xffffu
#define STATUS_CAPABILITIES (1u << 20)

#define HEADER_MULTIFUNCTION 0x80
#define HEADER_DEVICE        0
#define HEADER_BRIDGE        1
#define HEADER_CARDBUS       2

#define CLASS_BRIDGE         0x06
#define SUBCLASS_HOST_BRIDGE 0x00

#define VENDOR_NONE  0xffff
#define VENDOR_RETRY 0x0001 /* PCI Express: "not yet", from a device that is still in reset */

#define BAR_IO        1u
#define BAR_TYPE_MASK 6u
#define BAR_TYPE_64   4u
#define BAR_TYPE_32   0u
#define BAR_IO_MASK   (~3u)
#define BAR_MEM_MASK  (~15u)

#define CAPABILITY_FIRST 0x40
#define CAPABILITY_MAX   48 /* 192 bytes hold no more of the smallest */

#define CAP_POWER        0x01
#define POWER_SIZE       8
#define POWER_STATUS     4
#define POWER_STATE_MASK 3u
#define POWER_D3_EXIT_US 10000 /* PCI Power Management 1.2, "State Transition Recovery Time" */

#define CAP_EXPRESS       0x10
#define EXPRESS_SIZE      0x14
#define EXPRESS_LINK      0x10 /* control; status in the upper half */
#define LINK_ASPM_MASK    3u
#define LINK_CONTROL_MASK 0xffffu

void pci_place(const struct pci_function *f, char place[PCI_PLACE_SIZE])
{
	fmt(place, PCI_PLACE_SIZE, "%02x:%02x.%x", f->bus, f->device, f->function);
}

static void select_register(const struct pci_function *f, unsigned offset)
{
	port_out32(CONFIG_ADDRESS, CONFIG_ENABLE | (uint32_t)f->bus << 16 |
					   (uint32_t)f->device << 11 | (uint32_t)f->function << 8 |
					   (offset & 0xfc));
}

uint32_t pci_read(const struct pci_function *f, unsigned offset)
{
	select_register(f, offset);
	return port_in32(CONFIG_DATA);
}

void pci_write(const struct pci_function *f, unsigned offset, uint32_t value)
{
	select_register(f, offset);
	port_out32(CONFIG_DATA, value);
}

/* ---- enumeration ----------------------------------------------------------------------------- */

/* Fill in `f` from its header; false when nothing answers at its place. */
static bool identify(struct pci_function *f, bool *multifunction)
{
	uint32_t id = pci_read(f, REG_ID);

	f->vendor_id = (uint16_t)id;
	f->device_id = (uint16_t)(id >> 16);
	if (f->vendor_id == VENDOR_NONE || f->vendor_id == 0 || f->vendor_id == VENDOR_RETRY)
		return false;

	uint32_t class = pci_read(f, REG_CLASS);
	uint8_t header = (uint8_t)(pci_read(f, REG_HEADER) >> 16);

	f->class = (uint8_t)(class >> 24);
	f->subclass = (uint8_t)(class >> 16);
	f->header_type = header & (HEADER_MULTIFUNCTION - 1);
	*multifunction = header & HEADER_MULTIFUNCTION;
	return true;
}

static int walk_device(uint8_t bus, uint8_t device,
	int (*visit)(void *ctx, const struct pci_function *f), void *ctx)
{
	unsigned count = 1;

	for (unsigned i = 0; i < count; i++) {
		struct pci_function f = {.bus = bus, .device = device, .function = (uint8_t)i};
		bool multifunction;

		if (!identify(&f, &multifunction))
			continue;
		if (i == 0 && multifunction)
			count = FUNCTION_COUNT;
		int r = visit(ctx, &f);
		if (r)
			return r;
	}
	return 0;
}

/*
 * Every bus number is tried, rather than the bridges followed: a server has several root buses,
 * which only ACPI would name, and wrong bus numbers in a bridge can't send us round in a circle.
 */
int pci_walk(int (*visit)(void *ctx, const struct pci_function *f), void *ctx)
{
	for (unsigned bus = 0; bus < BUS_COUNT; bus++) {
		for (unsigned device = 0; device < DEVICE_COUNT; device++) {
			int r = walk_device((uint8_t)bus, (uint8_t)device, visit, ctx);

			if (r)
				return r;
		}
	}
	return 0;
}

/* ---- command register, power, bus mastering -------------------------------------------------- */

static uint32_t command_read(const struct pci_function *f)
{
	return pci_read(f, REG_COMMAND) & COMMAND_MASK;
}

static bool is_bridge(const struct pci_function *f)
{
	return f->header_type == HEADER_BRIDGE || f->header_type == HEADER_CARDBUS;
}

struct quiesce {
	const struct driver_env *env;
	bool bridges; /* this pass is for bridges */
	unsigned stopped;
};

/*
 * A host bridge is the CPU's own way to memory; its bit is hard-wired on most machines and is left
 * as it is.
 */
static int quiesce_function(void *ctx, const struct pci_function *f)
{
	struct quiesce *q = ctx;
	uint32_t command = command_read(f);

	if (is_bridge(f) != q->bridges || !(command & COMMAND_MASTER))
		return 0;
	if (f->class == CLASS_BRIDGE && f->subclass == SUBCLASS_HOST_BRIDGE)
		return 0;
	pci_write(f, REG_COMMAND, command & ~COMMAND_MASTER);
	if (command_read(f) & COMMAND_MASTER) {
		char place[PCI_PLACE_SIZE];

		pci_place(f, place);
		driver_log(q->env, DRIVER_WARN, "pci: %s (%04x:%04x) goes on mastering the bus",
			place, f->vendor_id, f->device_id);
		return 0;
	}
	q->stopped++;
	return 0;
}

/* Devices first: a request that meets a closed bridge is an error, which the machine may report. */
void pci_quiesce(const struct driver_env *env)
{
	struct quiesce q = {.env = env};

	pci_walk(quiesce_function, &q);
	q.bridges = true;
	pci_walk(quiesce_function, &q);
	driver_log(env, DRIVER_INFO, "pci: bus mastering switched off on %u functions", q.stopped);
}

static int power_on(const struct driver_env *env, const struct pci_function *f)
{
	unsigned at = pci_capability_find(f, CAP_POWER, POWER_SIZE);

	if (!at)
		return 0;
	at += POWER_STATUS;
	uint32_t status = pci_read(f, at);
	if (!(status & POWER_STATE_MASK))
		return 0;
	pci_write(f, at, status & ~POWER_STATE_MASK);
	driver_delay_us(env, POWER_D3_EXIT_US);
	return pci_read(f, at) & POWER_STATE_MASK ? ERR_IO : 0;
}

/* `ctx` is the function to be reached. */
static int open_bridge(void *ctx, const struct pci_function *f)
{
	const struct pci_function *target = ctx;

	if (f->header_type != HEADER_BRIDGE)
		return 0;

	uint32_t numbers = pci_read(f, REG_BUS_NUMBERS);
	uint8_t secondary = (uint8_t)(numbers >> 8), subordinate = (uint8_t)(numbers >> 16);

	if (secondary > f->bus && secondary <= target->bus && target->bus <= subordinate)
		pci_write(f, REG_COMMAND, command_read(f) | COMMAND_MEMORY | COMMAND_MASTER);
	return 0;
}

static int command_set(const struct pci_function *f, uint32_t bits)
{
	pci_write(f, REG_COMMAND, command_read(f) | bits);
	return (command_read(f) & bits) == bits ? 0 : ERR_IO;
}

int pci_enable(const struct driver_env *env, const struct pci_function *f)
{
	int r = power_on(env, f);

	if (r)
		return r;
	/* Devices without an INTx line may have the bit that switches it off hard-wired to 0. */
	pci_write(f, REG_COMMAND, command_read(f) | COMMAND_INTX_OFF);
	return command_set(f, COMMAND_MEMORY);
}

int pci_master_on(const struct pci_function *f)
{
	struct pci_function target = *f;

	if (command_read(f) & COMMAND_MASTER)
		return 0;
	pci_walk(open_bridge, &target);
	return command_set(f, COMMAND_MASTER);
}

void pci_master_off(const struct pci_function *f)
{
	pci_write(f, REG_COMMAND, command_read(f) & ~COMMAND_MASTER);
}

/* ---- base address registers ------------------------------------------------------------------ */

static unsigned bar_offset(unsigned index)
{
	return REG_BAR0 + 4 * index;
}

static bool bar_is_64(uint32_t low)
{
	return !(low & BAR_IO) && (low & BAR_TYPE_MASK) == BAR_TYPE_64;
}

/* Is `index` a register of its own, and not the upper half of the one before? */
static bool bar_begins_at(const struct pci_function *f, unsigned index)
{
	unsigned i = 0;

	while (i < index)
		i += bar_is_64(pci_read(f, bar_offset(i))) ? 2 : 1;
	return i == index;
}

/* Write all ones, see which stick, put the old value back. */
static uint32_t bar_probe(const struct pci_function *f, unsigned offset, uint32_t old)
{
	pci_write(f, offset, UINT32_MAX);
	uint32_t mask = pci_read(f, offset);
	pci_write(f, offset, old);
	return mask;
}

/* PCI Local Bus 3.0, "Base Addresses": the bits that can't be set are the size. */
static void bar_measure(const struct pci_function *f, unsigned index, struct pci_bar *bar)
{
	unsigned offset = bar_offset(index);
	uint32_t command = command_read(f);
	uint32_t low = pci_read(f, offset);
	uint64_t mask;

	pci_write(f, REG_COMMAND, command & ~COMMAND_DECODE);
	bar->is_io = low & BAR_IO;
	if (bar->is_io) {
		bar->base = low & BAR_IO_MASK;
		/* The upper 16 bits may be hard-wired to zero. */
		mask = bar_probe(f, offset, low) & BAR_IO_MASK;
		bar->size = mask ? -(mask | ~0xffffull) : 0;
	} else {
		bar->base = low & BAR_MEM_MASK;
		mask = bar_probe(f, offset, low) & BAR_MEM_MASK;
		if (bar_is_64(low)) {
			uint32_t high = pci_read(f, offset + 4);

			bar->base |= (uint64_t)high << 32;
			mask |= (uint64_t)bar_probe(f, offset + 4, high) << 32;
		} else if (mask) {
			mask |= (uint64_t)UINT32_MAX << 32;
		}
		bar->size = -mask;
	}
	pci_write(f, REG_COMMAND, command);
}

int pci_bar(const struct pci_function *f, unsigned index, struct pci_bar *bar)
{
	if (index >= PCI_BAR_COUNT || f->header_type != HEADER_DEVICE || !bar_begins_at(f, index))
		return ERR_NOENT;

	uint32_t low = pci_read(f, bar_offset(index));

	if (bar_is_64(low) && index == PCI_BAR_COUNT - 1)
		return ERR_INVALID;
	if (!(low & BAR_IO) && !bar_is_64(low) && (low & BAR_TYPE_MASK) != BAR_TYPE_32)
		return ERR_INVALID;
	bar_measure(f, index, bar);
	if (!bar->size || !bar->base)
		return ERR_NOENT;
	/* With a power of two and an aligned base, the end can't wrap. */
	if (bar->size & (bar->size - 1) || bar->base & (bar->size - 1))
		return ERR_INVALID;
	return 0;
}

void *pci_map_bar(const struct driver_env *env, const struct pci_function *f, unsigned index,
	uint64_t offset, uint64_t size)
{
	struct pci_bar bar;

	if (pci_bar(f, index, &bar) || bar.is_io)
		return NULL;
	if (!size || size > bar.size || offset > bar.size - size)
		return NULL;
	return env->map_mmio(env->ctx, bar.base + offset, size);
}

/* ---- capabilities ---------------------------------------------------------------------------- */

struct pci_capabilities pci_capabilities(const struct pci_function *f)
{
	struct pci_capabilities walk = {.left = CAPABILITY_MAX};

	if (pci_read(f, REG_COMMAND) & STATUS_CAPABILITIES)
		walk.next = (uint8_t)pci_read(f, REG_CAPABILITIES);
	return walk;
}

unsigned pci_capability_next(
	const struct pci_function *f, struct pci_capabilities *walk, uint8_t id, unsigned size)
{
	while (walk->left) {
		unsigned at = walk->next & 0xfc; /* the low bits are reserved */

		if (at < CAPABILITY_FIRST)
			break;

		uint32_t head = pci_read(f, at);

		walk->left--;
		walk->next = (uint8_t)(head >> 8);
		if ((uint8_t)head == id && at + size <= PCI_CONFIG_SIZE)
			return at;
	}
	return 0;
}

unsigned pci_capability_find(const struct pci_function *f, uint8_t id, unsigned size)
{
	struct pci_capabilities walk = pci_capabilities(f);

	return pci_capability_next(f, &walk, id, size);
}

/* PCI Express Base Specification, "Link Control Register". */
void pci_link_awake(const struct pci_function *f)
{
	unsigned at = pci_capability_find(f, CAP_EXPRESS, EXPRESS_SIZE);

	if (!at)
		return;
	uint32_t control = pci_read(f, at + EXPRESS_LINK) & LINK_CONTROL_MASK;
	pci_write(f, at + EXPRESS_LINK, control & ~LINK_ASPM_MASK);
}
