#include "hv/dev/bus.h"

#include "lib/bytes.h"

#define ADDRESS_ENABLED  (1u << 31)
#define ADDRESS_EXTENDED (15u << 24) /* register bits 11:8, which some processors take here */
#define ADDRESS_WRITABLE 0x8ffffffcu
#define DATA             4u
#define HEADER_SIZE      0x40u

/* A host bridge (class 6) which no driver wants: it says that there is a bus. */
static const uint8_t host_bridge[HEADER_SIZE] = {
	0x36, 0x1b, 0x08, 0x00, [0x0b] = 0x06,
};

bool bus_target(const struct bus *b, unsigned offset, unsigned *slot, unsigned *reg)
{
	uint32_t bus = b->address >> 16 & 0xff, function = b->address >> 8 & 7;

	if (offset < DATA || !(b->address & ADDRESS_ENABLED) || (b->address & ADDRESS_EXTENDED))
		return false;
	*slot = b->address >> 11 & 31;
	*reg = (b->address & 0xfc) + (offset & 3);
	return !bus && !function;
}

uint32_t bus_read(const struct bus *b, unsigned offset, unsigned size)
{
	unsigned slot, reg;
	uint32_t value = 0;

	if (offset == 0 && size == 4)
		return b->address;
	if (!bus_target(b, offset, &slot, &reg) || slot)
		return UINT32_MAX;
	for (unsigned i = 0; i < size && reg + i < HEADER_SIZE; i++)
		value |= (uint32_t)host_bridge[reg + i] << 8 * i;
	return value;
}

void bus_write(struct bus *b, unsigned offset, unsigned size, uint32_t value)
{
	/* Nothing of the bridge can be written. */
	if (offset == 0 && size == 4)
		b->address = value & (ADDRESS_WRITABLE | ADDRESS_EXTENDED);
}
