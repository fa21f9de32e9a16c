/* SPDX-License-Identifier: Apache-2.0 */

/* The smallest guest that shows a VMM runs it: an ELF "kernel" started by its PVH note (as Linux may be). It says
 * "tiny guest" on the serial port and sends every byte back that it gets there, with two exceptions: "r" resets the
 * machine, "h" stops for good. Needs no memory of its own, no interrupts, no kernel package. */

#define COM1 0x3f8

        .section .note.pvh, "a", @note
        .align 4
        .long 4                 /* size of the name */
        .long 4                 /* size of the value */
        .long 18                /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long start

        .text
        .code32
        .globl start
start:  movl $0x200000, %esp
        movl $banner, %esi
1:      lodsb
        testb %al, %al
        jz 2f
        call put
        jmp 1b
2:      call get
        cmpb $'r', %al
        je reset
        cmpb $'h', %al
        je halt
        call put
        jmp 2b

put:    movb %al, %bl
        movw $(COM1 + 5), %dx
3:      inb %dx, %al
        testb $0x20, %al
        jz 3b
        movb %bl, %al
        movw $COM1, %dx
        outb %al, %dx
        ret

get:    movw $(COM1 + 5), %dx
4:      inb %dx, %al
        testb $0x01, %al
        jz 4b
        movw $COM1, %dx
        inb %dx, %al
        ret

halt:   cli
        hlt
        jmp halt

/* A triple fault, like Linux with reboot=t. */
reset:  lidt nothing
        int3

        .align 4
nothing:
        .word 0
        .long 0
banner: .asciz "tiny guest\r\n"
        .section .note.GNU-stack, "", @progbits
