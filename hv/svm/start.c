/*
 * Is AMD-V usable on this machine, and switching it on, core by core.
 *
 * APM Vol 2, "Enabling SVM", "Intercept Operation".
 */
#include "hv/svm/svm.h"

#include "hv/svm/demands.h"
#include "lib/err.h"
#include "lib/string.h"

#define WHY_MAX 512

#define INTERCEPT1_WANTED                                                                          \
	(INTERCEPT1_INTR | INTERCEPT1_NMI | INTERCEPT1_SMI | INTERCEPT1_INIT | INTERCEPT1_RDPMC |  \
		INTERCEPT1_CPUID | INTERCEPT1_RSM | INTERCEPT1_INVD | INTERCEPT1_HLT |             \
		INTERCEPT1_INVLPGA | INTERCEPT1_IOIO | INTERCEPT1_MSR | INTERCEPT1_TASK_SWITCH |   \
		INTERCEPT1_FERR_FREEZE | INTERCEPT1_SHUTDOWN)
#define INTERCEPT2_WANTED                                                                          \
	(INTERCEPT2_VMRUN | INTERCEPT2_VMMCALL | INTERCEPT2_VMLOAD | INTERCEPT2_VMSAVE |           \
		INTERCEPT2_STGI | INTERCEPT2_CLGI | INTERCEPT2_SKINIT | INTERCEPT2_WBINVD |        \
		INTERCEPT2_MONITOR | INTERCEPT2_MWAIT | INTERCEPT2_MWAIT_ARMED |                   \
		INTERCEPT2_XSETBV | INTERCEPT2_RDPRU)

/* Of a port, and of a read and a write of an MSR: exit. One of each for all guests on all cores. */
static uint8_t iopm[IOPM_SIZE] ALIGNED(PAGE_SIZE);
static uint8_t msrpm[MSRPM_SIZE] ALIGNED(PAGE_SIZE);

/* MSRs that are switched with the guest, by VMLOAD and VMSAVE. TSC_AUX is too, by load() and
 * store(). */
static const uint32_t switched_msrs[] = {
	MSR_FS_BASE,
	MSR_GS_BASE,
	MSR_KERNEL_GS_BASE,
	MSR_STAR,
	MSR_LSTAR,
	MSR_CSTAR,
	MSR_SFMASK,
	MSR_SYSENTER_CS,
	MSR_SYSENTER_ESP,
	MSR_SYSENTER_EIP,
};

/* Host memory is identity mapped. */
static hpa_t physical(const void *p)
{
	return (uintptr_t)p;
}

/* "MSR Intercepts" */
static void msr_pass(uint32_t msr)
{
	static const uint32_t ranges[] = {0, 0xc0000000, 0xc0010000};

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		uint32_t n = msr - ranges[i];

		if (n < MSRPM_RANGE_MSRS)
			msrpm[i * MSRPM_RANGE_BYTES + n / 4] &= (uint8_t) ~(3u << n % 4 * 2);
	}
}

static bool has_tsc_aux(void)
{
	return (cpuid(CPUID_EXT_FEATURES).edx & CPUID_X1_EDX_RDTSCP) ||
	       (cpuid_sub_checked(CPUID_EXTENDED, 0).ecx & CPUID_7_ECX_RDPID);
}

static void read_facts(struct svm_facts *f)
{
	struct cpuid_regs extended = cpuid(CPUID_EXT_FEATURES), svm = cpuid(CPUID_SVM);

	*f = (struct svm_facts){.extended_ecx = extended.ecx, .extended_edx = extended.edx};
	if (!(extended.ecx & CPUID_X1_ECX_SVM))
		return;
	f->asids = svm.ebx;
	f->svm_edx = svm.edx;
	f->vm_cr = rdmsr(MSR_VM_CR);
}

int svm_probe(struct vm_caps *caps, char *why, size_t why_size)
{
	struct svm_facts f;

	read_facts(&f);
	if (!svm_demands_met(&f, why, why_size))
		return ERR_UNSUPPORTED;
	*caps = (struct vm_caps){
		.tlb = {.flush_by_tag = f.svm_edx & CPUID_SVM_EDX_FLUSH_BY_ASID},
		.tag_count = f.asids - 1,
		.cr4_possible = UINT64_MAX, /* VMRUN checks for itself, and the guest's MOV before it */
		.traps_control_regs = f.svm_edx & CPUID_SVM_EDX_DECODE_ASSIST,
	};
	memset(iopm, 0xff, sizeof(iopm));
	memset(msrpm, 0xff, sizeof(msrpm));
	for (size_t i = 0; i < ARRAY_SIZE(switched_msrs); i++)
		msr_pass(switched_msrs[i]);
	if (has_tsc_aux())
		msr_pass(MSR_TSC_AUX);
	return 0;
}

/* Bits of intercept_misc3 are reserved where CPUID doesn't offer their instructions. */
static uint32_t intercept_misc3(void)
{
	uint32_t offered = cpuid(CPUID_ADDRESS_SIZES).ebx, bits = 0;

	if (offered & CPUID_X8_EBX_INVLPGB)
		bits |= INTERCEPT3_INVLPGB | INTERCEPT3_INVLPGB_ILLEGAL | INTERCEPT3_TLBSYNC;
	if (offered & CPUID_X8_EBX_MCOMMIT)
		bits |= INTERCEPT3_MCOMMIT;
	return bits;
}

/* The fields that no guest and no exit changes. */
static void write_controls(struct vmcb_control *c, const struct svm_facts *f)
{
	/* Only a trap can deny bits of CR4, and only decode assists tell which are written. */
	if (f->svm_edx & CPUID_SVM_EDX_DECODE_ASSIST)
		c->intercept_cr_write = INTERCEPT_CR_WRITE(4);
	c->intercept_exceptions = INTERCEPT_VECTOR(VECTOR_DB) | INTERCEPT_VECTOR(VECTOR_AC) |
				  INTERCEPT_VECTOR(VECTOR_MC);
	c->intercept_misc1 = INTERCEPT1_WANTED;
	c->intercept_misc2 = INTERCEPT2_WANTED;
	c->intercept_misc3 = intercept_misc3();
	c->iopm_base = physical(iopm);
	c->msrpm_base = physical(msrpm);
	c->int_ctl = INT_CTL_V_INTR_MASKING;
	c->np_enable = NP_ENABLE;
}

/* SVMDIS is cleared where it isn't locked. VMSAVE keeps the host's TR, FS, GS, LDTR and system call
 * MSRs once and for all: nothing changes them from here on. */
static void svm_on(struct vmcb *host, hpa_t host_save)
{
	uint64_t vm_cr = rdmsr(MSR_VM_CR);

	if (vm_cr & VM_CR_SVMDIS)
		wrmsr(MSR_VM_CR, vm_cr & ~VM_CR_SVMDIS);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, host_save);
	__asm__ volatile("vmsave %0" ::"a"(physical(host)) : "memory");
}

/* Begin to mirror the registers that load() and store() switch. */
static void read_mirrors(struct svm_core *c)
{
	c->dr[0] = read_dr0();
	c->dr[1] = read_dr1();
	c->dr[2] = read_dr2();
	c->dr[3] = read_dr3();
	if (c->has_tsc_aux)
		c->tsc_aux = rdmsr(MSR_TSC_AUX);
	if (c->has_xss)
		c->xss = rdmsr(MSR_XSS);
}

static int alloc_page(struct core *core, struct frame_pool *pool, void **out)
{
	hpa_t hpa;
	int err = frame_alloc(pool, core->id, core->node, FRAME_HOST, NULL, FRAME_ZEROED, &hpa);

	if (err < 0)
		return err;
	*out = frame_ptr(pool, hpa);
	return 0;
}

int svm_core_start(struct core *core, struct frame_pool *pool)
{
	char why[WHY_MAX];
	struct svm_facts f;
	struct svm_core *c;
	void *own, *vmcb, *host, *host_save;
	int err;

	read_facts(&f);
	if (!svm_demands_met(&f, why, sizeof(why)))
		return ERR_UNSUPPORTED;
	if ((err = alloc_page(core, pool, &own)) < 0 || (err = alloc_page(core, pool, &vmcb)) < 0 ||
		(err = alloc_page(core, pool, &host)) < 0 ||
		(err = alloc_page(core, pool, &host_save)) < 0)
		return err; /* the core will not be used, and start is not tried again */
	c = own;
	c->vmcb = vmcb;
	c->host = host;
	c->clean = f.svm_edx & CPUID_SVM_EDX_CLEAN_BITS ? CLEAN_ALL : 0;
	c->has_next_rip = f.svm_edx & CPUID_SVM_EDX_NEXT_RIP;
	c->has_flush_by_asid = f.svm_edx & CPUID_SVM_EDX_FLUSH_BY_ASID;
	c->has_tsc_aux = has_tsc_aux();
	c->has_xsave = read_cr4() & CR4_OSXSAVE;
	c->has_xss = c->has_xsave && (cpuid_sub_checked(CPUID_XSAVE, 1).eax & CPUID_D1_EAX_XSAVES);
	c->cr4_forced = read_cr4() & CR4_MCE;
	write_controls(&c->vmcb->control, &f);
	svm_on(c->host, physical(host_save));
	read_mirrors(c);
	/* Translations of whoever used AMD-V before us, firmware included, may still be there. */
	c->vmcb->control.tlb_control = TLB_CONTROL_FLUSH_ALL;
	core->vm = c;
	return 0;
}
