/*
 * A kernel that reads and writes every port and MSR, and memory, by chance: ROUNDS times, from the seed
 * that its command line is. Then it says "done" and switches itself off. Entered as 64-bit Linux is.
 */
#define ROUNDS      150000
#define BOOT_PARAMS_CMDLINE 0x228
#define LINE        0x3f8
#define SLEEP_PORT  0x600
#define RESET_PORT  0x601
#define SLEEP_OFF   0x34
#define MEMORY_MASK 0x1fffff8 /* where it scribbles: the first 32 MiB, but for itself */
#define VECTOR_GP   13
#define GATE        0x8e00
#define CODE        0x10

	.text
	.globl start
start:
	mov BOOT_PARAMS_CMDLINE(%rsi), %eax
	mov (%rax), %r15
	or $1, %r15
	lea stack_top(%rip), %rsp
	lea idt(%rip), %rdi
	lea skip(%rip), %rax
	mov %ax, VECTOR_GP * 16(%rdi)
	movw $CODE, VECTOR_GP * 16 + 2(%rdi)
	movw $GATE, VECTOR_GP * 16 + 4(%rdi)
	shr $16, %rax
	mov %ax, VECTOR_GP * 16 + 6(%rdi)
	lidt idt_pointer(%rip)
	mov $ROUNDS, %r14d
	xor %r13d, %r13d

again:	/* r8: what to do; r9: with what; r10: how */
	call random
	mov %r15, %r8
	call random
	mov %r15, %rcx
	shr $58, %rcx
	mov %r15, %r9
	shr %cl, %r9		/* small numbers as often as large ones */
	call random
	mov %r15, %r10
	mov %r8, %rax
	and $7, %eax
	lea table(%rip), %rbx
	movslq (%rbx, %rax, 4), %rax
	add %rbx, %rax
	call *%rax
	dec %r14d
	jnz again

	mov $LINE + 3, %edx	/* a UART as it should be */
	mov $3, %al
	out %al, %dx
	mov $LINE + 4, %edx
	xor %eax, %eax
	out %al, %dx
	lea done(%rip), %rsi
1:	lodsb
	test %al, %al
	jz 2f
	mov $LINE, %edx
	out %al, %dx
	jmp 1b
2:	mov $SLEEP_PORT, %edx
	mov $SLEEP_OFF, %al
	out %al, %dx
	hlt

random:	/* xorshift64 */
	mov %r15, %rax
	shl $13, %rax
	xor %rax, %r15
	mov %r15, %rax
	shr $7, %rax
	xor %rax, %r15
	mov %r15, %rax
	shl $17, %rax
	xor %rax, %r15
	ret

skip:	/* #GP: RDMSR and WRMSR are two bytes long */
	add $8, %rsp
	addq $2, (%rsp)
	iretq

port:	/* to edx: one that somebody may have, mostly */
	mov %r10, %rdx
	shr $16, %rdx
	mov %r10d, %eax
	and $3, %eax
	jz 1f
	lea ports(%rip), %rbx
	movzwl (%rbx, %rax, 4), %ecx
	and 2(%rbx, %rax, 4), %dx
	add %cx, %dx
1:	movzwl %dx, %edx
	ret

read:	call port
	test $0x40, %r10b
	jz 1f
	in %dx, %al
	ret
1:	test $0x80, %r10b
	jz 1f
	in %dx, %ax
	ret
1:	in %dx, %eax
	ret

write:	call port
	cmp $SLEEP_PORT, %edx
	je 2f
	cmp $RESET_PORT, %edx
	je 2f
	mov %r9d, %eax
	test $0x40, %r10b
	jz 1f
	out %al, %dx
	ret
1:	test $0x80, %r10b
	jz 1f
	out %ax, %dx
	ret
1:	out %eax, %dx
2:	ret

msr:	/* to ecx: likewise */
	mov %r10, %rcx
	shr $16, %rcx
	mov %r10d, %eax
	and $7, %eax
	jz 1f
	lea msrs(%rip), %rbx
	and $0xff, %ecx
	add (%rbx, %rax, 4), %ecx
1:	ret

read_msr:
	call msr
	rdmsr
	ret

write_msr:
	call msr
	mov %r9, %rax
	mov %r9, %rdx
	shr $32, %rdx
	wrmsr
	ret

scribble:
	mov %r10d, %eax
	and $MEMORY_MASK, %eax
	mov %eax, %ecx
	shr $16, %ecx
	cmp $0x100, %ecx	/* ourselves */
	je 1f
	mov %r9, (%rax)
1:	ret

	.balign 8
table:	.long read - table, write - table, write - table, write - table
	.long read_msr - table, write_msr - table, scribble - table, write - table
	/* base and mask */
ports:	.word 0, 0, 0xcf8, 7, 0xc080, 0x1ff, 0x3f8, 7
msrs:	.long 0, 0x800, 0, 0x100, 0x200, 0xc0000080, 0xc0010000, 0x4b564d00
done:	.asciz "\ndone\n"
	.balign 8
idt_pointer:
	.word 256 * 16 - 1
	.quad idt
	.balign 16
idt:	.fill 256 * 16, 1, 0
	.fill 4096, 1, 0
stack_top:
