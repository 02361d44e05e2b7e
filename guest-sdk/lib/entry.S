/*
 * Entry of an SDK guest (creel/abi.h tells the state), and stubs that report an exception as the
 * reason for the guest's end instead of a triple fault.
 */
	.section .text.start, "ax"
	.globl	_start
_start:
	xor	%ebp, %ebp
	call	creel_start
	ud2

	.text
	.globl	creel_hypercall
/* int64_t creel_hypercall(number, a, b, c, d, uint64_t *second): RDX of the result goes to *second */
creel_hypercall:
	push	%rbx
	mov	%r9, %rbx
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	out	%eax, $0xce
	test	%rbx, %rbx
	jz	1f
	mov	%rdx, (%rbx)
1:	pop	%rbx
	ret

	.set	vector, 0
	.globl	creel_trap_stubs
	.balign	16
creel_trap_stubs:
	.rept	32
	.balign	16
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	push	$0
	.endif
	push	$vector
	jmp	trap
	.set	vector, vector + 1
	.endr
trap:
	pop	%rdi			/* vector */
	pop	%rsi			/* error code */
	mov	(%rsp), %rdx		/* RIP */
	mov	%cr2, %rcx
	and	$-16, %rsp
	call	creel_trap
	ud2
	.section .note.GNU-stack, "", @progbits
