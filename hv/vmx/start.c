/*
 * VT-x, once per machine and once per core: the probe, VMXON, and all of the VMCS that stays the same
 * for every guest (controls, host state).
 *
 * SDM Vol 3, "Introduction to Virtual Machine Extensions" (enabling and entering VMX operation) and
 * "Virtual Machine Control Structures".
 */
#include "hv/vmx/vmx.h"

#include "hv/vmx/demands.h"
#include "lib/string.h"

#define WHY_MAX 64

/* #DB and #AC can be raised in their own delivery for ever; #MC is the host's. */
#define EXCEPTIONS_INTERCEPTED (1u << VECTOR_DB | 1u << VECTOR_AC | 1u << VECTOR_MC)

/* Guests change these by themselves. Everything else exits: CR0.CD and NW, CR4.MCE (a machine check
 * with it clear shuts the processor down), VMXE, and all that CPUID does not offer. */
#define CR0_GUEST_OWNED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_WP | CR0_AM | CR0_PG)
#define CR4_GUEST_OWNED                                                                            \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE |            \
		CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE |  \
		CR4_SMEP | CR4_SMAP)

const struct vmx_switched_msr vmx_switched_msrs[VMX_SWITCHED_MSRS] = {
	{ MSR_STAR, offsetof(struct vcpu, star) },
	{ MSR_LSTAR, offsetof(struct vcpu, lstar) },
	{ MSR_CSTAR, offsetof(struct vcpu, cstar) },
	{ MSR_SFMASK, offsetof(struct vcpu, sfmask) },
	{ MSR_KERNEL_GS_BASE, offsetof(struct vcpu, kernel_gs_base) },
	{ MSR_TSC_AUX, offsetof(struct vcpu, tsc_aux) },
};

/* Those that the VMCS holds and that guests may use without exits. */
static const uint32_t vmcs_msrs[] = {
	MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_PAT, MSR_FS_BASE, MSR_GS_BASE,
};

/*
 * SDM Vol 3, "MSR-Bitmap Address": a bit for each MSR, 1 exits. MSRs 0 to 1fff in the first KiB,
 * c0000000 to c0001fff in the second, and the same for writes in the third and fourth.
 */
static uint8_t msr_bitmap[PAGE_SIZE] ALIGNED(PAGE_SIZE);

#define MSR_BITMAP_HIGH    KIB
#define MSR_BITMAP_WRITES  (2 * KIB)
#define MSR_HIGH_BASE      0xc0000000u
#define MSR_BITMAP_RANGE   0x2000u

static uint64_t physical(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static void msr_pass(uint32_t msr)
{
	uint32_t index = msr % MSR_BITMAP_RANGE;
	uint8_t *reads = msr_bitmap + (msr >= MSR_HIGH_BASE ? MSR_BITMAP_HIGH : 0);
	uint8_t bit = (uint8_t)(1u << index % 8);

	reads[index / 8] &= (uint8_t)~bit;
	reads[MSR_BITMAP_WRITES + index / 8] &= (uint8_t)~bit;
}

static void read_facts(struct vmx_facts *f)
{
	memset(f, 0, sizeof(*f));
	f->cpuid_ecx = cpuid(CPUID_FEATURES).ecx;
	if (!(f->cpuid_ecx & CPUID_1_ECX_VMX))
		return;
	f->has_rdtscp = cpuid(CPUID_EXT_FEATURES).edx & CPUID_X1_EDX_RDTSCP;
	f->has_invpcid = cpuid_sub_checked(CPUID_EXTENDED, 0).ebx & CPUID_7_EBX_INVPCID;
	f->has_xsaves = cpuid_sub_checked(CPUID_XSAVE, 1).eax & CPUID_D1_EAX_XSAVES;
	f->feature_control = rdmsr(MSR_FEATURE_CONTROL);
	f->basic = rdmsr(MSR_VMX_BASIC);
	f->misc = rdmsr(MSR_VMX_MISC);
	if (!(f->basic & BASIC_TRUE_CONTROLS))
		return; /* and no EPT either: such processors are older */
	f->pin = rdmsr(MSR_VMX_PIN_CONTROLS);
	f->proc = rdmsr(MSR_VMX_PROC_CONTROLS);
	f->exit = rdmsr(MSR_VMX_EXIT_CONTROLS);
	f->entry = rdmsr(MSR_VMX_ENTRY_CONTROLS);
	if (f->proc >> 32 & PROC_SECONDARY)
		f->proc2 = rdmsr(MSR_VMX_PROC2_CONTROLS);
	if (f->proc2 >> 32 & (PROC2_EPT | PROC2_VPID))
		f->ept_vpid = rdmsr(MSR_VMX_EPT_VPID_CAP);
}

int vmx_probe(struct vm_caps *caps, char *why, size_t why_size)
{
	struct vmx_facts f;

	read_facts(&f);
	if (!vmx_demands_met(&f, why, why_size))
		return ERR_UNSUPPORTED;
	*caps = (struct vm_caps){
		.tlb = { .root_tagged = true, .flush_by_tag = true },
		.tag_count = UINT16_MAX,
		.has_slice_timer = f.pin >> 32 & PIN_PREEMPTION_TIMER,
		.cr4_possible = rdmsr(MSR_VMX_CR4_FIXED1),
		.traps_control_regs = true,
	};
	memset(msr_bitmap, 0xff, sizeof(msr_bitmap));
	for (size_t i = 0; i < ARRAY_SIZE(vmcs_msrs); i++)
		msr_pass(vmcs_msrs[i]);
	for (size_t i = 0; i < ARRAY_SIZE(vmx_switched_msrs); i++) {
		if (vmx_switched_msrs[i].msr != MSR_TSC_AUX || f.has_rdtscp)
			msr_pass(vmx_switched_msrs[i].msr);
	}
	return 0;
}

/* SDM Vol 3, "Restrictions on VMX Operation" and "Enabling and Entering VMX Operation". */
static bool vmx_on(hpa_t region)
{
	uint64_t feature = rdmsr(MSR_FEATURE_CONTROL);
	bool failed;

	if (!(feature & FEATURE_LOCKED))
		wrmsr(MSR_FEATURE_CONTROL, feature | FEATURE_VMX_OUTSIDE_SMX | FEATURE_LOCKED);
	write_cr0((read_cr0() | rdmsr(MSR_VMX_CR0_FIXED0)) & rdmsr(MSR_VMX_CR0_FIXED1));
	write_cr4((read_cr4() | rdmsr(MSR_VMX_CR4_FIXED0)) & rdmsr(MSR_VMX_CR4_FIXED1));
	__asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(region) : "memory");
	return !failed;
}

static bool vmcs_make_current(hpa_t vmcs)
{
	bool failed;

	__asm__ volatile("vmclear %1" : "=@ccbe"(failed) : "m"(vmcs) : "memory");
	if (failed)
		return false;
	__asm__ volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(vmcs) : "memory");
	return !failed;
}

static void write_controls(struct vmx_core *c, const struct vmx_facts *f)
{
	uint32_t wanted2 = PROC2_WANTED | PROC2_OPTIONAL;
	uint32_t proc2;

	if (!f->has_rdtscp)
		wanted2 &= ~PROC2_RDTSCP;
	if (!f->has_invpcid)
		wanted2 &= ~PROC2_INVPCID;
	if (!f->has_xsaves)
		wanted2 &= ~PROC2_XSAVES;
	proc2 = vmx_control_word(f->proc2, wanted2);
	c->pin = vmx_control_word(f->pin, PIN_WANTED);
	c->proc = vmx_control_word(f->proc, PROC_WANTED);
	c->has_timer = f->pin >> 32 & PIN_PREEMPTION_TIMER;
	c->timer_rate = (uint8_t)(f->misc & MISC_TIMER_RATE_MASK);
	c->has_tsc_aux = proc2 & PROC2_RDTSCP;
	c->has_xss = proc2 & PROC2_XSAVES;

	vmwrite(PIN_CONTROLS, c->pin);
	vmwrite(PROC_CONTROLS, c->proc);
	vmwrite(PROC2_CONTROLS, proc2);
	vmwrite(EXIT_CONTROLS, vmx_control_word(f->exit, EXIT_WANTED));
	vmwrite(ENTRY_CONTROLS, vmx_control_word(f->entry, ENTRY_WANTED));
	vmwrite(EXCEPTION_BITMAP, EXCEPTIONS_INTERCEPTED);
	vmwrite(MSR_BITMAP, physical(msr_bitmap));
	vmwrite(VIRTUAL_APIC_PAGE, physical(c->virtual_apic));
	vmwrite(TPR_THRESHOLD, 0);
	if (proc2 & PROC2_XSAVES)
		vmwrite(XSS_EXITING_BITMAP, 0); /* what XSS allows, which is the core's to say */
	if (proc2 & PROC2_ENCLS_EXITING)
		vmwrite(ENCLS_EXITING_BITMAP, ~0ull);

	vmwrite(PAGE_FAULT_MASK, 0);
	vmwrite(PAGE_FAULT_MATCH, 0);
	vmwrite(CR3_TARGET_COUNT, 0);
	vmwrite(EXIT_MSR_STORE_COUNT, 0);
	vmwrite(EXIT_MSR_LOAD_COUNT, 0);
	vmwrite(ENTRY_MSR_LOAD_COUNT, 0);
	vmwrite(ENTRY_EVENT, 0);
	vmwrite(VMCS_LINK_POINTER, ~0ull);
	vmwrite(GUEST_DEBUGCTL, 0);
}

/* Which bits of CR0 and CR4 are ours, and what they then hold. */
static void write_masks(struct vmx_core *c)
{
	uint64_t cr0_fixed1 = rdmsr(MSR_VMX_CR0_FIXED1), cr4_fixed1 = rdmsr(MSR_VMX_CR4_FIXED1);

	/* SDM Vol 3, "Unrestricted guest": PE and PG need not be 1 */
	c->cr0_forced = rdmsr(MSR_VMX_CR0_FIXED0) & ~(CR0_PE | CR0_PG);
	c->cr0_owned = ~(CR0_GUEST_OWNED & cr0_fixed1) | c->cr0_forced;
	c->cr4_forced = rdmsr(MSR_VMX_CR4_FIXED0) | (read_cr4() & CR4_MCE);
	c->cr4_owned = ~(CR4_GUEST_OWNED & cr4_fixed1) | c->cr4_forced;
	vmwrite(CR0_MASK, c->cr0_owned);
	vmwrite(CR4_MASK, c->cr4_owned);
}

/* The base of the TSS is in its descriptor only: 16 bytes, the base scattered (SDM Vol 3, "TSS
 * Descriptor in 64-bit mode"). */
static uint64_t tss_base(const struct cpu_table *gdt, uint16_t tr)
{
	const uint64_t *d = (const uint64_t *)(uintptr_t)(gdt->base + (tr & ~7u));

	return (d[0] >> 16 & 0xffffff) | (d[0] >> 56) << 24 | d[1] << 32;
}

#define READ_SELECTOR(name)                                                                        \
	({                                                                                         \
		uint16_t selector_;                                                                \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(selector_));                         \
		selector_;                                                                         \
	})

/*
 * What an exit loads. It sets the limits of GDTR and IDTR to ffff, which is harmless: no vector lies
 * above the 256 gates of an IDT, and we load no selector that isn't ours.
 */
static void write_host_state(void)
{
	struct cpu_table gdt, idt;
	uint16_t tr;

	sgdt(&gdt);
	sidt(&idt);
	__asm__ volatile("str %0" : "=r"(tr));
	vmwrite(HOST_CR0, read_cr0());
	vmwrite(HOST_CR3, read_cr3());
	vmwrite(HOST_CR4, read_cr4());
	vmwrite(HOST_ES_SELECTOR, READ_SELECTOR(es));
	vmwrite(HOST_CS_SELECTOR, READ_SELECTOR(cs));
	vmwrite(HOST_SS_SELECTOR, READ_SELECTOR(ss));
	vmwrite(HOST_DS_SELECTOR, READ_SELECTOR(ds));
	vmwrite(HOST_FS_SELECTOR, READ_SELECTOR(fs));
	vmwrite(HOST_GS_SELECTOR, READ_SELECTOR(gs));
	vmwrite(HOST_TR_SELECTOR, tr);
	vmwrite(HOST_FS_BASE, rdmsr(MSR_FS_BASE));
	vmwrite(HOST_GS_BASE, rdmsr(MSR_GS_BASE));
	vmwrite(HOST_TR_BASE, tss_base(&gdt, tr));
	vmwrite(HOST_GDTR_BASE, gdt.base);
	vmwrite(HOST_IDTR_BASE, idt.base);
	vmwrite(HOST_SYSENTER_CS, 0);
	vmwrite(HOST_SYSENTER_ESP, 0);
	vmwrite(HOST_SYSENTER_EIP, 0);
	vmwrite(HOST_PAT, rdmsr(MSR_PAT));
	vmwrite(HOST_EFER, rdmsr(MSR_EFER));
	vmwrite(HOST_RSP, 0);
	vmwrite(HOST_RIP, physical((const void *)vmx_exit_point));
}

/* Begin to mirror the registers that load() and store() switch. */
static void read_mirrors(struct vmx_core *c)
{
	for (size_t i = 0; i < VMX_SWITCHED_MSRS; i++) {
		if (vmx_switched_msrs[i].msr != MSR_TSC_AUX || c->has_tsc_aux)
			c->switched[i] = rdmsr(vmx_switched_msrs[i].msr);
	}
	c->dr[0] = read_dr0();
	c->dr[1] = read_dr1();
	c->dr[2] = read_dr2();
	c->dr[3] = read_dr3();
	c->dr6 = read_dr6();
	if (c->has_xss)
		c->xss = rdmsr(MSR_XSS);
	c->has_xsave = read_cr4() & CR4_OSXSAVE;
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

int vmx_core_start(struct core *core, struct frame_pool *pool)
{
	char why[WHY_MAX];
	struct vmx_facts f;
	struct vmx_core *c;
	void *own, *apic, *vmxon, *vmcs;
	uint32_t revision;
	int err;

	read_facts(&f);
	if (!vmx_demands_met(&f, why, sizeof(why)))
		return ERR_UNSUPPORTED;
	if ((err = alloc_page(core, pool, &own)) < 0 || (err = alloc_page(core, pool, &apic)) < 0 ||
			(err = alloc_page(core, pool, &vmxon)) < 0 ||
			(err = alloc_page(core, pool, &vmcs)) < 0)
		return err; /* the core will not be used, and start is not tried again */
	c = own;
	c->virtual_apic = apic;
	revision = (uint32_t)f.basic & BASIC_REVISION_MASK;
	memcpy(vmxon, &revision, sizeof(revision));
	memcpy(vmcs, &revision, sizeof(revision));
	if (!vmx_on(physical(vmxon)) || !vmcs_make_current(physical(vmcs)))
		return ERR_UNSUPPORTED;
	write_controls(c, &f);
	write_masks(c);
	write_host_state();
	read_mirrors(c);
	/* Translations of whoever used VT-x before us, firmware included, may still be there. */
	invept(INVEPT_ALL, 0);
	invvpid_all();
	core->vm = c;
	return 0;
}
