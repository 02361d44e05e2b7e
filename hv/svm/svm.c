/*
 * AMD-V with nested paging: the backend behind hv/vm.h. It decides nothing.
 *
 * Each core has one VMCB, which holds the loaded vCPU; fields that have not changed since the last
 * entry are neither written nor, with VMCB clean bits, read by the processor. A field that is
 * written therefore clears its clean bit.
 *
 * APM Vol 2, "Secure Virtual Machine", names the sections cited here.
 */
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/svm/vmcb.h"
#include "hv/vm.h"
#include "lib/err.h"
#include "lib/string.h"

/* enter.S */
void svm_enter(struct vmcb *guest, uint64_t regs[REG_COUNT], struct vmcb *host);

_Static_assert(offsetof(struct vcpu, regs) == 0 && REG_R15 == 15, "enter.S knows this order");

/* What struct core's `vm` points to. */
struct svm {
	struct vmcb *vmcb;
	struct vmcb *host; /* what VMLOAD restores of the host, saved when the core started */
	uint64_t dr[4];    /* as they are in the processor while no vCPU is loaded */
	uint64_t tsc_aux, xss;
	bool window;       /* the VMCB asks for VMEXIT_VINTR */
};

/* Found by the probe; all cores are taken to be alike. */
static struct {
	bool next_rip, flush_by_asid, decode_assists;
	bool tsc_aux, xsave, xss;
	uint32_t clean;      /* CLEAN_ALL, or 0 where the processor doesn't know them */
	uint32_t intercept3; /* of intercept_misc3, for the instructions that exist here */
} features;

/* One of each for all guests on all cores. */
static uint8_t iopm[IOPM_SIZE] ALIGNED(PAGE_SIZE);
static uint8_t msrpm[MSRPM_SIZE] ALIGNED(PAGE_SIZE);

/* Host memory is identity mapped. */
static hpa_t address_of(const void *p)
{
	return (uintptr_t)p;
}

/* ---- probe -------------------------------------------------------------------------------------- */

#define ASIDS_MIN 2 /* the host's and one to hand out */

/* "Enabling SVM": SVMDIS alone could be cleared again, with LOCK it stays until reset. */
static bool locked_out(void)
{
	uint64_t vm_cr = rdmsr(MSR_VM_CR);

	return (vm_cr & VM_CR_SVMDIS) && (vm_cr & VM_CR_LOCK);
}

static void features_init(void)
{
	uint32_t svm = cpuid(CPUID_SVM).edx;
	uint32_t extended = cpuid(CPUID_ADDRESS_SIZES).ebx;

	features.next_rip = svm & CPUID_SVM_EDX_NEXT_RIP;
	features.flush_by_asid = svm & CPUID_SVM_EDX_FLUSH_BY_ASID;
	features.decode_assists = svm & CPUID_SVM_EDX_DECODE_ASSIST;
	features.clean = svm & CPUID_SVM_EDX_CLEAN_BITS ? CLEAN_ALL : 0;
	features.tsc_aux = (cpuid(CPUID_EXT_FEATURES).edx & CPUID_X1_EDX_RDTSCP)
		|| (cpuid(CPUID_EXTENDED).ecx & CPUID_7_ECX_RDPID);
	features.xsave = cpuid(CPUID_FEATURES).ecx & CPUID_1_ECX_XSAVE;
	features.xss = features.xsave
		&& (cpuid_sub_checked(CPUID_XSAVE, 1).eax & CPUID_D1_EAX_XSAVES);
	features.intercept3 = 0;
	if (extended & CPUID_X8_EBX_INVLPGB)
		features.intercept3 |= INTERCEPT3_INVLPGB | INTERCEPT3_INVLPGB_ILLEGAL
			| INTERCEPT3_TLBSYNC;
	if (extended & CPUID_X8_EBX_MCOMMIT)
		features.intercept3 |= INTERCEPT3_MCOMMIT;
}

/* "MSR Intercepts": three ranges of 8192 MSRs, two bits each. */
static void pass_msr(uint32_t msr)
{
	static const uint32_t ranges[] = { 0, 0xc0000000, 0xc0010000 };

	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
		uint32_t n = msr - ranges[i];

		if (n < MSRPM_RANGE_MSRS)
			msrpm[i * MSRPM_RANGE_BYTES + n / 4] &= (uint8_t)~(3u << n % 4 * 2);
	}
}

/* Every port and every MSR exits, but for the MSRs that are switched with the guest anyway. */
static void bitmaps_init(void)
{
	static const uint32_t switched[] = {
		MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
		MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK,
		MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
	};

	memset(iopm, 0xff, sizeof(iopm));
	memset(msrpm, 0xff, sizeof(msrpm));
	for (unsigned i = 0; i < ARRAY_SIZE(switched); i++)
		pass_msr(switched[i]);
	if (features.tsc_aux)
		pass_msr(MSR_TSC_AUX);
}

static int svm_probe(struct vm_caps *caps, char *why, size_t why_size)
{
	bool has_svm = cpuid(CPUID_EXT_FEATURES).ecx & CPUID_X1_ECX_SVM;
	struct cpuid_regs svm = cpuid(CPUID_SVM);
	const struct {
		bool met;
		const char *missing;
	} demands[] = {
		/* CPUID 8000_0001h: VMRUN and its family. */
		{ has_svm, "the processor does not offer AMD-V (SVM); inside a virtual machine, "
			   "let its host offer nested virtualisation" },
		/* VM_CR: the firmware has left it usable. */
		{ !has_svm || !locked_out(), "AMD-V is disabled and locked by the firmware; enable "
			   "\"SVM Mode\" or \"Virtualization\" in the firmware set-up" },
		/* "Nested Paging": guest memory is an NPT tree. */
		{ !has_svm || (svm.edx & CPUID_SVM_EDX_NESTED_PAGING),
			   "the processor lacks nested paging; a newer one is needed" },
		/* "TLB Control": ASID 0 is the host's. */
		{ !has_svm || svm.ebx >= ASIDS_MIN, "the processor has no ASID for guests" },
		/* Without EFER.NXE the no-execute bit is reserved in nested tables too. */
		{ cpuid(CPUID_EXT_FEATURES).edx & CPUID_X1_EDX_NX,
			   "no-execute pages (NX) are missing; enable them in the firmware set-up" },
	};
	size_t used = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(demands); i++) {
		if (!demands[i].met)
			used += fmt(why + used, why_size - used, "%s%s", used ? "; " : "",
				demands[i].missing);
	}
	if (used)
		return ERR_UNSUPPORTED;

	features_init();
	bitmaps_init();
	*caps = (struct vm_caps){
		.tlb = { .root_tagged = false, .flush_by_tag = features.flush_by_asid },
		.tag_count = svm.ebx - 1,
		.has_slice_timer = false,
		.traps_control_regs = features.decode_assists,
	};
	return 0;
}

/* ---- a core ------------------------------------------------------------------------------------- */

/* The fields that no guest and no exit changes. */
static void vmcb_init(struct vmcb *vmcb)
{
	struct vmcb_control *c = &vmcb->control;

	/* CR4 has bits that only a trap can deny; what is written can be told with decode assists
	 * only. */
	if (features.decode_assists)
		c->intercept_cr_write = INTERCEPT_CR_WRITE(4);
	c->intercept_exceptions = INTERCEPT_VECTOR(VECTOR_DB) | INTERCEPT_VECTOR(VECTOR_AC)
		| INTERCEPT_VECTOR(VECTOR_MC);
	c->intercept_misc1 = INTERCEPT1_INTR | INTERCEPT1_NMI | INTERCEPT1_SMI | INTERCEPT1_INIT
		| INTERCEPT1_RDPMC | INTERCEPT1_CPUID | INTERCEPT1_RSM | INTERCEPT1_INVD
		| INTERCEPT1_HLT | INTERCEPT1_INVLPGA | INTERCEPT1_IOIO | INTERCEPT1_MSR
		| INTERCEPT1_TASK_SWITCH | INTERCEPT1_FERR_FREEZE | INTERCEPT1_SHUTDOWN;
	c->intercept_misc2 = INTERCEPT2_VMRUN | INTERCEPT2_VMMCALL | INTERCEPT2_VMLOAD
		| INTERCEPT2_VMSAVE | INTERCEPT2_STGI | INTERCEPT2_CLGI | INTERCEPT2_SKINIT
		| INTERCEPT2_WBINVD | INTERCEPT2_MONITOR | INTERCEPT2_MWAIT
		| INTERCEPT2_MWAIT_ARMED | INTERCEPT2_XSETBV | INTERCEPT2_RDPRU;
	c->intercept_misc3 = features.intercept3;
	c->iopm_base = address_of(iopm);
	c->msrpm_base = address_of(msrpm);
	c->int_ctl = INT_CTL_V_INTR_MASKING;
	c->np_enable = NP_ENABLE;
}

static int page_alloc(struct core *core, struct frame_pool *pool, void **out)
{
	hpa_t hpa;
	int err = frame_alloc(pool, core->id, core->node, FRAME_HOST, NULL, FRAME_ZEROED, &hpa);

	if (!err)
		*out = frame_ptr(pool, hpa);
	return err;
}

/* A core that fails to start ends the boot: what it has allocated until then is not given back. */
static int svm_core_start(struct core *core, struct frame_pool *pool)
{
	struct svm *svm;
	void *vmcb, *host, *hsave, *state;
	int err;

	if (locked_out())
		return ERR_UNSUPPORTED;
	if ((err = page_alloc(core, pool, &state)) || (err = page_alloc(core, pool, &vmcb))
			|| (err = page_alloc(core, pool, &host))
			|| (err = page_alloc(core, pool, &hsave)))
		return err;
	svm = state;
	svm->vmcb = vmcb;
	svm->host = host;
	core->vm = svm;
	vmcb_init(svm->vmcb);

	/* "Enabling SVM", "VM_HSAVE_PA MSR" */
	wrmsr(MSR_VM_CR, rdmsr(MSR_VM_CR) & ~VM_CR_SVMDIS);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, address_of(hsave));
	__asm__ volatile("vmsave %0" :: "a"(address_of(svm->host)) : "memory");

	svm->dr[0] = read_dr0();
	svm->dr[1] = read_dr1();
	svm->dr[2] = read_dr2();
	svm->dr[3] = read_dr3();
	if (features.tsc_aux)
		svm->tsc_aux = rdmsr(MSR_TSC_AUX);
	if (features.xsave)
		write_cr4(read_cr4() | CR4_OSXSAVE);
	if (features.xss)
		svm->xss = rdmsr(MSR_XSS);
	return 0;
}

/* ---- struct vcpu to the VMCB and back ----------------------------------------------------------- */

#define ATTRIBUTES      0xfffu
#define ATTRIBUTE_P     (1u << 7)
#define ATTRIBUTE_DPL   (3u << 5)
#define DPL_SHIFT       5

static struct vmcb_segment segment_in(const struct vm_segment *s)
{
	return (struct vmcb_segment){
		.selector = s->selector,
		.attributes = s->attributes & SEG_UNUSABLE ? 0 : s->attributes & ATTRIBUTES,
		.limit = s->limit,
		.base = s->base,
	};
}

static struct vm_segment segment_out(const struct vmcb_segment *s)
{
	uint16_t unusable = s->attributes & ATTRIBUTE_P ? 0 : SEG_UNUSABLE;

	return (struct vm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.attributes = (uint16_t)((s->attributes & ATTRIBUTES) | unusable),
	};
}

static void load_segments(struct vmcb_save *save, const struct vcpu *vcpu)
{
	save->es = segment_in(&vcpu->seg[SEG_ES]);
	save->cs = segment_in(&vcpu->seg[SEG_CS]);
	save->ss = segment_in(&vcpu->seg[SEG_SS]);
	save->ds = segment_in(&vcpu->seg[SEG_DS]);
	save->fs = segment_in(&vcpu->seg[SEG_FS]);
	save->gs = segment_in(&vcpu->seg[SEG_GS]);
	save->ldtr = segment_in(&vcpu->seg[SEG_LDTR]);
	save->tr = segment_in(&vcpu->seg[SEG_TR]);
	/* The DPL of SS is the privilege level, also where SS is unusable. */
	save->cpl = (uint8_t)((vcpu->seg[SEG_SS].attributes & ATTRIBUTE_DPL) >> DPL_SHIFT);
	save->gdtr.base = vcpu->gdtr.base;
	save->gdtr.limit = vcpu->gdtr.limit;
	save->idtr.base = vcpu->idtr.base;
	save->idtr.limit = vcpu->idtr.limit;
}

static void store_segments(const struct vmcb_save *save, struct vcpu *vcpu)
{
	struct vm_segment *ss = &vcpu->seg[SEG_SS];

	vcpu->seg[SEG_ES] = segment_out(&save->es);
	vcpu->seg[SEG_CS] = segment_out(&save->cs);
	vcpu->seg[SEG_SS] = segment_out(&save->ss);
	vcpu->seg[SEG_DS] = segment_out(&save->ds);
	vcpu->seg[SEG_FS] = segment_out(&save->fs);
	vcpu->seg[SEG_GS] = segment_out(&save->gs);
	vcpu->seg[SEG_LDTR] = segment_out(&save->ldtr);
	vcpu->seg[SEG_TR] = segment_out(&save->tr);
	ss->attributes = (uint16_t)((ss->attributes & ~ATTRIBUTE_DPL) | save->cpl << DPL_SHIFT);
	vcpu->gdtr = (struct vm_table){ save->gdtr.base, save->gdtr.limit };
	vcpu->idtr = (struct vm_table){ save->idtr.base, save->idtr.limit };
}

/* What the processor switches neither by VMRUN nor by VMLOAD; host code uses none of it. */
static void load_unswitched(struct svm *svm, const struct vcpu *vcpu)
{
	if (svm->dr[0] != vcpu->dr[0])
		write_dr0(vcpu->dr[0]);
	if (svm->dr[1] != vcpu->dr[1])
		write_dr1(vcpu->dr[1]);
	if (svm->dr[2] != vcpu->dr[2])
		write_dr2(vcpu->dr[2]);
	if (svm->dr[3] != vcpu->dr[3])
		write_dr3(vcpu->dr[3]);
	if (features.tsc_aux && svm->tsc_aux != vcpu->tsc_aux)
		wrmsr(MSR_TSC_AUX, vcpu->tsc_aux);
	if (features.xsave && xgetbv(0) != vcpu->xcr0)
		xsetbv(0, vcpu->xcr0);
	if (features.xss && svm->xss != vcpu->xss) {
		wrmsr(MSR_XSS, vcpu->xss);
		svm->xss = vcpu->xss;
	}
}

/* XCR0 is read back since an emulator may lack the intercept of XSETBV. */
static void store_unswitched(struct svm *svm, struct vcpu *vcpu)
{
	vcpu->dr[0] = svm->dr[0] = read_dr0();
	vcpu->dr[1] = svm->dr[1] = read_dr1();
	vcpu->dr[2] = svm->dr[2] = read_dr2();
	vcpu->dr[3] = svm->dr[3] = read_dr3();
	if (features.tsc_aux)
		vcpu->tsc_aux = svm->tsc_aux = rdmsr(MSR_TSC_AUX);
	if (features.xsave)
		vcpu->xcr0 = xgetbv(0);
}

static void svm_load(struct core *core, struct vcpu *vcpu)
{
	struct svm *svm = core->vm;
	struct vmcb_control *c = &svm->vmcb->control;
	struct vmcb_save *save = &svm->vmcb->save;

	load_segments(save, vcpu);
	load_unswitched(svm, vcpu);
	save->rip = vcpu->rip;
	save->rsp = vcpu->rsp;
	save->rflags = vcpu->rflags;
	save->cr0 = vcpu->cr0;
	save->cr2 = vcpu->cr2;
	save->cr3 = vcpu->cr3;
	save->cr4 = vcpu->cr4;
	save->efer = vcpu->efer | EFER_SVME;
	save->dr6 = vcpu->dr6;
	save->dr7 = vcpu->dr7;
	save->star = vcpu->star;
	save->lstar = vcpu->lstar;
	save->cstar = vcpu->cstar;
	save->sfmask = vcpu->sfmask;
	save->kernel_gs_base = vcpu->kernel_gs_base;
	save->sysenter_cs = vcpu->sysenter_cs;
	save->sysenter_esp = vcpu->sysenter_esp;
	save->sysenter_eip = vcpu->sysenter_eip;
	save->pat = vcpu->pat;
	c->tsc_offset = vcpu->tsc_offset;
	c->int_shadow = vcpu->sti_shadow ? INT_SHADOW : 0;
	c->int_ctl = (c->int_ctl & ~INT_CTL_V_TPR) | (uint32_t)vcpu->cr8;
	c->clean = 0;
}

static void svm_store(struct core *core, struct vcpu *vcpu)
{
	struct svm *svm = core->vm;
	const struct vmcb_control *c = &svm->vmcb->control;
	const struct vmcb_save *save = &svm->vmcb->save;

	store_segments(save, vcpu);
	store_unswitched(svm, vcpu);
	vcpu->rip = save->rip;
	vcpu->rsp = save->rsp;
	vcpu->rflags = save->rflags;
	vcpu->cr0 = save->cr0;
	vcpu->cr2 = save->cr2;
	vcpu->cr3 = save->cr3;
	vcpu->cr4 = save->cr4;
	vcpu->efer = save->efer & ~EFER_SVME;
	vcpu->dr6 = save->dr6;
	vcpu->dr7 = save->dr7;
	vcpu->star = save->star;
	vcpu->lstar = save->lstar;
	vcpu->cstar = save->cstar;
	vcpu->sfmask = save->sfmask;
	vcpu->kernel_gs_base = save->kernel_gs_base;
	vcpu->sysenter_cs = save->sysenter_cs;
	vcpu->sysenter_esp = save->sysenter_esp;
	vcpu->sysenter_eip = save->sysenter_eip;
	vcpu->pat = save->pat;
	vcpu->sti_shadow = c->int_shadow & INT_SHADOW;
	vcpu->cr8 = c->int_ctl & INT_CTL_V_TPR;
}

/* ---- events ------------------------------------------------------------------------------------- */

/* "Event Injection" */
static void inject(struct vmcb_control *c, struct vcpu *vcpu)
{
	const struct vm_event *e = &vcpu->pending;
	uint32_t type = e->kind == EVENT_INTERRUPT ? EVENT_TYPE_EXTERNAL
		: e->kind == EVENT_NMI ? EVENT_TYPE_NMI : EVENT_TYPE_EXCEPTION;

	c->event_inj = EVENT_VALID | type | e->vector | (e->has_error ? EVENT_ERROR_VALID : 0);
	c->event_inj_error = e->error;
	vcpu->pending.kind = EVENT_NONE;
}

/*
 * An exit came up while an event was being delivered ("EXITINTINFO"): deliver it again. Not so INT n,
 * INT3 and INTO, where RIP is still at the instruction, which will run again.
 */
static void keep_cut_short(const struct vmcb_control *c, struct vcpu *vcpu)
{
	uint32_t type = c->exit_int_info & EVENT_TYPE;
	uint8_t vector = c->exit_int_info & EVENT_VECTOR;
	uint8_t kind = EVENT_EXCEPTION;

	if (type == EVENT_TYPE_SOFTWARE || vector == VECTOR_BP || vector == VECTOR_OF)
		return;
	if (type == EVENT_TYPE_EXTERNAL)
		kind = EVENT_INTERRUPT;
	else if (type == EVENT_TYPE_NMI)
		kind = EVENT_NMI;
	vcpu->pending = (struct vm_event){
		.kind = kind,
		.vector = vector,
		.has_error = c->exit_int_info & EVENT_ERROR_VALID,
		.error = c->exit_int_error,
	};
}

/*
 * "Virtual Interrupts": a virtual interrupt is pending and its delivery is intercepted, so the exit
 * comes as soon as the guest could take one. None is ever delivered this way.
 */
static void set_window(struct svm *svm, bool on)
{
	struct vmcb_control *c = &svm->vmcb->control;
	const uint32_t request = INT_CTL_V_IRQ | INT_CTL_V_PRIORITY | INT_CTL_V_IGNORE_TPR;

	if (on) {
		c->int_ctl |= request;
		c->intercept_misc1 |= INTERCEPT1_VINTR;
	} else {
		c->int_ctl &= ~request;
		c->intercept_misc1 &= ~INTERCEPT1_VINTR;
	}
	c->clean &= ~(CLEAN_INTERCEPTS | CLEAN_INT_CTL);
	svm->window = on;
}

/* ---- exits -------------------------------------------------------------------------------------- */

/* Bytes of the intercepted instructions without prefixes, for processors without next-RIP save. */
enum {
	LENGTH_HLT = 1,
	LENGTH_CPUID = 2, LENGTH_RDMSR = 2, LENGTH_INVD = 2, LENGTH_WBINVD = 2, LENGTH_RDPMC = 2,
	LENGTH_RSM = 2,
	LENGTH_0F01 = 3, /* VMRUN and its family, VMMCALL, MONITOR, MWAIT, XSETBV, RDPRU, ... */
	LENGTH_MOV_CR = 3,
};

static void set_next_rip(const struct vmcb *vmcb, struct vm_exit *exit, unsigned length)
{
	exit->next_rip = features.next_rip ? vmcb->control.next_rip : exit->rip + length;
}

static void decode_forbidden(const struct vmcb *vmcb, struct vm_exit *exit, enum vm_forbidden what,
	unsigned length)
{
	exit->kind = EXIT_FORBIDDEN;
	exit->forbidden = what;
	set_next_rip(vmcb, exit, length);
}

static void decode_io(const struct vmcb *vmcb, struct vm_exit *exit)
{
	uint32_t info = (uint32_t)vmcb->control.exit_info1;

	exit->next_rip = vmcb->control.exit_info2;
	if (UNLIKELY(info & (IOIO_STRING | IOIO_REP))) {
		exit->kind = EXIT_FORBIDDEN;
		exit->forbidden = FORBIDDEN_STRING_IO;
		return;
	}
	exit->kind = EXIT_IO;
	exit->io.port = (uint16_t)(info >> IOIO_PORT_SHIFT);
	exit->io.size = info >> IOIO_SIZE_SHIFT & IOIO_SIZE_MASK;
	exit->io.in = info & IOIO_IN;
}

/* "Nested Page Faults and the Guest's Page Tables": the table walk of a guest counts as a write. */
static void decode_memory(const struct vmcb *vmcb, struct vm_exit *exit)
{
	uint64_t info = vmcb->control.exit_info1;

	exit->kind = EXIT_MEMORY;
	exit->memory.gpa = vmcb->control.exit_info2;
	exit->memory.access = info & NPF_WRITE ? GMEM_WRITE
		: info & NPF_FETCH ? GMEM_EXEC : GMEM_READ;
	exit->memory.table_walk = info & NPF_TABLE_WALK;
}

static void decode_exception(const struct vmcb *vmcb, struct vm_exit *exit)
{
	uint8_t vector = (uint8_t)(vmcb->control.exit_code - VMEXIT_EXCEPTION);

	exit->kind = EXIT_EXCEPTION;
	exit->exception.vector = vector;
	exit->exception.has_error = vector == VECTOR_AC;
	exit->exception.error = vector == VECTOR_AC ? (uint32_t)vmcb->control.exit_info1 : 0;
	exit->exception.dr6 = vmcb->save.dr6;
}

/* "Decode Assists". Only the write of CR4 is intercepted, and nothing but MOV writes it. */
static void decode_cr(const struct vmcb *vmcb, const struct vcpu *vcpu, struct vm_exit *exit)
{
	uint8_t reg = vmcb->control.exit_info1 & CR_WRITE_REGISTER;
	bool rsp = reg == REG_RSP_UNUSED;

	exit->kind = EXIT_CR;
	exit->cr.number = (uint8_t)(vmcb->control.exit_code - VMEXIT_CR0_WRITE);
	exit->cr.reg = rsp ? 0xff : reg;
	exit->cr.value = rsp ? vmcb->save.rsp : vcpu->regs[reg];
	set_next_rip(vmcb, exit, LENGTH_MOV_CR);
}

/* What "Canonicalization and Consistency Checks" demands, a bit for each; the processor itself tells
 * only that it refused. The bits are listed in docs/backends.md. */
static uint64_t broken_rules(const struct vmcb *vmcb)
{
	const struct vmcb_save *s = &vmcb->save;
	bool paged_long = (s->efer & EFER_LME) && (s->cr0 & CR0_PG);
	const uint16_t long_mode = 1u << 9, default_size = 1u << 10;
	const bool broken[] = {
		!(s->efer & EFER_SVME),
		!(s->cr0 & CR0_CD) && (s->cr0 & CR0_NW),
		s->cr0 >> 32,
		paged_long && !(s->cr4 & CR4_PAE),
		paged_long && !(s->cr0 & CR0_PE),
		paged_long && (s->cs.attributes & long_mode) && (s->cs.attributes & default_size),
		s->dr6 >> 32,
		s->dr7 >> 32,
		!vmcb->control.asid,
		vmcb->control.event_inj & EVENT_VALID,
	};
	uint64_t bits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(broken); i++)
		bits |= (uint64_t)broken[i] << i;
	return bits;
}

/* A physical interrupt is pending, and GIF set again: let it in. */
static void take_interrupt(void)
{
	__asm__ volatile("sti; nop; cli" ::: "memory");
}

static void decode(const struct vmcb *vmcb, const struct vcpu *vcpu, struct vm_exit *exit)
{
	uint32_t code = (uint32_t)vmcb->control.exit_code;

	exit->rip = vmcb->save.rip;
	switch (code) {
	case VMEXIT_IOIO:
		decode_io(vmcb, exit);
		return;
	case VMEXIT_NPF:
		decode_memory(vmcb, exit);
		return;
	case VMEXIT_CPUID:
		exit->kind = EXIT_CPUID;
		set_next_rip(vmcb, exit, LENGTH_CPUID);
		return;
	case VMEXIT_INTR:
		exit->kind = EXIT_INTERRUPT;
		take_interrupt();
		return;
	case VMEXIT_MSR:
		exit->kind = vmcb->control.exit_info1 & MSR_IS_WRITE ? EXIT_MSR_WRITE : EXIT_MSR_READ;
		set_next_rip(vmcb, exit, LENGTH_RDMSR);
		return;
	case VMEXIT_HLT:
		exit->kind = EXIT_HLT;
		set_next_rip(vmcb, exit, LENGTH_HLT);
		return;
	case VMEXIT_VINTR:
		exit->kind = EXIT_WINDOW;
		return;
	case VMEXIT_NMI: /* came at STGI */
	case VMEXIT_SMI:
	case VMEXIT_INIT:
		exit->kind = EXIT_INTERRUPT;
		return;
	case VMEXIT_EXCEPTION ... VMEXIT_EXCEPTION_LAST:
		decode_exception(vmcb, exit);
		return;
	case VMEXIT_XSETBV:
		exit->kind = EXIT_XSETBV;
		set_next_rip(vmcb, exit, LENGTH_0F01);
		return;
	case VMEXIT_CR0_WRITE ... VMEXIT_CR15_WRITE:
		decode_cr(vmcb, vcpu, exit);
		return;
	case VMEXIT_VMMCALL:
		decode_forbidden(vmcb, exit, FORBIDDEN_HYPERCALL_INSTRUCTION, LENGTH_0F01);
		return;
	case VMEXIT_VMRUN:
	case VMEXIT_VMLOAD:
	case VMEXIT_VMSAVE:
	case VMEXIT_STGI:
	case VMEXIT_CLGI:
	case VMEXIT_SKINIT:
	case VMEXIT_INVLPGA:
		decode_forbidden(vmcb, exit, FORBIDDEN_SVM, LENGTH_0F01);
		return;
	case VMEXIT_MONITOR:
	case VMEXIT_MWAIT:
	case VMEXIT_MWAIT_ARMED:
		decode_forbidden(vmcb, exit, FORBIDDEN_MONITOR, LENGTH_0F01);
		return;
	case VMEXIT_WBINVD:
	case VMEXIT_INVD:
		decode_forbidden(vmcb, exit, FORBIDDEN_CACHE, LENGTH_WBINVD);
		return;
	case VMEXIT_RDPMC:
		decode_forbidden(vmcb, exit, FORBIDDEN_PMC, LENGTH_RDPMC);
		return;
	case VMEXIT_RDPRU:
		decode_forbidden(vmcb, exit, FORBIDDEN_PMC, LENGTH_0F01);
		return;
	case VMEXIT_TASK_SWITCH: /* its length is not known, and no core continues behind it */
		decode_forbidden(vmcb, exit, FORBIDDEN_TASK_SWITCH, 0);
		return;
	case VMEXIT_SHUTDOWN:
		exit->kind = EXIT_SHUTDOWN;
		return;
	case VMEXIT_INVALID:
		exit->kind = EXIT_INVALID;
		exit->invalid = broken_rules(vmcb);
		return;
	case VMEXIT_RSM:
		decode_forbidden(vmcb, exit, FORBIDDEN_OTHER, LENGTH_RSM);
		return;
	default: /* INVLPGB, TLBSYNC, MCOMMIT; FERR_FREEZE, which has no instruction */
		decode_forbidden(vmcb, exit, FORBIDDEN_OTHER, LENGTH_0F01);
	}
}

/* ---- entry -------------------------------------------------------------------------------------- */

static void request_flush(struct vmcb_control *c, enum tlb_action flush)
{
	if (c->tlb_control == TLB_CONTROL_FLUSH_ALL)
		return;
	c->tlb_control = flush == TLB_FLUSH_GUEST && features.flush_by_asid
		? TLB_CONTROL_FLUSH_ASID : TLB_CONTROL_FLUSH_ALL;
}

static void svm_run(struct core *core, struct vcpu *vcpu, hpa_t root, uint32_t tag,
	enum tlb_action flush, uint64_t slice_tsc, struct vm_exit *exit)
{
	struct svm *svm = core->vm;
	struct vmcb *vmcb = svm->vmcb;
	struct vmcb_control *c = &vmcb->control;

	(void)slice_tsc; /* no such timer: vm_caps.has_slice_timer */
	if (c->nested_cr3 != root) {
		c->nested_cr3 = root;
		c->clean &= ~CLEAN_NP;
	}
	if (c->asid != tag) {
		c->asid = tag;
		c->clean &= ~CLEAN_ASID;
	}
	if (UNLIKELY(flush != TLB_KEEP))
		request_flush(c, flush);
	if (UNLIKELY(vcpu->want_window != svm->window))
		set_window(svm, vcpu->want_window);
	if (UNLIKELY(vcpu->pending.kind != EVENT_NONE))
		inject(c, vcpu);
	vmcb->save.rax = vcpu->regs[REG_RAX];

	svm_enter(vmcb, vcpu->regs, svm->host);

	vcpu->regs[REG_RAX] = vmcb->save.rax;
	if (UNLIKELY(c->exit_int_info & EVENT_VALID))
		keep_cut_short(c, vcpu);
	decode(vmcb, vcpu, exit);
	c->event_inj = 0;
	c->tlb_control = TLB_CONTROL_NONE;
	c->clean = features.clean;
}

/* ---- the loaded vCPU ---------------------------------------------------------------------------- */

static void svm_skip(struct core *core, struct vcpu *vcpu, const struct vm_exit *exit)
{
	struct svm *svm = core->vm;

	(void)vcpu;
	svm->vmcb->save.rip = exit->next_rip;
	svm->vmcb->save.rflags &= ~RFLAGS_RF;
	svm->vmcb->control.int_shadow = 0;
}

static uint64_t svm_get_cr(struct core *core, unsigned number)
{
	const struct svm *svm = core->vm;
	const struct vmcb_save *save = &svm->vmcb->save;

	switch (number) {
	case 0:
		return save->cr0;
	case 2:
		return save->cr2;
	case 3:
		return save->cr3;
	case 4:
		return save->cr4;
	default:
		return svm->vmcb->control.int_ctl & INT_CTL_V_TPR;
	}
}

static void svm_set_cr(struct core *core, struct vcpu *vcpu, unsigned number, uint64_t value)
{
	struct svm *svm = core->vm;
	struct vmcb_control *c = &svm->vmcb->control;
	struct vmcb_save *save = &svm->vmcb->save;

	(void)vcpu;
	switch (number) {
	case 0:
		save->cr0 = value;
		save->efer &= ~EFER_LMA;
		if ((value & CR0_PG) && (save->efer & EFER_LME))
			save->efer |= EFER_LMA;
		c->clean &= ~CLEAN_CR;
		break;
	case 2:
		save->cr2 = value;
		c->clean &= ~CLEAN_CR2;
		break;
	case 3:
		save->cr3 = value;
		c->clean &= ~CLEAN_CR;
		break;
	case 4:
		save->cr4 = value;
		c->clean &= ~CLEAN_CR;
		break;
	default:
		c->int_ctl = (c->int_ctl & ~INT_CTL_V_TPR) | (value & INT_CTL_V_TPR);
		c->clean &= ~CLEAN_INT_CTL;
	}
}

static bool svm_interruptible(struct core *core, struct vcpu *vcpu)
{
	const struct svm *svm = core->vm;

	return vcpu->pending.kind == EVENT_NONE && (svm->vmcb->save.rflags & RFLAGS_IF)
		&& !(svm->vmcb->control.int_shadow & INT_SHADOW);
}

/* Translations of guests are used between VMRUN and #VMEXIT only: the next VMRUN drops them. */
static void svm_flush_all(struct core *core)
{
	struct svm *svm = core->vm;

	svm->vmcb->control.tlb_control = TLB_CONTROL_FLUSH_ALL;
}

const struct vm_ops svm_ops = {
	.name = "AMD-V",
	.format = &pt_format_npt,
	.probe = svm_probe,
	.core_start = svm_core_start,
	.load = svm_load,
	.store = svm_store,
	.run = svm_run,
	.skip = svm_skip,
	.get_cr = svm_get_cr,
	.set_cr = svm_set_cr,
	.interruptible = svm_interruptible,
	.flush_all = svm_flush_all,
};
