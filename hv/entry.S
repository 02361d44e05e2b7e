/*
 * Assembly of the platform: the entry stubs of all 256 vectors, MSR access that survives #GP, and the
 * way of a starting processor from real mode to C.
 */
	.text

/* ---- vectors: 16 bytes each, so that the IDT computes their addresses ---- */

	.balign	16
	.globl	idt_stubs
	.hidden	idt_stubs
idt_stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	/* #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC, #SX push an error code themselves */
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || \
		vector == 29 || vector == 30)
	pushq	$0
	.endif
	pushq	$vector
	jmp	idt_common
	.set	vector, vector + 1
	.endr

	.balign	16
	.type	idt_common, @function
idt_common:
	cld
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%rbp
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, %rdi
	call	idt_dispatch
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rbp
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$16, %rsp
	iretq
	.size	idt_common, . - idt_common

/* ---- bool rdmsr_safe(edi: msr, rsi: value), bool wrmsr_safe(edi: msr, rsi: value) ---- */

	.globl	rdmsr_safe, wrmsr_safe, msr_fault_read, msr_fault_write, msr_fault_fixup
	.hidden	rdmsr_safe, wrmsr_safe, msr_fault_read, msr_fault_write, msr_fault_fixup
	.type	rdmsr_safe, @function
rdmsr_safe:
	movl	%edi, %ecx
msr_fault_read:
	rdmsr
	movl	%eax, (%rsi)
	movl	%edx, 4(%rsi)
	movl	$1, %eax
	ret
	.size	rdmsr_safe, . - rdmsr_safe

	.type	wrmsr_safe, @function
wrmsr_safe:
	movl	%edi, %ecx
	movl	%esi, %eax
	movq	%rsi, %rdx
	shrq	$32, %rdx
msr_fault_write:
	wrmsr
	movl	$1, %eax
	ret
msr_fault_fixup:
	xorl	%eax, %eax
	ret
	.size	wrmsr_safe, . - wrmsr_safe

/*
 * ---- the trampoline: copied to a page below 1 MiB (SDM Vol 3, "MP Initialization Example") ----
 *
 * A processor starts here in real mode with CS:IP = page:0. smp.c has filled in the words at the end.
 * Paging, PAE and long mode are switched on in one step, which real mode allows.
 */
	.globl	trampoline, trampoline_end, trampoline_cr3, trampoline_cr4, trampoline_entry
	.globl	trampoline_far, trampoline_gdtr, trampoline_gdt
	.hidden	trampoline, trampoline_end, trampoline_cr3, trampoline_cr4, trampoline_entry
	.hidden	trampoline_far, trampoline_gdtr, trampoline_gdt
	.section .rodata
	.balign	16
	.code16
trampoline:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	movl	trampoline_cr4 - trampoline, %eax
	movl	%eax, %cr4
	movl	trampoline_cr3 - trampoline, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER: LME and NXE */
	rdmsr
	orl	$0x900, %eax
	wrmsr
	lgdtl	trampoline_gdtr - trampoline
	movl	$0x80010031, %eax	/* CR0: PG, WP, NE, ET, PE */
	movl	%eax, %cr0
	ljmpl	*(trampoline_far - trampoline)
	.code64
trampoline_long:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	jmpq	*trampoline_entry(%rip)

	.balign	8
trampoline_cr3:
	.long	0
trampoline_cr4:
	.long	0
trampoline_entry:
	.quad	0
trampoline_far:			/* smp.c adds the page's address */
	.long	trampoline_long - trampoline
	.word	0x08
	.balign	8
trampoline_gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* 64-bit code */
	.quad	0x00cf93000000ffff	/* data */
trampoline_gdtr:
	.word	. - trampoline_gdt - 1
	.long	trampoline_gdt - trampoline
trampoline_end:

/*
 * ---- a started processor, in long mode without a stack: take the core that waits for one ----
 * A processor that comes late finds none, or finds that another's was taken, and stops.
 */
	.text
	.globl	smp_entry
	.hidden	smp_entry
	.type	smp_entry, @function
smp_entry:
	xorl	%edi, %edi
	xchgq	%rdi, smp_starting(%rip)
	testq	%rdi, %rdi
	jz	1f
	movq	smp_starting_stack(%rip), %rsp
	xorl	%ebp, %ebp
	pushq	$0
	jmp	smp_core_main
1:	cli
	hlt
	jmp	1b
	.size	smp_entry, . - smp_entry

	.section .note.GNU-stack, "", @progbits
