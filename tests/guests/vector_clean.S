/*
 * Exits with 0 if all vector and x87 state is as after a reset when the guest begins: nothing of
 * another guest, or of the host, is in it. Else with 1 + the byte of the XSAVE area that is not / 64.
 */
/* of creel/abi.h */
#define CREEL_PORT      0xce
#define CREEL_CALL_EXIT 1

#define AREA_SIZE 4096

	.section .text.start, "ax"
	.globl	_start
_start:
	xor	%ecx, %ecx
	xgetbv
	xsave	area(%rip)
	/* FCW and MXCSR are not zero after a reset, and the header says what is in use. */
	cmpw	$0x37f, area(%rip)
	jne	wrong_control
	cmpl	$0x1f80, area+24(%rip)
	jne	wrong_control
	movw	$0, area(%rip)
	movq	$0, area+24(%rip)	/* MXCSR, and the mask of its bits */
	movq	$0, area+512(%rip)
	lea	area(%rip), %rsi
	xor	%edi, %edi
1:	cmpq	$0, (%rsi,%rdi)
	jne	dirty
	add	$8, %edi
	cmp	$AREA_SIZE, %edi
	jb	1b
	xor	%edi, %edi
	jmp	exit
wrong_control:
	mov	$120, %edi
	jmp	exit
dirty:
	shr	$6, %edi
	inc	%edi
exit:
	mov	$CREEL_CALL_EXIT, %eax
	out	%eax, $CREEL_PORT
	ud2

	.bss
	.balign	64
area:	.skip	AREA_SIZE
	.section .note.GNU-stack, "", @progbits
