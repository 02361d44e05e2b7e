/* From the entry to main(), and from an exception to a reason that a person can read. */
#include "internal.h"

#define TRAPS       32
#define GATE_PRESENT_INTERRUPT 0x8e00ull
#define CODE_SELECTOR 0x08ull
#define STUB_SIZE   16
#define VECTOR_PAGE_FAULT 14

struct gate {
	uint64_t low, high;
};

struct __attribute__((packed)) descriptor_table {
	uint16_t limit;
	uint64_t base;
};

char **creel_environment;
struct creel_info creel_self;

static struct gate idt[TRAPS] __attribute__((aligned(16)));
extern uint8_t creel_trap_stubs[];

static void install_traps(void)
{
	const struct descriptor_table t = {sizeof(idt) - 1, (uint64_t)idt};

	for (int i = 0; i < TRAPS; i++) {
		uint64_t at = (uint64_t)(creel_trap_stubs + i * STUB_SIZE);

		idt[i].low = (at & 0xffff) | CODE_SELECTOR << 16 | GATE_PRESENT_INTERRUPT << 32 |
			     (at >> 16 & 0xffff) << 48;
		idt[i].high = at >> 32;
	}
	__asm__ volatile("lidt %0" : : "m"(t));
}

void creel_trap(uint64_t vector, uint64_t error, uint64_t rip, uint64_t cr2)
{
	char text[96];

	if (vector == VECTOR_PAGE_FAULT)
		snprintf(text, sizeof(text), "page fault at %#lx, address %#lx, error %#lx", rip, cr2,
			error);
	else
		snprintf(text, sizeof(text), "exception %lu at %#lx, error %#lx", vector, rip, error);
	creel_crash(text);
}

/* All strings in one block, behind a vector of pointers to them. */
static char **split(char *block, uint64_t count)
{
	char **v = malloc((count + 1) * sizeof(*v));

	if (!v)
		creel_crash("no memory for the arguments");
	for (uint64_t i = 0; i < count; i++) {
		v[i] = block;
		block += strlen(block) + 1;
	}
	v[count] = NULL;
	return v;
}

void creel_start(void)
{
	uint64_t counts = 0;

	install_traps();
	creel_info(&creel_self);
	int64_t size = creel_args(NULL, 0, &counts);
	uint32_t argc = (uint32_t)counts, envc = (uint32_t)(counts >> 32);
	char **all = NULL;

	if (size > 0) {
		char *block = malloc((size_t)size);

		if (!block)
			creel_crash("no memory for the arguments");
		creel_args(block, (size_t)size, NULL);
		all = split(block, (uint64_t)argc + envc);
		creel_environment = all + argc;
		char **argv = malloc((argc + 1ul) * sizeof(*argv));

		if (!argv)
			creel_crash("no memory for the arguments");
		memcpy(argv, all, argc * sizeof(*argv));
		argv[argc] = NULL;
		creel_exit(main((int)argc, argv));
	}
	static char *none[] = {NULL};

	creel_environment = none;
	creel_exit(main(0, none));
}
