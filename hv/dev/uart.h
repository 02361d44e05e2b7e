/*
 * COM1 of a Linux guest: a 16550A without an interrupt line, which the guest polls. Bytes leave at
 * once, so its transmitter is always empty. Pure; its owner carries the bytes to and from streams.
 * PC16550D data sheet, "Registers".
 */
#ifndef HV_DEV_UART_H
#define HV_DEV_UART_H

#include "lib/base.h"

#define UART_PORT  0x3f8u
#define UART_PORTS 8u

struct uart {
	uint8_t interrupts, line, modem, fifo, scratch, divisor[2];
	bool sent; /* the interrupt "transmitter empty" has not been read yet */
};

/* Somebody in the guest listens to it. */
bool uart_open(const struct uart *u);

/* A read of register `reg` takes a byte of input. */
bool uart_takes(const struct uart *u, unsigned reg);
/* A write of register `reg` is a byte of output. */
bool uart_sends(const struct uart *u, unsigned reg);

/* `input` is the next byte of input, -1: there is none. */
uint8_t uart_read(struct uart *u, unsigned reg, int input);
void uart_write(struct uart *u, unsigned reg, uint8_t value);

#endif
