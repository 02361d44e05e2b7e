/*
 * VT-x by name: VMCS fields, control bits, exit reasons and the layouts of what they hold.
 *
 * SDM Vol 3, "Field Encoding in VMCS" (appendix B), "VMX Basic Exit Reasons" (appendix C),
 * "VMX Capability Reporting Facility" (appendix A), and the chapter "Virtual Machine Control
 * Structures". Included by enter.S too, so the upper part holds nothing but numbers.
 */
#ifndef HV_VMX_VMCS_H
#define HV_VMX_VMCS_H

#define HOST_RSP 0x6c14

#ifndef __ASSEMBLER__

#include "lib/base.h"

enum vmcs_field {
	/* 16-bit */
	VMCS_VPID = 0x0000,
	GUEST_ES_SELECTOR = 0x0800, /* then CS SS DS FS GS LDTR TR, as in all four segment tables */
	HOST_ES_SELECTOR = 0x0c00,
	HOST_CS_SELECTOR = 0x0c02,
	HOST_SS_SELECTOR = 0x0c04,
	HOST_DS_SELECTOR = 0x0c06,
	HOST_FS_SELECTOR = 0x0c08,
	HOST_GS_SELECTOR = 0x0c0a,
	HOST_TR_SELECTOR = 0x0c0c,

	/* 64-bit */
	MSR_BITMAP = 0x2004,
	TSC_OFFSET = 0x2010,
	VIRTUAL_APIC_PAGE = 0x2012,
	EPT_POINTER = 0x201a,
	XSS_EXITING_BITMAP = 0x202c,
	ENCLS_EXITING_BITMAP = 0x202e,
	GUEST_PHYSICAL_ADDRESS = 0x2400,
	VMCS_LINK_POINTER = 0x2800,
	GUEST_DEBUGCTL = 0x2802,
	GUEST_PAT = 0x2804,
	GUEST_EFER = 0x2806,
	GUEST_PDPTE0 = 0x280a, /* then 1 2 3 */
	HOST_PAT = 0x2c00,
	HOST_EFER = 0x2c02,

	/* 32-bit */
	PIN_CONTROLS = 0x4000,
	PROC_CONTROLS = 0x4002,
	EXCEPTION_BITMAP = 0x4004,
	PAGE_FAULT_MASK = 0x4006,
	PAGE_FAULT_MATCH = 0x4008,
	CR3_TARGET_COUNT = 0x400a,
	EXIT_CONTROLS = 0x400c,
	EXIT_MSR_STORE_COUNT = 0x400e,
	EXIT_MSR_LOAD_COUNT = 0x4010,
	ENTRY_CONTROLS = 0x4012,
	ENTRY_MSR_LOAD_COUNT = 0x4014,
	ENTRY_EVENT = 0x4016,
	ENTRY_EVENT_ERROR = 0x4018,
	ENTRY_INSTRUCTION_LENGTH = 0x401a,
	TPR_THRESHOLD = 0x401c,
	PROC2_CONTROLS = 0x401e,
	VM_INSTRUCTION_ERROR = 0x4400,
	EXIT_REASON = 0x4402,
	EXIT_EVENT = 0x4404,
	EXIT_EVENT_ERROR = 0x4406,
	VECTORING_EVENT = 0x4408,
	VECTORING_EVENT_ERROR = 0x440a,
	EXIT_INSTRUCTION_LENGTH = 0x440c,
	GUEST_ES_LIMIT = 0x4800,
	GUEST_GDTR_LIMIT = 0x4810,
	GUEST_IDTR_LIMIT = 0x4812,
	GUEST_ES_ACCESS = 0x4814,
	GUEST_CS_ACCESS = 0x4816,
	GUEST_INTERRUPTIBILITY = 0x4824,
	GUEST_ACTIVITY = 0x4826,
	GUEST_SYSENTER_CS = 0x482a,
	PREEMPTION_TIMER = 0x482e,
	HOST_SYSENTER_CS = 0x4c00,

	/* natural width */
	CR0_MASK = 0x6000,
	CR4_MASK = 0x6002,
	CR0_SHADOW = 0x6004,
	CR4_SHADOW = 0x6006,
	EXIT_QUALIFICATION = 0x6400,
	GUEST_CR0 = 0x6800,
	GUEST_CR3 = 0x6802,
	GUEST_CR4 = 0x6804,
	GUEST_ES_BASE = 0x6806,
	GUEST_GDTR_BASE = 0x6816,
	GUEST_IDTR_BASE = 0x6818,
	GUEST_DR7 = 0x681a,
	GUEST_RSP = 0x681c,
	GUEST_RIP = 0x681e,
	GUEST_RFLAGS = 0x6820,
	GUEST_PENDING_DEBUG = 0x6822,
	GUEST_SYSENTER_ESP = 0x6824,
	GUEST_SYSENTER_EIP = 0x6826,
	HOST_CR0 = 0x6c00,
	HOST_CR3 = 0x6c02,
	HOST_CR4 = 0x6c04,
	HOST_FS_BASE = 0x6c06,
	HOST_GS_BASE = 0x6c08,
	HOST_TR_BASE = 0x6c0a,
	HOST_GDTR_BASE = 0x6c0c,
	HOST_IDTR_BASE = 0x6c0e,
	HOST_SYSENTER_ESP = 0x6c10,
	HOST_SYSENTER_EIP = 0x6c12,
	HOST_RIP = 0x6c16,
};

/* Segment fields of one table lie two encodings apart, in the order of enum vm_segment_name. */
#define VMCS_SEGMENT_STRIDE 2
/* 64-bit fields too: the odd encoding is the upper half, for 32-bit code. */
#define VMCS_PDPTE_STRIDE 2

/* SDM Vol 3, "Pin-Based VM-Execution Controls" */
#define PIN_INTERRUPT_EXITING (1u << 0)
#define PIN_NMI_EXITING       (1u << 3)
#define PIN_VIRTUAL_NMIS      (1u << 5)
#define PIN_PREEMPTION_TIMER  (1u << 6)

/* SDM Vol 3, "Processor-Based VM-Execution Controls": primary */
#define PROC_INTERRUPT_WINDOW (1u << 2)
#define PROC_TSC_OFFSETTING   (1u << 3)
#define PROC_HLT_EXITING      (1u << 7)
#define PROC_INVLPG_EXITING   (1u << 9)
#define PROC_MWAIT_EXITING    (1u << 10)
#define PROC_RDPMC_EXITING    (1u << 11)
#define PROC_CR3_LOAD_EXITING (1u << 15)
#define PROC_CR3_STORE_EXITING (1u << 16)
#define PROC_CR8_LOAD_EXITING (1u << 19)
#define PROC_TPR_SHADOW       (1u << 21)
#define PROC_IO_EXITING       (1u << 24)
#define PROC_MSR_BITMAPS      (1u << 28)
#define PROC_MONITOR_EXITING  (1u << 29)
#define PROC_SECONDARY        (1u << 31)

/* The same, secondary */
#define PROC2_EPT             (1u << 1)
#define PROC2_RDTSCP          (1u << 3)
#define PROC2_VPID            (1u << 5)
#define PROC2_WBINVD_EXITING  (1u << 6)
#define PROC2_UNRESTRICTED    (1u << 7)
#define PROC2_INVPCID         (1u << 12)
#define PROC2_ENCLS_EXITING   (1u << 15)
#define PROC2_XSAVES          (1u << 20)

/* SDM Vol 3, "VM-Exit Controls" */
#define EXIT_CTL_SAVE_DEBUG (1u << 2)
#define EXIT_CTL_HOST_64    (1u << 9)
#define EXIT_CTL_SAVE_PAT   (1u << 18)
#define EXIT_CTL_LOAD_PAT   (1u << 19)
#define EXIT_CTL_SAVE_EFER  (1u << 20)
#define EXIT_CTL_LOAD_EFER  (1u << 21)

/* SDM Vol 3, "VM-Entry Controls" */
#define ENTRY_CTL_LOAD_DEBUG (1u << 2)
#define ENTRY_CTL_IA32E      (1u << 9)
#define ENTRY_CTL_LOAD_PAT   (1u << 14)
#define ENTRY_CTL_LOAD_EFER  (1u << 15)

/* SDM Vol 3, "VMX Capability Reporting Facility". Of the control MSRs, bits 31:0 are those that must
 * be 1 and bits 63:32 those that may be. */
#define MSR_FEATURE_CONTROL    0x3a
#define MSR_VMX_BASIC          0x480
#define MSR_VMX_MISC           0x485
#define MSR_VMX_CR0_FIXED0     0x486 /* bits that must be 1 */
#define MSR_VMX_CR0_FIXED1     0x487 /* bits that may be 1 */
#define MSR_VMX_CR4_FIXED0     0x488
#define MSR_VMX_CR4_FIXED1     0x489
#define MSR_VMX_PROC2_CONTROLS 0x48b
#define MSR_VMX_EPT_VPID_CAP   0x48c
#define MSR_VMX_PIN_CONTROLS   0x48d /* this and the next three: the "true" controls */
#define MSR_VMX_PROC_CONTROLS  0x48e
#define MSR_VMX_EXIT_CONTROLS  0x48f
#define MSR_VMX_ENTRY_CONTROLS 0x490

/* IA32_VMX_BASIC */
#define BASIC_REVISION_MASK    0x7fffffffu
#define BASIC_32BIT_ADDRESSES  (1ull << 48)
#define BASIC_TYPE_SHIFT       50
#define BASIC_TYPE_MASK        0xfull
#define BASIC_TRUE_CONTROLS    (1ull << 55)
#define MEMORY_TYPE_WB         6ull

/* IA32_VMX_MISC */
#define MISC_TIMER_RATE_MASK 0x1fu
#define MISC_EXIT_SAVES_LMA  (1ull << 5)

/* IA32_VMX_EPT_VPID_CAP */
#define EPT_CAP_WALK_4         (1ull << 6)
#define EPT_CAP_WB             (1ull << 14)
#define EPT_CAP_INVEPT         (1ull << 20)
#define EPT_CAP_INVEPT_SINGLE  (1ull << 25)
#define EPT_CAP_INVEPT_ALL     (1ull << 26)
#define EPT_CAP_INVVPID        (1ull << 32)
#define EPT_CAP_INVVPID_ALL    (1ull << 42)

/* The EPT pointer: write-back tables, a walk of 4 (written as 3), accessed and dirty flags off. */
#define EPTP_FLAGS (MEMORY_TYPE_WB | 3u << 3)

/* INVEPT and INVVPID types */
#define INVEPT_SINGLE 1u
#define INVEPT_ALL    2u
#define INVVPID_ALL   2u

/* IA32_FEATURE_CONTROL */
#define FEATURE_LOCKED          (1ull << 0)
#define FEATURE_VMX_OUTSIDE_SMX (1ull << 2)

/* SDM Vol 3, "Guest Non-Register State": interruptibility state, activity, pending debug */
#define BLOCKED_BY_STI    (1u << 0)
#define BLOCKED_BY_MOV_SS (1u << 1)
#define BLOCKED_BY_NMI    (1u << 3)
#define ACTIVITY_ACTIVE   0u
#define PENDING_DEBUG_BS  (1u << 14)

/* SDM Vol 3, "Guest Register State": access rights are a descriptor's, with a hole of 4 bits. */
#define ACCESS_LOW_MASK   0xffu
#define ACCESS_HIGH_MASK  0xf00u
#define ACCESS_HIGH_SHIFT 4
#define ACCESS_LONG       (1u << 13)
#define ACCESS_UNUSABLE   (1u << 16)

/* SDM Vol 3, "VM-Entry Interruption-Information", and the exit's and vectoring's like it */
#define EVENT_VECTOR_MASK   0xffu
#define EVENT_TYPE(e)       ((e) >> 8 & 7)
#define EVENT_TYPE_SHIFT    8
#define EVENT_HAS_ERROR     (1u << 11)
#define EVENT_NMI_UNBLOCKED (1u << 12) /* by an IRET that then faulted */
#define EVENT_VALID         (1u << 31)

enum event_type {
	EVENT_TYPE_INTERRUPT = 0,
	EVENT_TYPE_NMI = 2,
	EVENT_TYPE_EXCEPTION = 3,
	EVENT_TYPE_SOFTWARE_INTERRUPT = 4,
	EVENT_TYPE_PRIVILEGED_EXCEPTION = 5, /* INT1 */
	EVENT_TYPE_SOFTWARE_EXCEPTION = 6,   /* INT3, INTO */
};

#define REASON_BASIC_MASK  0xffffu
#define REASON_ENTRY_FAILED (1u << 31)

/* Those that are told apart; every other one is an instruction that no guest may run. */
enum exit_reason {
	REASON_EXCEPTION_OR_NMI = 0,
	REASON_INTERRUPT = 1,
	REASON_TRIPLE_FAULT = 2,
	REASON_INIT = 3,
	REASON_WINDOW = 7,
	REASON_TASK_SWITCH = 9,
	REASON_CPUID = 10,
	REASON_HLT = 12,
	REASON_INVD = 13,
	REASON_RDPMC = 15,
	REASON_VMCALL = 18,
	REASON_VMCLEAR = 19, /* 19 to 27 are the VMX instructions */
	REASON_VMXON = 27,
	REASON_CR_ACCESS = 28,
	REASON_IO = 30,
	REASON_RDMSR = 31,
	REASON_WRMSR = 32,
	REASON_MWAIT = 36,
	REASON_MONITOR = 39,
	REASON_ENTRY_MACHINE_CHECK = 41,
	REASON_EPT_VIOLATION = 48,
	REASON_EPT_MISCONFIGURATION = 49,
	REASON_INVEPT = 50,
	REASON_PREEMPTION_TIMER = 52,
	REASON_INVVPID = 53,
	REASON_WBINVD = 54,
	REASON_XSETBV = 55,
};

/* SDM Vol 3, "Exit Qualification for I/O Instructions" */
#define IO_SIZE(q)  ((uint8_t)(((q) & 7) + 1))
#define IO_IN       (1u << 3)
#define IO_STRING   (1u << 4)
#define IO_PORT(q)  ((uint16_t)((q) >> 16))

/* SDM Vol 3, "Exit Qualification for Control-Register Accesses" */
#define CR_NUMBER(q)   ((uint8_t)((q) & 0xf))
#define CR_ACCESS(q)   ((q) >> 4 & 3)
#define CR_ACCESS_WRITE 0u
#define CR_REGISTER(q) ((uint8_t)((q) >> 8 & 0xf))
#define CR_REGISTER_RSP 4u

/* SDM Vol 3, "Exit Qualification for EPT Violations" */
#define EPT_WRITE         (1u << 1)
#define EPT_FETCH         (1u << 2)
#define EPT_LINEAR_VALID  (1u << 7)
#define EPT_LINEAR_FINAL  (1u << 8) /* the page itself, not a table on the way to it */
#define EPT_NMI_UNBLOCKED (1u << 12)

/* SDM Vol 3, "Exit Qualification for Debug Exceptions" */
#define DEBUG_HIT_MASK    0x600fu /* B0-B3, BD, BS: as in DR6 */
#define DEBUG_RTM         (1u << 16) /* DR6 has it inverted */

/* SDM Vol 3, "APIC Registers": the byte of a virtual-APIC page that MOV CR8 reads */
#define VIRTUAL_TPR       0x80
#define VIRTUAL_TPR_SHIFT 4

#endif
#endif
