/* Linux guests on a machine of paper: what they do at their devices, and how they end. */
#include "hv/cpu.h"
#include "hv/dev/acpi.h"
#include "hv/dev/uart.h"
#include "tests/fake_linux.h"

#define FRAMES 2048

struct step {
	enum vm_exit_kind kind;
	uint32_t number; /* of a port or MSR */
	uint8_t size;    /* of an access to a port */
	bool in;
	uint64_t value; /* that is written, or the address of an access to memory */
};

#define OUT(port, size, value)                                                                     \
	{                                                                                          \
		EXIT_IO, port, size, false, value                                                  \
	}
#define IN(port, size)                                                                             \
	{                                                                                          \
		EXIT_IO, port, size, true, 0                                                       \
	}
#define WRMSR(msr, value)                                                                          \
	{                                                                                          \
		EXIT_MSR_WRITE, msr, 0, false, value                                               \
	}
#define RDMSR(msr)                                                                                 \
	{                                                                                          \
		EXIT_MSR_READ, msr, 0, true, 0                                                     \
	}
#define POWER_OFF OUT(ACPI_SLEEP_PORT, 1, ACPI_SLEEP_OFF)
#define RESTART   OUT(ACPI_RESET_PORT, 1, ACPI_RESET_VALUE)
#define SHUTDOWN                                                                                   \
	{                                                                                          \
		EXIT_SHUTDOWN, 0, 0, false, 0                                                      \
	}
#define HLT                                                                                        \
	{                                                                                          \
		EXIT_HLT, 0, 0, false, 0                                                           \
	}

static const struct step *steps;
static uint64_t answer[FAKE_LINUX_OPS]; /* what RAX, and RDX behind it, held after each step */

static bool one_step(struct core *core, struct vcpu *v, struct vm_exit *out)
{
	unsigned at = fake_linux_at(out->rip);
	const struct step *s = &steps[at];

	(void)core;
	if (at)
		answer[at - 1] = (uint32_t)v->regs[REG_RAX] | v->regs[REG_RDX] << 32;
	v->regs[REG_RAX] = (uint32_t)s->value;
	v->regs[REG_RDX] = s->value >> 32;
	v->regs[REG_RCX] = s->number;
	out->kind = s->kind;
	if (s->kind == EXIT_MEMORY) {
		out->memory.gpa = s->value;
		out->memory.access = GMEM_READ;
	}
	if (s->kind == EXIT_IO) {
		out->io.port = (uint16_t)s->number;
		out->io.size = s->size;
		out->io.in = s->in;
	}
	return true;
}

static void begin(void)
{
	fake_start(1, FRAMES, 0);
	fake_host_op = one_step;
}

/* A guest that makes these steps, and what became of it. */
#define RUN(...)                                                                                   \
	({                                                                                         \
		static const struct step steps_[FAKE_LINUX_OPS] = {__VA_ARGS__};                   \
		steps = steps_;                                                                    \
		run_steps("");                                                                     \
	})

static struct guest_info run_steps(const char *input)
{
	static const struct guest_options o = {.input_open = true};
	uint64_t image = fake_linux_image("linux"), id;
	struct guest_info info;

	CHECK_EQ(guest_run(image, &o, &id), 0);
	CHECK_EQ(image_remove(image), 0);
	CHECK_EQ(guest_input(id, (const uint8_t *)input, strlen(input)), (int64_t)strlen(input));
	fake_run(20);
	CHECK_EQ(guest_get(id, &info), 0);
	return info;
}

static void end(void)
{
	struct guest_info g;

	for (uint64_t id = 0; guest_next(id, &g) == 0; id = g.id) {
		if (g.state != GUEST_STOPPED)
			CHECK_EQ(guest_kill(g.id), 0);
		(void)guest_remove(g.id);
	}
	fake_end();
}

/* A guest that says something on ttyS0, a byte each, then makes one more step. */
static struct guest_info say(const char *text, struct step last)
{
	static struct step said[FAKE_LINUX_OPS];
	unsigned n = 0;

	memset(said, 0, sizeof(said));
	for (; text[n]; n++) {
		CHECK(n < FAKE_LINUX_OPS - 1);
		said[n] = (struct step)OUT(UART_PORT, 1, (uint8_t)text[n]);
	}
	said[n] = last;
	steps = said;
	return run_steps("");
}

/* ---- how it ends ------------------------------------------------------------------------------ */

TEST(power_off_and_restart_are_told_apart)
{
	begin();
	CHECK_EQ(RUN(OUT(ACPI_SLEEP_PORT, 1, 0x14), POWER_OFF).stop, STOP_POWER_OFF);
	CHECK_EQ(RUN(OUT(ACPI_RESET_PORT, 1, 0), RESTART).stop, STOP_REBOOT);
	CHECK_EQ(RUN(SHUTDOWN).stop, STOP_TRIPLE_FAULT);
	end();
}

#define PANIC "Kernel panic - not syncing: Oh\n"

TEST(a_panic_is_one_however_it_ends)
{
	static const struct step ends[] = {RESTART, SHUTDOWN, POWER_OFF};

	begin();
	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		struct guest_info info = say(PANIC, ends[i]);

		CHECK_EQ(info.stop, STOP_PANIC);
		CHECK_STR(info.reason, "kernel panic: Oh");
	}
	end();
}

TEST(a_panics_text_has_no_control_characters)
{
	begin();
	struct guest_info info =
		say("Kernel panic - not syncing: \033[2J\x9b\xff\t\n", (struct step)RESTART);

	CHECK_EQ(info.stop, STOP_PANIC);
	CHECK_STR(info.reason, "kernel panic: ?[2J???");
	end();
}

TEST(an_address_without_memory_is_named)
{
	begin();
	struct guest_info info = RUN({EXIT_MEMORY, 0, 0, false, 0xfed40000});

	CHECK_EQ(info.stop, STOP_BAD_ADDRESS);
	CHECK(strstr(info.reason, "0xfed40000"));
	end();
}

/* ---- ports and MSRs --------------------------------------------------------------------------- */

TEST(input_comes_by_the_uart)
{
	static const struct step read[FAKE_LINUX_OPS] = {IN(UART_PORT + 5, 1), IN(UART_PORT, 1),
		IN(UART_PORT, 1), IN(UART_PORT, 1), POWER_OFF};

	begin();
	steps = read;
	CHECK_EQ(run_steps("ab").stop, STOP_POWER_OFF);
	CHECK_EQ(answer[0] & 0xff, 0x61);
	CHECK_EQ(answer[1] & 0xff, 'a');
	CHECK_EQ(answer[2] & 0xff, 'b');
	CHECK_EQ(answer[3] & 0xff, 0);
	end();
}

TEST(a_deadline_wakes_a_halted_guest)
{
	begin();
	CHECK_EQ(RUN(WRMSR(0x80f, 0x1ff), WRMSR(0x832, 0x40040), WRMSR(0x6e0, 1 << 30), HLT,
			 POWER_OFF)
			 .stop,
		STOP_POWER_OFF);
	end();
}

TEST(ports_that_nobody_has_float_and_msrs_fault)
{
	begin();
	CHECK_EQ(RUN(IN(0x80, 4), IN(UART_PORT, 4), IN(0xcf9, 4), OUT(0xffff, 4, 1), RDMSR(0x1b),
			 POWER_OFF)
			 .stop,
		STOP_POWER_OFF);
	CHECK_EQ(answer[0] & UINT32_MAX, UINT32_MAX);
	CHECK_EQ(answer[1] & UINT32_MAX, UINT32_MAX);
	CHECK_EQ(answer[2] & UINT32_MAX, UINT32_MAX);
	CHECK_EQ(answer[4], 0xfee00d00);
	end();
}
