/*
 * VMLAUNCH or VMRESUME, and back: moves registers, nothing else.
 *
 * int vmx_enter(uint64_t regs[REG_COUNT] rdi, struct vmx_core *c rsi, bool launched edx)
 */
#include "hv/vmx/vmcs.h"
	/* Offsets in regs[], by enum vm_reg; slot 4 is RSP's and stays unused. */
	.set	RAX, 0
	.set	RCX, 8
	.set	RDX, 16
	.set	RBX, 24
	.set	RBP, 40
	.set	RSI, 48
	.set	RDI, 56
	.set	R8, 64
	.set	R9, 72
	.set	R10, 80
	.set	R11, 88
	.set	R12, 96
	.set	R13, 104
	.set	R14, 112
	.set	R15, 120
	.text
	.globl	vmx_enter, vmx_exit_point
	.hidden	vmx_enter, vmx_exit_point
	.type	vmx_enter, @function
vmx_enter:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdi			/* the exit finds regs at the top of the stack */
	cmp	%rsp, (%rsi)		/* called at the same depth as the last time? */
	je	1f
	mov	$HOST_RSP, %eax
	vmwrite	%rsp, %rax
	mov	%rsp, (%rsi)
1:	test	%dl, %dl		/* the moves below leave the flags alone */
	mov	RAX(%rdi), %rax
	mov	RCX(%rdi), %rcx
	mov	RDX(%rdi), %rdx
	mov	RBX(%rdi), %rbx
	mov	RBP(%rdi), %rbp
	mov	RSI(%rdi), %rsi
	mov	R8(%rdi), %r8
	mov	R9(%rdi), %r9
	mov	R10(%rdi), %r10
	mov	R11(%rdi), %r11
	mov	R12(%rdi), %r12
	mov	R13(%rdi), %r13
	mov	R14(%rdi), %r14
	mov	R15(%rdi), %r15
	mov	RDI(%rdi), %rdi
	jz	2f
	vmresume
	jmp	3f
2:	vmlaunch
3:	mov	$1, %eax		/* still here: VMfail; regs[] is unchanged */
	pop	%rdi
	jmp	4f
	.size	vmx_enter, . - vmx_enter
	.type	vmx_exit_point, @function
vmx_exit_point:
	xchg	%rdi, (%rsp)
	mov	%rax, RAX(%rdi)
	mov	%rcx, RCX(%rdi)
	mov	%rdx, RDX(%rdi)
	mov	%rbx, RBX(%rdi)
	mov	%rbp, RBP(%rdi)
	mov	%rsi, RSI(%rdi)
	pop	RDI(%rdi)
	mov	%r8, R8(%rdi)
	mov	%r9, R9(%rdi)
	mov	%r10, R10(%rdi)
	mov	%r11, R11(%rdi)
	mov	%r12, R12(%rdi)
	mov	%r13, R13(%rdi)
	mov	%r14, R14(%rdi)
	mov	%r15, R15(%rdi)
	xor	%eax, %eax
	call	5f			/* so that no RET is predicted from a return stack of the guest's: */
	int3				/* Intel, "Post-barrier Return Stack Buffer Predictions" */
5:	add	$8, %rsp
	lfence
4:	xor	%ecx, %ecx		/* no guest value steers what is speculated from here on */
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret
	.size	vmx_exit_point, . - vmx_exit_point
	.section .note.GNU-stack, "", @progbits
