#include "hv/svm/demands.h"

#include "hv/cpu.h"
#include "tests/unit/test.h"

static const struct svm_facts whole = {
	.extended_ecx = CPUID_X1_ECX_SVM,
	.extended_edx = CPUID_X1_EDX_NX,
	.asids = 2,
	.svm_edx = CPUID_SVM_EDX_NESTED_PAGING,
};

static char why[512];

TEST(svm_demands_are_met_without_anything_optional)
{
	CHECK(svm_demands_met(&whole, why, sizeof(why)));
	CHECK_STR(why, "");
}

TEST(svm_absent_is_told_alone)
{
	struct svm_facts f = {0};

	CHECK(!svm_demands_met(&f, why, sizeof(why)));
	CHECK_STR(why,
		"The processor has no AMD-V (SVM): use one that has, or let the hypervisor below "
		"offer it (nested virtualisation).");
}

TEST(svm_each_missing_demand_is_named)
{
	struct svm_facts f = whole;

	f.svm_edx = 0;
	CHECK(!svm_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(why, "AMD-V lacks nested paging: use"));
	f.asids = 1;
	f.extended_edx = 0;
	CHECK(!svm_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(
		why, "AMD-V lacks nested paging, ASIDs for guests, no-execute pages (NX): use"));
}

TEST(svm_disabled_by_firmware_only_when_locked)
{
	struct svm_facts f = whole;

	f.vm_cr = VM_CR_SVMDIS;
	CHECK(svm_demands_met(&f, why, sizeof(why)));
	f.vm_cr = VM_CR_LOCK;
	CHECK(svm_demands_met(&f, why, sizeof(why)));
	f.vm_cr = VM_CR_SVMDIS | VM_CR_LOCK;
	CHECK(!svm_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(why, "AMD-V is disabled in the firmware set-up: enable it there"));
	f.asids = 0;
	CHECK(!svm_demands_met(&f, why, sizeof(why)));
	CHECK(strstr(why, "ASIDs for guests"));
	CHECK(strstr(why, " And AMD-V is disabled in the firmware set-up"));
}

TEST(svm_sentence_stays_in_its_buffer)
{
	struct svm_facts f = {.extended_ecx = CPUID_X1_ECX_SVM, .vm_cr = VM_CR_SVMDIS | VM_CR_LOCK};
	char small[40];

	memset(small, 'x', sizeof(small));
	CHECK(!svm_demands_met(&f, small, 30));
	CHECK_EQ(strlen(small), 29);
	CHECK_EQ(small[30], 'x');
}
