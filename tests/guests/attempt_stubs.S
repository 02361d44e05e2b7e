/* The stack pointer of an attempt is kept, and an exception comes back to it. */
	.text
	.globl	attempt, attempt_stubs
attempt:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	sub	$8, %rsp
	mov	%rsp, saved_rsp(%rip)
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	call	*%rax
	mov	$-1, %eax
back:
	add	$8, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.set	vector, 0
	.balign	16
attempt_stubs:
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
	pop	%rax
	pop	attempt_error(%rip)
	pop	attempt_rip(%rip)
	mov	saved_rsp(%rip), %rsp
	cld
	jmp	back

	.bss
	.balign	8
	.globl	attempt_error, attempt_rip
attempt_error:	.quad	0
attempt_rip:	.quad	0
saved_rsp:	.quad	0
	.section .note.GNU-stack, "", @progbits
