/* The start of a kernel of ours, entered as 64-bit Linux is, and the way from interrupts to trap(). */
#define STACK_SIZE 16384

	.section .text.start, "ax"
	.globl start
start:	lea	stack_top(%rip), %rsp
	mov	%rsi, %rdi
	xor	%ebp, %ebp
	call	board_main
1:	cli
	hlt
	jmp	1b

	/* #DF to #PF, but for 9, push an error code; all others get one. A device's vector above is none of
	 * these, whatever an exception of that number would push. */
	.balign	16
	.globl trap_stubs
trap_stubs:
	vector = 0
	.rept	256
	.balign	16
	.if	vector != 8 && (vector < 10 || vector > 14)
	push	$0
	.endif
	push	$vector
	jmp	common
	vector = vector + 1
	.endr

common:	push	%rax
	push	%rcx
	push	%rdx
	push	%rbx
	push	%rbp
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	mov	%rsp, %rdi
	cld
	call	trap
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rbp
	pop	%rbx
	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$16, %rsp
	iretq

	.bss
	.balign	64
	.skip	STACK_SIZE
stack_top:
	.section .note.GNU-stack, "", @progbits
