/*
 * A guest that knows no mercy. It sets its devices up as drivers do, and then, by chance and in any
 * order, reads and writes every port and MSR, PCI configuration space, what its devices are asked
 * and where their rings and MSI-X entries lead, BARs that lie over RAM and over each other, and
 * memory. seed= and rounds= say which and how many; without a seed it is the guest's number. In the
 * end it tells how deep it came.
 */
#include "tests/linux/board.h"

#define CONFIG     0xcf8u
#define SLOTS      5
#define QUEUES     6
#define RING_SIZE  64
#define BUFFERS    16
#define NOTIFY     0x3cu
#define BAR_PORTS  0x80u
#define BAR_PORT   0xc000u
#define BAR_MEMORY 0xe0000000u
#define NET        3u

#define DESC_NEXT  1u
#define DESC_WRITE 2u

#define MSR_DEADLINE 0x6e0u
#define MSR_TPR      0x808u
#define MSR_SVR      0x80fu
#define MSR_TIMER    0x832u
#define TIMER_ARMED  0x40030u /* deadline mode */
#define WAKE_TICKS   20000

#define RAM       (34u << 20)
#define SELF      (16u << 20)
#define SELF_SIZE (1u << 20)

struct desc {
	uint64_t gpa;
	uint32_t size;
	uint16_t flags, next;
};

struct ring {
	struct desc desc[RING_SIZE];
	struct {
		uint16_t flags, index, entry[RING_SIZE];
	} avail __attribute__((aligned(64)));
	struct {
		uint16_t flags, index;
		struct {
			uint32_t head, size;
		} entry[RING_SIZE];
	} used __attribute__((aligned(64)));
};

static struct ring rings[SLOTS][QUEUES] __attribute__((aligned(PAGE)));
static uint16_t offered[SLOTS][QUEUES], seen[SLOTS][QUEUES];
static uint64_t served[SLOTS]; /* chains that came back, by device */
static unsigned queues[SLOTS]; /* 0: no such device */
static uint64_t state;

/* Far from ourselves, since what devices write may be longer than a buffer. */
static uint8_t (*const buffer)[PAGE] = (uint8_t(*)[PAGE])(20u << 20);

static uint64_t chance(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Small numbers as often as large ones. */
static uint64_t number(void)
{
	uint64_t v = chance();

	return v >> (chance() & 63);
}

static unsigned below(unsigned n)
{
	return (unsigned)(chance() >> 16) % n;
}

/* ---- the devices, as they are meant ----------------------------------------------------------- */

static uint32_t config_address(unsigned slot, unsigned reg)
{
	return 1u << 31 | slot << 11 | (reg & 0xfc);
}

static uint32_t config_read(unsigned slot, unsigned reg)
{
	out(CONFIG, 4, config_address(slot, reg));
	return in(CONFIG + 4, 4);
}

static void config_write(unsigned slot, unsigned reg, uint32_t v)
{
	out(CONFIG, 4, config_address(slot, reg));
	out(CONFIG + 4, 4, v);
}

static unsigned port_of(unsigned slot)
{
	return BAR_PORT + slot * BAR_PORTS;
}

static volatile uint32_t *vector_of(unsigned slot, unsigned n)
{
	return (volatile uint32_t *)(uintptr_t)(BAR_MEMORY + slot * PAGE + n * 16);
}

static void set_vector(unsigned slot, unsigned n, uint64_t to, uint32_t data, uint32_t control)
{
	volatile uint32_t *entry = vector_of(slot, n);

	entry[0] = (uint32_t)to;
	entry[1] = (uint32_t)(to >> 32);
	entry[2] = data;
	entry[3] = control;
}

static void set_queue(unsigned slot, unsigned n)
{
	struct ring *r = &rings[slot][n];
	unsigned port = port_of(slot);

	memset(r, 0, sizeof(*r));
	offered[slot][n] = seen[slot][n] = 0;
	set_vector(slot, n, 0xfee00000, 0x40 + slot * 8 + n, 0);
	out(port + 0x16, 2, n);
	out(port + 0x18, 2, RING_SIZE);
	out(port + 0x1a, 2, n);
	out(port + 0x20, 4, (uint32_t)(uintptr_t)r->desc);
	out(port + 0x24, 4, 0);
	out(port + 0x28, 4, (uint32_t)(uintptr_t)&r->avail);
	out(port + 0x2c, 4, 0);
	out(port + 0x30, 4, (uint32_t)(uintptr_t)&r->used);
	out(port + 0x34, 4, 0);
	out(port + 0x1c, 2, 1);
}

/* VIRTIO 1.1, "Device Initialization". */
static void set_up(unsigned slot)
{
	unsigned port = port_of(slot);

	config_write(slot, 0x10, port | 1);
	config_write(slot, 0x14, BAR_MEMORY + slot * PAGE);
	config_write(slot, 0x40, 0x80000000); /* MSI-X */
	out(port + 0x14, 1, 0);
	out(port + 0x14, 1, 3);
	out(port + 0x08, 4, 0);
	out(port, 4, 0);
	out(port + 0x0c, 4, in(port + 0x04, 4));
	out(port + 0x08, 4, 1);
	out(port + 0x0c, 4, 1);
	out(port + 0x14, 1, 11);
	for (unsigned n = 0; n < queues[slot]; n++)
		set_queue(slot, n);
	out(port + 0x14, 1, 15);
}

static void find_devices(void)
{
	for (unsigned slot = 1; slot < SLOTS; slot++) {
		if ((config_read(slot, 0) & 0xffff) != 0x1af4)
			continue;
		queues[slot] = in(port_of(slot) + 0x12, 2) % (QUEUES + 1);
		set_up(slot);
	}
}

static void count_served(void)
{
	for (unsigned slot = 1; slot < SLOTS; slot++) {
		for (unsigned n = 0; n < queues[slot]; n++) {
			uint16_t now = *(volatile uint16_t *)&rings[slot][n].used.index;

			if ((uint16_t)(now - seen[slot][n]) <= RING_SIZE)
				served[slot] += (uint16_t)(now - seen[slot][n]);
			seen[slot][n] = now;
		}
	}
}

/* ---- what they are asked ---------------------------------------------------------------------- */

static uint64_t any_address(void)
{
	static const uint64_t ends[] = {
		RAM, BAR_MEMORY, 1ull << 46, 1ull << 32, 1ull << 48, 0, 0xfee00000, ~0ull};

	if (chance() & 31)
		return (uintptr_t)buffer + below(BUFFERS * PAGE);
	return chance() & 3 ? ends[below(8)] + below(64) - 32 : chance();
}

/* What a device may be glad to find in a buffer. */
static void fill_buffer(unsigned slot, uint8_t *b)
{
	static const uint8_t arp[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 6, 0xc7, 0xee, 0, 0, 0, 8,
		6, 0, 1, 8, 0, 6, 4, 0, 1, 6, 0xc7, 0xee, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		100, 64, 0, 1};
	uint64_t number = in(port_of(NET) + 0x44, 2);

	memset(b, 0, 64);
	switch (slot) {
	case 1: /* a control message of the console */
		b[0] = (uint8_t)below(3);
		b[4] = (uint8_t)below(8);
		b[6] = (uint8_t)below(2);
		break;
	case NET:
		memcpy(b + 12, arp, sizeof(arp));
		b[12 + 11] = b[12 + 27] = (uint8_t)(number >> 8);
		b[12 + 10] = b[12 + 26] = (uint8_t)number;
		b[12 + 41] = (uint8_t)((number >> 8) * 4 + 1);
		b[12 + 40] = (uint8_t)(number >> 14);
		break;
	default: /* a request to the disk */
		b[0] = (uint8_t)(chance() & 1);
		b[8] = (uint8_t)below(80);
		break;
	}
	if (!(chance() & 7))
		b[below(64)] = (uint8_t)chance();
}

static void describe(struct desc *d, uint64_t gpa, uint32_t size, unsigned flags, unsigned next)
{
	*d = (struct desc){
		.gpa = gpa, .size = size, .flags = (uint16_t)flags, .next = (uint16_t)next};
}

/* A chain as the device wants it, but for a mistake here and there. */
static void make_chain(unsigned slot, struct ring *r, unsigned head)
{
	unsigned second = (head + 1) % RING_SIZE, third = (head + 2) % RING_SIZE;
	uint8_t *request = buffer[below(8)], *data = buffer[8 + below(7)];

	fill_buffer(slot, request);
	if (slot == 4) {
		bool write = request[0];

		describe(&r->desc[head], (uintptr_t)request, 16, DESC_NEXT, second);
		describe(&r->desc[second], (uintptr_t)data, 512u << below(4),
			DESC_NEXT | (write ? 0 : DESC_WRITE), third);
		describe(&r->desc[third], (uintptr_t)buffer[15], 1, DESC_WRITE, 0);
	} else {
		describe(&r->desc[head], (uintptr_t)request, slot == NET ? 54 : 8, 0, 0);
	}
	if (!(chance() & 15))
		describe(&r->desc[chance() & 1 ? head : third], any_address(), (uint32_t)number(),
			(unsigned)chance() & 7, below(70));
}

static void offer(unsigned slot, unsigned n)
{
	struct ring *r = &rings[slot][n];
	unsigned head = below(RING_SIZE);
	/* Of these the device writes. */
	bool gives = slot == 2 || n == 0 || (slot == 1 && !(n & 1));

	if (gives && slot != 4)
		describe(&r->desc[head], any_address(), 64 + below(1500), DESC_WRITE, 0);
	else
		make_chain(slot, r, head);
	r->avail.entry[offered[slot][n] % RING_SIZE] = (uint16_t)(chance() & 63 ? head : below(80));
	offered[slot][n]++;
	__asm__ volatile("" : : : "memory");
	r->avail.index = (uint16_t)(chance() & 255 ? offered[slot][n] : chance());
	out(port_of(slot) + NOTIFY, 2, n);
}

static void use_device(void)
{
	unsigned slot = 1 + below(SLOTS - 1);

	if (queues[slot])
		offer(slot, below(queues[slot]));
}

static void break_device(void)
{
	unsigned slot = 1 + below(SLOTS - 1);

	if (!queues[slot])
		return;
	switch (below(8)) {
	case 0:
		set_vector(slot, below(8), chance() & 1 ? any_address() : 0xfee00000,
			(uint32_t)number(), (uint32_t)chance() & 1);
		break;
	case 1: /* onto another device, the bus, the line, or anywhere */
		config_write(slot, 0x10, chance() & 1 ? port_of(1 + below(4)) : (uint32_t)number());
		break;
	case 2: /* over RAM, ourselves too, or where nothing is */
		config_write(
			slot, 0x14, chance() & 1 ? (uint32_t)any_address() : (uint32_t)chance());
		break;
	case 3:
		config_write(slot, below(64) * 4, (uint32_t)number());
		break;
	case 4:
		out(port_of(slot) + below(BAR_PORTS), 1u << below(3), (uint32_t)number());
		break;
	case 5:
		((uint8_t *)&rings[slot][below(QUEUES)])[below(sizeof(struct ring))] =
			(uint8_t)chance();
		break;
	default:
		set_up(slot);
		break;
	}
}

/* ---- ports, MSRs, memory ---------------------------------------------------------------------- */

static bool ends_it(unsigned port)
{
	return port + 3 >= 0x600 && port <= 0x602;
}

static void any_port(void)
{
	static const uint16_t near[] = {CONFIG, 0x3f8, BAR_PORT + BAR_PORTS,
		BAR_PORT + 2 * BAR_PORTS, BAR_PORT + 3 * BAR_PORTS, BAR_PORT + 4 * BAR_PORTS};
	unsigned port = (uint16_t)chance(), size = 1u << below(3);

	if (chance() & 3)
		port = near[below(6)] + below(16);
	if (chance() & 1)
		(void)in(port, size);
	else if (!ends_it(port))
		out(port, size, (uint32_t)number());
}

static void any_msr(void)
{
	static const uint32_t near[] = {
		0, 0x100, 0x200, 0x800, 0x6e0, 0xc0000080, 0xc0010000, 0x4b564d00, 0x40000000};
	uint32_t msr = (uint32_t)chance();

	if (chance() & 7)
		msr = near[below(9)] + below(256);
	if (chance() & 1)
		(void)rdmsr(msr);
	else
		wrmsr(msr, chance() & 3 ? number() : any_address());
}

static void scribble(void)
{
	uint64_t at = chance() % RAM & ~7ull;

	if (at < SELF || at >= SELF + SELF_SIZE)
		*(volatile uint64_t *)at = number();
}

static void ask_cpuid(void)
{
	static const uint32_t near[] = {0, 0x40000000, 0x80000000};
	uint32_t a = chance() & 7 ? near[below(3)] + below(16) : (uint32_t)chance(), c = below(16);

	__asm__ volatile("cpuid" : "+a"(a), "+c"(c) : : "rbx", "rdx");
}

/* Takes what is pending, and sleeps until the timer. */
static void sleep(void)
{
	wrmsr(MSR_SVR, 0x1ff);
	wrmsr(MSR_TPR, 0);
	wrmsr(MSR_TIMER, TIMER_ARMED);
	wrmsr(MSR_DEADLINE, tsc() + WAKE_TICKS);
	__asm__ volatile("sti\n nop\n cli" : : : "memory");
	if (rdmsr(MSR_DEADLINE))
		__asm__ volatile("sti\n hlt\n cli" : : : "memory");
}

static void tell(void)
{
	static const char *const names[SLOTS] = {"", " console ", " random ", " net ", " disk "};

	board_say_number("\ndone faults ", board_faults);
	board_say_number(" interrupts ", board_interrupts);
	for (unsigned slot = 1; slot < SLOTS; slot++)
		board_say_number(names[slot], served[slot]);
	board_say("\n");
}

void board_run(void)
{
	uint64_t rounds = board_option("rounds", 12000), seed;

	find_devices();
	seed = board_option("seed", in(port_of(NET) + 0x42, 4));
	board_say_number("seed ", seed);
	board_say("\n");
	state = seed * 0x9e3779b97f4a7c15 | 1;
	while (rounds--) {
		unsigned what = below(32);

		if (what < 10)
			any_port();
		else if (what < 16)
			any_msr();
		else if (what < 26)
			use_device();
		else if (what < 28)
			break_device();
		else if (what < 30)
			scribble();
		else if (what == 30)
			ask_cpuid();
		else
			sleep();
		count_served();
	}
	tell();
	board_end((unsigned)board_option("end", seed % ENDS));
}
