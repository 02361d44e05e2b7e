/* The last step of boot/: leave the firmware's stack for ours. */
	.text
	.globl boot_jump
	.hidden boot_jump
	.type boot_jump, @function
/* boot_jump(rdi: info, rsi: stack top). A zero return address and frame pointer end backtraces. */
boot_jump:
	cli
	cld
	movq	%rsi, %rsp
	xorl	%ebp, %ebp
	pushq	$0
	jmp	hv_main
	.size boot_jump, . - boot_jump

	.section .note.GNU-stack, "", @progbits
