/*
 * A VT-x processor made of paper, which tests/unit/vmx_exit_test.c puts in the place of
 * hv/vmx/instructions.h: a VMCS is an array, and the privileged registers are variables.
 */
#ifndef HV_VMX_INSTRUCTIONS_H
#define HV_VMX_INSTRUCTIONS_H

#include "hv/cpu.h"
#include "hv/vmx/vmcs.h"

#include <stdlib.h>

#define PAPER_FIELDS 0x7000
#define PAPER_MSRS   0x4000

struct paper {
	uint64_t field[PAPER_FIELDS];
	unsigned writes[PAPER_FIELDS];
	uint64_t msr[PAPER_MSRS];
	unsigned msr_writes;
	uint64_t cr2, dr[4], dr6, xcr0, tsc;
	unsigned dr_writes;
	unsigned interrupts, nmis, machine_checks;
	unsigned invept_single, invept_all, invvpid_all;
	uint64_t invept_root;
};

extern struct paper paper;

static inline uint64_t vmread(uint32_t field)
{
	if (field >= PAPER_FIELDS)
		abort();
	return paper.field[field];
}

static inline void vmwrite(uint32_t field, uint64_t value)
{
	if (field >= PAPER_FIELDS)
		abort();
	paper.field[field] = value;
	paper.writes[field]++;
}

static inline void invept(uint64_t type, uint64_t eptp)
{
	if (type == INVEPT_ALL)
		paper.invept_all++;
	else if (type == INVEPT_SINGLE)
		paper.invept_single++;
	else
		abort();
	paper.invept_root = eptp;
}

static inline void invvpid_all(void)
{
	paper.invvpid_all++;
}

static inline void host_take_interrupt(void)
{
	paper.interrupts++;
}

static inline void host_take_nmi(void)
{
	paper.nmis++;
}

static inline void host_take_machine_check(void)
{
	paper.machine_checks++;
}

static inline uint64_t *paper_msr(uint32_t msr)
{
	return &paper.msr[(msr >= 0xc0000000 ? 0x2000 : 0) + msr % 0x2000];
}

static inline uint64_t paper_rdmsr(uint32_t msr)
{
	return *paper_msr(msr);
}

static inline void paper_wrmsr(uint32_t msr, uint64_t value)
{
	*paper_msr(msr) = value;
	paper.msr_writes++;
}

#define PAPER_REGISTER(name, place, count)                                                         \
	static inline uint64_t paper_read_##name(void)                                             \
	{                                                                                          \
		return paper.place;                                                                \
	}                                                                                          \
	static inline void paper_write_##name(uint64_t value)                                      \
	{                                                                                          \
		paper.place = value;                                                               \
		paper.dr_writes += count;                                                          \
	}

PAPER_REGISTER(cr2, cr2, 0)
PAPER_REGISTER(dr0, dr[0], 1)
PAPER_REGISTER(dr1, dr[1], 1)
PAPER_REGISTER(dr2, dr[2], 1)
PAPER_REGISTER(dr3, dr[3], 1)
PAPER_REGISTER(dr6, dr6, 1)

static inline uint64_t paper_xgetbv(uint32_t index)
{
	return index ? 0 : paper.xcr0;
}

static inline void paper_xsetbv(uint32_t index, uint64_t value)
{
	if (index)
		abort();
	paper.xcr0 = value;
}

static inline uint64_t paper_rdtsc(void)
{
	return paper.tsc;
}

/* hv/cpu.h has been read: from here on its privileged functions are these. */
#define rdmsr     paper_rdmsr
#define wrmsr     paper_wrmsr
#define rdtsc     paper_rdtsc
#define xgetbv    paper_xgetbv
#define xsetbv    paper_xsetbv
#define read_cr2  paper_read_cr2
#define write_cr2 paper_write_cr2
#define read_dr0  paper_read_dr0
#define read_dr1  paper_read_dr1
#define read_dr2  paper_read_dr2
#define read_dr3  paper_read_dr3
#define read_dr6  paper_read_dr6
#define write_dr0 paper_write_dr0
#define write_dr1 paper_write_dr1
#define write_dr2 paper_write_dr2
#define write_dr3 paper_write_dr3
#define write_dr6 paper_write_dr6

#endif
