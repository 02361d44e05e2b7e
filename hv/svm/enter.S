/*
 * The world switch of AMD-V.
 *
 * void svm_enter(struct vmcb *guest, uint64_t regs[REG_COUNT], struct vmcb *host);
 *
 * Called with interrupts off and GIF set, and returns so. Memory is identity mapped: the pointers are
 * the physical addresses that the instructions want. regs[] holds all guest registers but RAX, which
 * is in the VMCB, and RSP (its slot is not used).
 *
 * VMRUN and #VMEXIT switch CS, SS, DS, ES, GDTR, IDTR, the control registers, RIP, RSP, RAX and RFLAGS
 * themselves. FS, GS, TR, LDTR and the system call MSRs are switched by VMLOAD and VMSAVE, the host's
 * from `host`, saved once at the start of the core; meanwhile GIF is clear, so no interrupt or NMI
 * finds the guest's TR. RFLAGS.IF is set across VMRUN, since with V_INTR_MASKING it is the host's that
 * lets a physical interrupt end the guest; it is clear again before GIF is set: a pending interrupt
 * stays pending, an NMI comes at STGI.
 *
 * APM Vol 2, "VMRUN Instruction", "Global Interrupt Flag, STGI and CLGI Instructions",
 * "VMSAVE and VMLOAD Instructions".
 */
	/* Offsets in regs[], by enum vm_reg. */
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
	.globl	svm_enter
	.hidden	svm_enter
	.type	svm_enter, @function
svm_enter:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdx
	push	%rsi
	mov	%rdi, %rax
	clgi
	sti
	vmload	%rax
	mov	RCX(%rsi), %rcx
	mov	RDX(%rsi), %rdx
	mov	RBX(%rsi), %rbx
	mov	RBP(%rsi), %rbp
	mov	RDI(%rsi), %rdi
	mov	R8(%rsi), %r8
	mov	R9(%rsi), %r9
	mov	R10(%rsi), %r10
	mov	R11(%rsi), %r11
	mov	R12(%rsi), %r12
	mov	R13(%rsi), %r13
	mov	R14(%rsi), %r14
	mov	R15(%rsi), %r15
	mov	RSI(%rsi), %rsi

	vmrun	%rax

	vmsave	%rax			/* RAX is the host's again */
	pop	%rax
	mov	%rcx, RCX(%rax)
	mov	%rdx, RDX(%rax)
	mov	%rbx, RBX(%rax)
	mov	%rbp, RBP(%rax)
	mov	%rsi, RSI(%rax)
	mov	%rdi, RDI(%rax)
	mov	%r8, R8(%rax)
	mov	%r9, R9(%rax)
	mov	%r10, R10(%rax)
	mov	%r11, R11(%rax)
	mov	%r12, R12(%rax)
	mov	%r13, R13(%rax)
	mov	%r14, R14(%rax)
	mov	%r15, R15(%rax)
	pop	%rax
	vmload	%rax
	cli
	stgi

	xor	%ecx, %ecx			/* what the calling convention lets us return with */
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
	.size	svm_enter, . - svm_enter

	.section .note.GNU-stack, "", @progbits
