/*
 * The seam between the hypervisor's core and the two backends (hv/vmx, hv/svm).
 *
 * A backend turns hardware exits into one neutral struct vm_exit and carries out what the core asks;
 * it decides nothing. A vCPU that is not loaded on a core is plain data (struct vcpu): no VMCS, no
 * VMCB. load() moves it into the core's control block, store() moves it back; between the two only
 * the general registers, and what the comments below name, are current in struct vcpu.
 */
#ifndef HV_VM_H
#define HV_VM_H

#include "hv/gmem.h"
#include "hv/tlb.h"
#include "lib/base.h"

struct core;

/* General registers, in the order of their encoding; RSP is kept apart, in struct vcpu. */
enum vm_reg {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP_UNUSED, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	REG_COUNT,
};

/* Attributes in the layout of a descriptor's bits 40-47 and 52-55 (type, S, DPL, P, AVL, L, D, G),
 * squeezed to 12 bits as the VMCB has them; bit 12 says "unusable". */
struct vm_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint16_t attributes;
};

#define SEG_UNUSABLE (1u << 12)

enum vm_segment_name { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

struct vm_table {
	uint64_t base;
	uint32_t limit;
};

/* An event on its way into the guest: one of ours, or one whose delivery an exit cut short. */
enum vm_event_kind { EVENT_NONE, EVENT_INTERRUPT, EVENT_NMI, EVENT_EXCEPTION };

struct vm_event {
	uint8_t kind; /* enum vm_event_kind */
	uint8_t vector;
	bool has_error;
	uint32_t error;
};

/*
 * The architectural state of a vCPU. Vector state lives apart, in the XSAVE image of its guest.
 * While loaded: regs[] are current after each run(); all the rest after store() only.
 */
struct vcpu {
	uint64_t regs[REG_COUNT];
	uint64_t rip, rsp, rflags;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer;
	uint64_t pdpte[4];        /* VT-x: of PAE paging outside long mode, kept apart from memory */
	uint64_t dr[4], dr6, dr7;
	struct vm_segment seg[SEG_COUNT];
	struct vm_table gdtr, idtr;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, tsc_aux, xcr0, xss;
	uint64_t tsc_offset;      /* guest TSC = host TSC + offset; set before load() */
	bool sti_shadow;          /* interrupts blocked for one instruction by STI or MOV SS */
	bool nmi_blocked;         /* an NMI handler runs */
	uint32_t pending_debug;   /* VT-x: debug traps due behind the last instruction, as in the VMCS */
	struct vm_event pending;  /* injected at the next entry; set by the core or by a cut-short exit */
	bool want_window;         /* exit with EXIT_WINDOW as soon as an interrupt can be delivered */
};

enum vm_exit_kind {
	EXIT_IO,        /* .io; one element, string forms are EXIT_FORBIDDEN */
	EXIT_CPUID,
	EXIT_MSR_READ,  /* ECX in regs */
	EXIT_MSR_WRITE,
	EXIT_MEMORY,    /* .memory: no translation, or not with this right, in the memory tree */
	EXIT_HLT,
	EXIT_INTERRUPT, /* a host interrupt, NMI or SMI; it has been, or now will be, taken by the host */
	EXIT_SLICE,     /* the backend's own slice timer, where it has one */
	EXIT_WINDOW,    /* an interrupt can be delivered now */
	EXIT_EXCEPTION, /* .exception: #DB, #AC, #MC, which are intercepted; cut-short events are in vcpu */
	EXIT_XSETBV,
	EXIT_CR,        /* .cr: a write of CR0, CR4 or CR8 that needs a decision */
	EXIT_FORBIDDEN, /* an instruction no guest may run: the core injects #UD, or stops it. .forbidden */
	EXIT_SHUTDOWN,  /* triple fault */
	EXIT_INVALID,   /* the hardware refused the guest's state; .invalid tells why */
	EXIT_KINDS,
};

enum vm_forbidden {
	FORBIDDEN_STRING_IO, FORBIDDEN_VMX, FORBIDDEN_SVM, FORBIDDEN_HYPERCALL_INSTRUCTION,
	FORBIDDEN_MONITOR, FORBIDDEN_TASK_SWITCH, FORBIDDEN_PMC,
	FORBIDDEN_CACHE, /* INVD, WBINVD: may be skipped instead, caches are coherent */
	FORBIDDEN_OTHER,
};

struct vm_exit {
	enum vm_exit_kind kind;
	uint64_t rip;      /* of the instruction that exited */
	uint64_t next_rip; /* behind it; valid for IO, CPUID, MSR, HLT, XSETBV, CR and FORBIDDEN */
	union {
		struct {
			uint16_t port;
			uint8_t size; /* 1, 2, 4 */
			bool in;
		} io;
		struct {
			gpa_t gpa;
			enum gmem_access access;
			bool table_walk; /* by the walk of the guest's own page tables */
		} memory;
		struct {
			uint8_t vector;
			bool has_error;
			uint32_t error;
			uint64_t dr6; /* for #DB: what DR6 will have to show */
		} exception;
		struct {
			uint8_t number;
			uint8_t reg; /* enum vm_reg, 0xff when the value is in .value only */
			uint64_t value;
		} cr;
		enum vm_forbidden forbidden;
		uint64_t invalid;
	};
};

/* What the machine offers to guests, found by the backend's probe. */
struct vm_caps {
	struct tlb_caps tlb;
	unsigned tag_count;      /* ASIDs or VPIDs that can be handed out, tag 0 left out */
	bool has_slice_timer;    /* run() honours slice_tsc itself */
	uint64_t cr4_possible;   /* bits that an entry accepts */
	bool traps_control_regs; /* EXIT_CR is delivered; else CR4 is the guest's own (docs/security.md) */
};

/*
 * One backend. All calls are made on the core that is passed, with interrupts off. The verbs stand in
 * this order in both backends.
 *
 * What no verb reaches while a vCPU is loaded (EFER, PAT, XCR0, XSS, ...) is changed by store(), a
 * write to struct vcpu, and load(): such changes are rare. load() leaves XCR0, XSS, TSC_AUX and
 * DR0-3 with the guest's values in the processor, and host code runs so; store() reads back what the
 * guest can change without an exit.
 */
struct vm_ops {
	const char *name; /* "VT-x" or "AMD-V" */
	const struct pt_format *format;

	/* Can this machine be used? Runs on the boot core. ERR_UNSUPPORTED and a sentence that names
	 * everything that is missing, and what to do about it; 0 and *caps otherwise. */
	int (*probe)(struct vm_caps *caps, char *why, size_t why_size);

	/* Switch virtualisation on, on this core; allocate what it needs (core->vm) as FRAME_HOST. The
	 * core's descriptor tables, TR and GS base are in place and stay as they are from here on.
	 * Errors are those of frame_alloc(), and ERR_UNSUPPORTED when this core refuses. */
	int (*core_start)(struct core *core, struct frame_pool *pool) MUST_CHECK;

	/* Make `vcpu` the one that the control block holds. The core has none loaded. */
	void (*load)(struct core *core, struct vcpu *vcpu);

	/* Take it out again: all of struct vcpu is current, nothing of it stays cached on the core. */
	void (*store)(struct core *core, struct vcpu *vcpu);

	/*
	 * Enter the loaded vCPU and stay until an exit that the core has to see. `root` and `tag` say
	 * which tree and which TLB tag, `flush` what to drop first. With a slice timer, exit EXIT_SLICE
	 * once the host's TSC reaches slice_tsc (0: never).
	 */
	void (*run)(struct core *core, struct vcpu *vcpu, hpa_t root, uint32_t tag,
		enum tlb_action flush, uint64_t slice_tsc, struct vm_exit *exit);

	/* While loaded: continue behind the instruction that exited (clears an interrupt shadow). */
	void (*skip)(struct core *core, struct vcpu *vcpu, const struct vm_exit *exit);

	/* While loaded: read and write single pieces of state that exit handlers need. */
	uint64_t (*get_cr)(struct core *core, unsigned number);
	void (*set_cr)(struct core *core, struct vcpu *vcpu, unsigned number, uint64_t value);
	bool (*interruptible)(struct core *core, struct vcpu *vcpu);

	/* Drop all translations of all guests on this core. */
	void (*flush_all)(struct core *core);
};

extern const struct vm_ops vmx_ops, svm_ops;

#endif
