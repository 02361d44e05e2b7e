#include "hv/vmx/demands.h"

#include "hv/cpu.h"
#include "tests/unit/test.h"

#define MAY(bits) ((uint64_t)(bits) << 32)

/* Exactly what is demanded, and nothing more. */
static const struct vmx_facts whole = {
	.cpuid_ecx = CPUID_1_ECX_VMX,
	.basic = BASIC_TRUE_CONTROLS | MEMORY_TYPE_WB << BASIC_TYPE_SHIFT,
	.misc = MISC_EXIT_SAVES_LMA,
	.pin = MAY(PIN_WANTED),
	.proc = MAY(PROC_WANTED | PROC_AT_TIMES),
	.proc2 = MAY(PROC2_WANTED),
	.exit = MAY(EXIT_WANTED),
	.entry = MAY(ENTRY_WANTED | ENTRY_AT_TIMES),
	.ept_vpid = EPT_CAP_WALK_4 | EPT_CAP_WB | EPT_CAP_INVEPT | EPT_CAP_INVEPT_SINGLE |
		EPT_CAP_INVEPT_ALL | EPT_CAP_INVVPID | EPT_CAP_INVVPID_ALL,
};

static char why[1024];

TEST(vmx_demands_are_met_without_anything_optional)
{
	struct vmx_facts f = whole;

	CHECK(vmx_demands_met(&f, why, sizeof(why)));
	CHECK_STR(why, "");
	f.feature_control = FEATURE_LOCKED | FEATURE_VMX_OUTSIDE_SMX;
	CHECK(vmx_demands_met(&f, why, sizeof(why)));
}

TEST(vmx_absent_is_told_alone)
{
	struct vmx_facts f = { 0 };

	CHECK(!vmx_demands_met(&f, why, sizeof(why)));
	CHECK_STR(why, "The processor has no VT-x: use one that has, or let the hypervisor below "
		"offer it (nested virtualisation).");
}

/* Take away each bit that `whole` has: every one is a demand of its own, none goes unseen. */
TEST(vmx_each_bit_is_demanded)
{
	static const size_t words[] = {
		offsetof(struct vmx_facts, basic), offsetof(struct vmx_facts, misc),
		offsetof(struct vmx_facts, pin), offsetof(struct vmx_facts, proc),
		offsetof(struct vmx_facts, proc2), offsetof(struct vmx_facts, exit),
		offsetof(struct vmx_facts, entry), offsetof(struct vmx_facts, ept_vpid),
	};

	for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			struct vmx_facts f = whole;
			uint64_t *word = (uint64_t *)((uint8_t *)&f + words[w]);

			if (!(*word >> bit & 1))
				continue;
			*word &= ~(1ull << bit);
			CHECK(!vmx_demands_met(&f, why, sizeof(why)));
			CHECK(strncmp(why, "VT-x lacks ", 11) == 0);
		}
	}
}

TEST(vmx_everything_missing_is_named)
{
	struct vmx_facts f = whole;

	f.proc2 &= ~MAY(PROC2_EPT | PROC2_UNRESTRICTED);
	CHECK(!vmx_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(why, "VT-x lacks EPT, unrestricted guest: use an Intel processor of 2010"));
	f = whole;
	f.ept_vpid &= ~EPT_CAP_INVEPT_SINGLE;
	CHECK(!vmx_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(why, "VT-x lacks single-context INVEPT: use"));
	f = whole;
	f.proc |= PROC_CR3_LOAD_EXITING;
	CHECK(!vmx_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(why, "VT-x lacks free CR3 and INVLPG: use"));
	f = whole;
	f.basic |= BASIC_32BIT_ADDRESSES;
	CHECK(!vmx_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(why, "VT-x lacks VMCSs above 4 GiB: use"));
}

TEST(vmx_guest_instructions_are_demanded_where_the_processor_has_them)
{
	struct vmx_facts f = whole;

	f.has_rdtscp = f.has_invpcid = f.has_xsaves = true;
	CHECK(!vmx_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(why, "VT-x lacks RDTSCP in guests, INVPCID in guests, XSAVES in guests: use"));
	f.proc2 |= MAY(PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES);
	CHECK(vmx_demands_met(&f, why, sizeof(why)));
}

TEST(vmx_disabled_by_firmware_only_when_locked)
{
	struct vmx_facts f = whole;

	f.feature_control = FEATURE_LOCKED;
	CHECK(!vmx_demands_met(&f, why, sizeof(why)));
	CHECK(strncmp(why, "VT-x is disabled in the firmware set-up: enable it there", 56) == 0);
	f.proc2 &= ~MAY(PROC2_VPID);
	CHECK(!vmx_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(why, "VT-x lacks VPID"));
	CHECK(strstr(why, " And VT-x is disabled in the firmware set-up"));
}

TEST(vmx_sentence_stays_in_its_buffer)
{
	struct vmx_facts f = { .cpuid_ecx = CPUID_1_ECX_VMX, .feature_control = FEATURE_LOCKED };
	char small[40];

	memset(small, 'x', sizeof(small));
	CHECK(!vmx_demands_met(&f, small, 30));
	CHECK_EQ(strlen(small), 29);
	CHECK_EQ(small[30], 'x');
}

TEST(vmx_control_word_keeps_what_must_be_and_drops_what_may_not)
{
	CHECK_EQ(vmx_control_word(MAY(0x17) | 0x16, 0x09), 0x17);
	CHECK_EQ(vmx_control_word(MAY(0xf0) | 0x10, 0x0f), 0x10);
}
