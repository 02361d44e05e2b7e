/* Out of 64-bit mode and paging, and what is wrong there. RDI: enum of wild.c's last modes. */
/* of creel/abi.h */
#define CREEL_PORT      0xce
#define CREEL_CALL_EXIT 1

#define MSR_EFER 0xc0000080
#define CODE32   0x08
#define DATA32   0x10
#define CODE32_3 0x1b
#define DATA32_3 0x23
#define CODE16   0x28
#define CR0_PG   (1 << 31)
#define CR0_PE   1
#define CR0_AM   (1 << 18)
#define FLAGS_AC (1 << 18)
#define VECTOR_AC 17

	.text
	.globl	wild_leave, wild_step_cpuid, wild_step_in
	.globl	wild_after_cpuid, wild_after_in
wild_leave:
	mov	%edi, %ebp
	lgdt	gdt_pointer(%rip)
	lea	legacy(%rip), %eax
	push	$CODE32
	push	%rax
	lretq

	.code32
legacy:
	mov	$DATA32, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%cr0, %eax
	and	$~CR0_PG, %eax
	mov	%eax, %cr0
	cmp	$1, %ebp
	je	alignment
	cmp	$2, %ebp
	je	real
	mov	$7, %edi
	mov	$CREEL_CALL_EXIT, %eax
	out	%eax, $CREEL_PORT
	ud2

/* In ring 3, with the gate of #AC to ring 3: delivery pushes onto the same stack, which is misaligned. */
alignment:
	lidt	idt_pointer
	mov	%cr0, %eax
	or	$CR0_AM, %eax
	mov	%eax, %cr0
	push	$DATA32_3
	push	$(stack_end - 1)
	pushf
	orl	$FLAGS_AC, (%esp)
	push	$CODE32_3
	push	$ring3
	iret
ring3:
	mov	$DATA32_3, %eax
	mov	%eax, %ds
	push	%eax
handler:
	jmp	handler

real:
	lidt	real_idt_pointer
	ljmp	$CODE16, $(real16 - 0x10000)
	.code16
real16:
	mov	%cr0, %eax
	and	$~CR0_PE, %eax
	mov	%eax, %cr0
	ljmp	$0x1000, $(1f - 0x10000)
1:	hlt
	.code64

wild_step_cpuid:
	push	%rbx
	xor	%eax, %eax
	pushf
	orl	$0x100, (%rsp)
	popf
	cpuid
wild_after_cpuid:
	nop
	pop	%rbx
	ret

wild_step_in:
	pushf
	orl	$0x100, (%rsp)
	popf
	inb	$0x80, %al
wild_after_in:
	nop
	ret

	.data
	.balign	16
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* code */
	.quad	0x00cf93000000ffff	/* data */
	.quad	0x00cffb000000ffff	/* code, ring 3 */
	.quad	0x00cff3000000ffff	/* data, ring 3 */
	.quad	0x00009b010000ffff	/* 16-bit code at 0x10000 */
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt
	.balign	8
idt:
	.rept	VECTOR_AC
	.quad	0
	.endr
	.word	handler - 0x10000	/* the image begins there */
	.word	CODE32_3
	.word	0xee00
	.word	1
idt_end:
idt_pointer:
	.word	idt_end - idt - 1
	.long	idt
real_idt_pointer:
	.word	0x3ff
	.long	0
	.bss
	.balign	4096
	.skip	4096
stack_end:
	.skip	16
	.section .note.GNU-stack, "", @progbits
