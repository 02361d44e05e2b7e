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
	.text
	.globl svm_enter
	.hidden svm_enter
	.type svm_enter, @function
svm_enter:
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdx
	push %rsi
	mov %rdi, %rax
	clgi
	sti
	vmload %rax
	mov 0x08(%rsi), %rcx
	mov 0x10(%rsi), %rdx
	mov 0x18(%rsi), %rbx
	mov 0x28(%rsi), %rbp
	mov 0x38(%rsi), %rdi
	mov 0x40(%rsi), %r8
	mov 0x48(%rsi), %r9
	mov 0x50(%rsi), %r10
	mov 0x58(%rsi), %r11
	mov 0x60(%rsi), %r12
	mov 0x68(%rsi), %r13
	mov 0x70(%rsi), %r14
	mov 0x78(%rsi), %r15
	mov 0x30(%rsi), %rsi

	vmrun %rax

	vmsave %rax			/* RAX is the host's again */
	pop %rax
	mov %rcx, 0x08(%rax)
	mov %rdx, 0x10(%rax)
	mov %rbx, 0x18(%rax)
	mov %rbp, 0x28(%rax)
	mov %rsi, 0x30(%rax)
	mov %rdi, 0x38(%rax)
	mov %r8, 0x40(%rax)
	mov %r9, 0x48(%rax)
	mov %r10, 0x50(%rax)
	mov %r11, 0x58(%rax)
	mov %r12, 0x60(%rax)
	mov %r13, 0x68(%rax)
	mov %r14, 0x70(%rax)
	mov %r15, 0x78(%rax)
	pop %rax
	vmload %rax
	cli
	stgi

	xor %ecx, %ecx			/* what the calling convention lets us return with */
	xor %edx, %edx
	xor %esi, %esi
	xor %edi, %edi
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret
	.size svm_enter, . - svm_enter

	.section .note.GNU-stack, "", @progbits
