/*
 * The instructions of VT-x, and the ways in which an exit is handed to the host's own handlers. The
 * host's tests put a processor made of paper in the place of this file.
 */
#ifndef HV_VMX_INSTRUCTIONS_H
#define HV_VMX_INSTRUCTIONS_H

#include "hv/idt.h"
#include "hv/panic.h"
#include "hv/vmx/vmcs.h"

/* A field that the processor does not have, or no current VMCS: we are wrong. */
static inline uint64_t vmread(uint32_t field)
{
	uint64_t value;
	bool failed;

	__asm__ volatile("vmread %2, %1"
		: "=@ccbe"(failed), "=r"(value) : "r"((uint64_t)field) : "memory");
	if (UNLIKELY(failed))
		panic("vmx: VMREAD of %x failed", field);
	return value;
}

static inline void vmwrite(uint32_t field, uint64_t value)
{
	bool failed;

	__asm__ volatile("vmwrite %1, %2"
		: "=@ccbe"(failed) : "r"(value), "r"((uint64_t)field) : "memory");
	if (UNLIKELY(failed))
		panic("vmx: VMWRITE of %x failed", field);
}

struct invalidate_descriptor {
	uint64_t context, address;
};

static inline void invept(uint64_t type, uint64_t eptp)
{
	struct invalidate_descriptor d = { eptp, 0 };
	bool failed;

	__asm__ volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(d), "r"(type) : "memory");
	if (UNLIKELY(failed))
		panic("vmx: INVEPT failed");
}

static inline void invvpid_all(void)
{
	struct invalidate_descriptor d = { 0, 0 };
	bool failed;

	__asm__ volatile("invvpid %1, %2"
		: "=@ccbe"(failed) : "m"(d), "r"((uint64_t)INVVPID_ALL) : "memory");
	if (UNLIKELY(failed))
		panic("vmx: INVVPID failed");
}

/* The interrupt was not acknowledged, so it is taken as soon as IF is set; NOP ends the shadow. */
static inline void host_take_interrupt(void)
{
	__asm__ volatile("sti; nop; cli" ::: "memory");
}

/* The exit took the NMI and left further ones blocked until an IRET: SDM Vol 3, "Updating Non-Register
 * State" in the chapter on VM exits. */
static inline void host_take_nmi(void)
{
	idt_raise_nmi();
}

/* The exception was intercepted before the host's handler could run. */
static inline void host_take_machine_check(void)
{
	__asm__ volatile("int $18" ::: "memory");
}

#endif
