/*
 * The virtual machine control block and the other formats of AMD-V, as the hardware has them.
 * Used by svm.c and enter.S only.
 *
 * APM Vol 2, "Appendix B: Layout of VMCB", "Appendix C: SVM Intercept Exit Codes",
 * "Secure Virtual Machine".
 */
#ifndef HV_SVM_VMCB_H
#define HV_SVM_VMCB_H

#include "lib/base.h"

/* ---- MSRs and CPUID ----------------------------------------------------------------------------- */

#define MSR_VM_CR      0xc0010114
#define   VM_CR_SVMDIS (1ull << 4) /* EFER.SVME cannot be set */
#define   VM_CR_LOCK   (1ull << 3) /* SVMDIS cannot be changed before the next reset */
#define MSR_VM_HSAVE_PA 0xc0010117

/* CPUID_SVM: EBX is the number of ASIDs, 0 included. */
#define CPUID_SVM_EDX_NESTED_PAGING (1u << 0)
#define CPUID_SVM_EDX_NEXT_RIP      (1u << 3)
#define CPUID_SVM_EDX_CLEAN_BITS    (1u << 5)
#define CPUID_SVM_EDX_FLUSH_BY_ASID (1u << 6)
#define CPUID_SVM_EDX_DECODE_ASSIST (1u << 7)

/* CPUID_ADDRESS_SIZES: instructions that came with an intercept of their own. */
#define CPUID_X8_EBX_INVLPGB (1u << 3)
#define CPUID_X8_EBX_MCOMMIT (1u << 8)

/* ---- control area: intercepts ------------------------------------------------------------------- */

#define INTERCEPT_CR_WRITE(n) (1u << (n))
#define INTERCEPT_VECTOR(n)   (1u << (n))

/* vmcb_control.intercept_misc1 */
#define INTERCEPT1_INTR        (1u << 0)
#define INTERCEPT1_NMI         (1u << 1)
#define INTERCEPT1_SMI         (1u << 2)
#define INTERCEPT1_INIT        (1u << 3)
#define INTERCEPT1_VINTR       (1u << 4)
#define INTERCEPT1_RDPMC       (1u << 15)
#define INTERCEPT1_CPUID       (1u << 18)
#define INTERCEPT1_RSM         (1u << 19)
#define INTERCEPT1_INVD        (1u << 22)
#define INTERCEPT1_HLT         (1u << 24)
#define INTERCEPT1_INVLPGA     (1u << 26)
#define INTERCEPT1_IOIO        (1u << 27)
#define INTERCEPT1_MSR         (1u << 28)
#define INTERCEPT1_TASK_SWITCH (1u << 29)
#define INTERCEPT1_FERR_FREEZE (1u << 30)
#define INTERCEPT1_SHUTDOWN    (1u << 31)

/* vmcb_control.intercept_misc2 */
#define INTERCEPT2_VMRUN       (1u << 0)
#define INTERCEPT2_VMMCALL     (1u << 1)
#define INTERCEPT2_VMLOAD      (1u << 2)
#define INTERCEPT2_VMSAVE      (1u << 3)
#define INTERCEPT2_STGI        (1u << 4)
#define INTERCEPT2_CLGI        (1u << 5)
#define INTERCEPT2_SKINIT      (1u << 6)
#define INTERCEPT2_WBINVD      (1u << 9)
#define INTERCEPT2_MONITOR     (1u << 10)
#define INTERCEPT2_MWAIT       (1u << 11)
#define INTERCEPT2_MWAIT_ARMED (1u << 12)
#define INTERCEPT2_XSETBV      (1u << 13)
#define INTERCEPT2_RDPRU       (1u << 14)

/* vmcb_control.intercept_misc3 */
#define INTERCEPT3_INVLPGB         (1u << 0)
#define INTERCEPT3_INVLPGB_ILLEGAL (1u << 1)
#define INTERCEPT3_MCOMMIT         (1u << 3)
#define INTERCEPT3_TLBSYNC         (1u << 4)

/* ---- control area: the other fields ------------------------------------------------------------- */

/* One bit for each port and the three behind the last; one pair (read, write) for each MSR of
 * 0 to 0x1fff, 0xc0000000 to 0xc0001fff, 0xc0010000 to 0xc0011fff. */
#define IOPM_SIZE  (3 * PAGE_SIZE)
#define MSRPM_SIZE (2 * PAGE_SIZE)
#define MSRPM_RANGE_BYTES 0x800u /* each of the ranges */
#define MSRPM_RANGE_MSRS  0x2000u

#define TLB_CONTROL_NONE        0
#define TLB_CONTROL_FLUSH_ALL   1 /* every ASID, the host's too */
#define TLB_CONTROL_FLUSH_ASID  3 /* this guest's; only with flush-by-ASID */

#define INT_CTL_V_TPR          0xffu
#define INT_CTL_V_IRQ          (1u << 8)
#define INT_CTL_V_PRIORITY     (0xfu << 16)
#define INT_CTL_V_IGNORE_TPR   (1u << 20)
#define INT_CTL_V_INTR_MASKING (1u << 24)

#define INT_SHADOW (1ull << 0)

#define NP_ENABLE (1ull << 0)

/* EVENTINJ and EXITINTINFO */
#define EVENT_VECTOR         0xffu
#define EVENT_TYPE           (7u << 8)
#define EVENT_TYPE_EXTERNAL  (0u << 8)
#define EVENT_TYPE_NMI       (2u << 8)
#define EVENT_TYPE_EXCEPTION (3u << 8)
#define EVENT_TYPE_SOFTWARE  (4u << 8) /* INT n */
#define EVENT_ERROR_VALID    (1u << 11)
#define EVENT_VALID          (1u << 31)

/* What the processor may keep of the last entry with this VMCB ("VMCB State Caching"). */
#define CLEAN_INTERCEPTS (1u << 0) /* intercept vectors, TSC offset, pause filter */
#define CLEAN_BITMAPS    (1u << 1) /* IOPM and MSRPM addresses */
#define CLEAN_ASID       (1u << 2)
#define CLEAN_INT_CTL    (1u << 3)
#define CLEAN_NP         (1u << 4) /* nested CR3, guest PAT */
#define CLEAN_CR         (1u << 5) /* CR0, CR3, CR4, EFER */
#define CLEAN_DR         (1u << 6)
#define CLEAN_TABLES     (1u << 7) /* GDTR, IDTR */
#define CLEAN_SEGMENTS   (1u << 8) /* CS, DS, SS, ES, CPL */
#define CLEAN_CR2        (1u << 9)
#define CLEAN_ALL        0x3ffu    /* of those above: LBR, AVIC and CET are not used */

/* ---- exit codes and their information ----------------------------------------------------------- */

enum svm_exit_code {
	VMEXIT_CR0_WRITE = 0x10, /* to 0x1f, a register each */
	VMEXIT_CR15_WRITE = 0x1f,
	VMEXIT_EXCEPTION = 0x40, /* to 0x5f, a vector each */
	VMEXIT_EXCEPTION_LAST = 0x5f,
	VMEXIT_INTR = 0x60,
	VMEXIT_NMI = 0x61,
	VMEXIT_SMI = 0x62,
	VMEXIT_INIT = 0x63,
	VMEXIT_VINTR = 0x64,
	VMEXIT_RDPMC = 0x6f,
	VMEXIT_CPUID = 0x72,
	VMEXIT_RSM = 0x73,
	VMEXIT_INVD = 0x76,
	VMEXIT_HLT = 0x78,
	VMEXIT_INVLPGA = 0x7a,
	VMEXIT_IOIO = 0x7b,
	VMEXIT_MSR = 0x7c,
	VMEXIT_TASK_SWITCH = 0x7d,
	VMEXIT_FERR_FREEZE = 0x7e,
	VMEXIT_SHUTDOWN = 0x7f,
	VMEXIT_VMRUN = 0x80,
	VMEXIT_VMMCALL = 0x81,
	VMEXIT_VMLOAD = 0x82,
	VMEXIT_VMSAVE = 0x83,
	VMEXIT_STGI = 0x84,
	VMEXIT_CLGI = 0x85,
	VMEXIT_SKINIT = 0x86,
	VMEXIT_WBINVD = 0x89,
	VMEXIT_MONITOR = 0x8a,
	VMEXIT_MWAIT = 0x8b,
	VMEXIT_MWAIT_ARMED = 0x8c,
	VMEXIT_XSETBV = 0x8d,
	VMEXIT_RDPRU = 0x8e,
	VMEXIT_INVLPGB = 0xa0,
	VMEXIT_INVLPGB_ILLEGAL = 0xa1,
	VMEXIT_MCOMMIT = 0xa3,
	VMEXIT_TLBSYNC = 0xa4,
	VMEXIT_NPF = 0x400,
};

/* VMRUN found the guest's state illegal. 64 bits wide; QEMU stores the low half only. */
#define VMEXIT_INVALID 0xffffffffu

/* EXITINFO1 of VMEXIT_IOIO; EXITINFO2 is the address of the next instruction. */
#define IOIO_IN         (1u << 0)
#define IOIO_STRING     (1u << 2)
#define IOIO_REP        (1u << 3)
#define IOIO_SIZE_SHIFT 4 /* one bit each for 1, 2 and 4 bytes: the size itself */
#define IOIO_SIZE_MASK  7u
#define IOIO_PORT_SHIFT 16

/* EXITINFO1 of VMEXIT_MSR */
#define MSR_IS_WRITE 1u

/* EXITINFO1 of VMEXIT_CRn_WRITE, with decode assists: MOV, and from which register. */
#define CR_WRITE_IS_MOV   (1ull << 63)
#define CR_WRITE_REGISTER 0xfull

/* EXITINFO1 of VMEXIT_NPF: the error code of a page fault and where it came up; EXITINFO2 is the
 * guest physical address. */
#define NPF_WRITE      (1ull << 1)
#define NPF_FETCH      (1ull << 4)
#define NPF_TABLE_WALK (1ull << 33) /* on a page of the guest's own page tables */

/* ---- the block itself --------------------------------------------------------------------------- */

struct vmcb_control {
	uint16_t intercept_cr_read, intercept_cr_write;
	uint16_t intercept_dr_read, intercept_dr_write;
	uint32_t intercept_exceptions;
	uint32_t intercept_misc1, intercept_misc2, intercept_misc3;
	uint8_t reserved_018[0x3c - 0x18];
	uint16_t pause_threshold, pause_count;
	uint64_t iopm_base, msrpm_base; /* physical */
	uint64_t tsc_offset;
	uint32_t asid;
	uint8_t tlb_control;
	uint8_t reserved_05d[3];
	uint32_t int_ctl;
	uint32_t int_vector; /* of V_IRQ */
	uint64_t int_shadow;
	uint64_t exit_code, exit_info1, exit_info2;
	uint32_t exit_int_info, exit_int_error;
	uint64_t np_enable;
	uint64_t avic_apic_bar;
	uint64_t ghcb;
	uint32_t event_inj, event_inj_error;
	uint64_t nested_cr3; /* physical address of the root */
	uint64_t lbr_enable;
	uint32_t clean, reserved_0c4;
	uint64_t next_rip; /* only with next-RIP save */
	uint8_t fetched_size, fetched[15];
	uint8_t reserved_0e0[0x400 - 0xe0];
};

/* Attributes as struct vm_segment has them, without SEG_UNUSABLE. */
#define CS_LONG       (1u << 9)
#define CS_DEFAULT_32 (1u << 10)

struct vmcb_segment {
	uint16_t selector;
	uint16_t attributes;
	uint32_t limit;
	uint64_t base;
};

struct vmcb_save {
	struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint8_t reserved_0a0[0xcb - 0xa0];
	uint8_t cpl;
	uint32_t reserved_0cc;
	uint64_t efer;
	uint8_t reserved_0d8[0x148 - 0xd8];
	uint64_t cr4, cr3, cr0;
	uint64_t dr7, dr6;
	uint64_t rflags, rip;
	uint8_t reserved_180[0x1d8 - 0x180];
	uint64_t rsp;
	uint64_t s_cet, ssp, isst;
	uint64_t rax;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base; /* by VMLOAD and VMSAVE, as FS, GS, */
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;    /* TR and LDTR */
	uint64_t cr2;
	uint8_t reserved_248[0x268 - 0x248];
	uint64_t pat;
	uint8_t reserved_270[0xc00 - 0x270];
};

struct vmcb {
	struct vmcb_control control;
	struct vmcb_save save;
};

#define VMCB_AT(field, offset)                                                                     \
	_Static_assert(offsetof(struct vmcb, field) == (offset), "layout of the VMCB")

VMCB_AT(control.intercept_cr_read, 0x000);
VMCB_AT(control.intercept_exceptions, 0x008);
VMCB_AT(control.intercept_misc1, 0x00c);
VMCB_AT(control.intercept_misc3, 0x014);
VMCB_AT(control.pause_threshold, 0x03c);
VMCB_AT(control.iopm_base, 0x040);
VMCB_AT(control.tsc_offset, 0x050);
VMCB_AT(control.asid, 0x058);
VMCB_AT(control.tlb_control, 0x05c);
VMCB_AT(control.int_ctl, 0x060);
VMCB_AT(control.int_vector, 0x064);
VMCB_AT(control.int_shadow, 0x068);
VMCB_AT(control.exit_code, 0x070);
VMCB_AT(control.exit_int_info, 0x088);
VMCB_AT(control.np_enable, 0x090);
VMCB_AT(control.event_inj, 0x0a8);
VMCB_AT(control.nested_cr3, 0x0b0);
VMCB_AT(control.lbr_enable, 0x0b8);
VMCB_AT(control.clean, 0x0c0);
VMCB_AT(control.next_rip, 0x0c8);
VMCB_AT(control.fetched_size, 0x0d0);
VMCB_AT(save, 0x400);
VMCB_AT(save.tr, 0x490);
VMCB_AT(save.cpl, 0x4cb);
VMCB_AT(save.efer, 0x4d0);
VMCB_AT(save.cr4, 0x548);
VMCB_AT(save.rip, 0x578);
VMCB_AT(save.rsp, 0x5d8);
VMCB_AT(save.rax, 0x5f8);
VMCB_AT(save.star, 0x600);
VMCB_AT(save.cr2, 0x640);
VMCB_AT(save.pat, 0x668);
_Static_assert(sizeof(struct vmcb) == PAGE_SIZE, "a VMCB is one page");
_Static_assert(sizeof(struct vmcb_segment) == 16, "a segment of the VMCB");

#endif
