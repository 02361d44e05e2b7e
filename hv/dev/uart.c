#include "hv/dev/uart.h"

enum {
	REG_DATA = 0, REG_INTERRUPTS = 1, REG_IDENTITY = 2, REG_FIFO = 2, REG_LINE = 3,
	REG_MODEM = 4, REG_LINE_STATUS = 5, REG_MODEM_STATUS = 6, REG_SCRATCH = 7,
};

#define LINE_DIVISOR       0x80
#define MODEM_LOOP         0x10
#define MODEM_WRITABLE     0x1f
#define INTERRUPT_RECEIVED 1
#define INTERRUPT_SENT     2
#define INTERRUPT_WRITABLE 0xf
#define IDENTITY_NONE      1
#define IDENTITY_SENT      2
#define IDENTITY_RECEIVED  4
#define IDENTITY_FIFOS     0xc0
#define FIFO_ON            1
#define STATUS_EMPTY       0x60 /* holding register and transmitter */
#define STATUS_RECEIVED    1
#define MODEM_CONNECTED    0xb0 /* carrier, data set ready, clear to send */

bool uart_open(const struct uart *u)
{
	return u->interrupts & INTERRUPT_RECEIVED;
}

bool uart_takes(const struct uart *u, unsigned reg)
{
	return reg == REG_DATA && !(u->line & LINE_DIVISOR);
}

bool uart_sends(const struct uart *u, unsigned reg)
{
	return reg == REG_DATA && !(u->line & LINE_DIVISOR) && !(u->modem & MODEM_LOOP);
}

static uint8_t identity(struct uart *u, bool received)
{
	uint8_t fifos = u->fifo & FIFO_ON ? IDENTITY_FIFOS : 0;

	if ((u->interrupts & INTERRUPT_RECEIVED) && received)
		return fifos | IDENTITY_RECEIVED;
	if ((u->interrupts & INTERRUPT_SENT) && u->sent) {
		u->sent = false;
		return fifos | IDENTITY_SENT;
	}
	return fifos | IDENTITY_NONE;
}

/* PC16550D, "Modem Control Register", bit 4: outputs are seen as inputs. */
static uint8_t modem_status(const struct uart *u)
{
	uint8_t m = u->modem;

	if (!(m & MODEM_LOOP))
		return MODEM_CONNECTED;
	return (uint8_t)((m & 1) << 5 | (m & 2) << 3 | (m & 4) << 4 | (m & 8) << 4);
}

uint8_t uart_read(struct uart *u, unsigned reg, int input)
{
	bool divisor = u->line & LINE_DIVISOR;

	switch (reg) {
	case REG_DATA:
		return divisor ? u->divisor[0] : input < 0 ? 0 : (uint8_t)input;
	case REG_INTERRUPTS:
		return divisor ? u->divisor[1] : u->interrupts;
	case REG_IDENTITY:
		return identity(u, input >= 0);
	case REG_LINE:
		return u->line;
	case REG_MODEM:
		return u->modem;
	case REG_LINE_STATUS:
		return STATUS_EMPTY | (input >= 0 ? STATUS_RECEIVED : 0);
	case REG_MODEM_STATUS:
		return modem_status(u);
	default:
		return u->scratch;
	}
}

void uart_write(struct uart *u, unsigned reg, uint8_t value)
{
	bool divisor = u->line & LINE_DIVISOR;

	switch (reg) {
	case REG_DATA:
		if (divisor)
			u->divisor[0] = value;
		else
			u->sent = true;
		break;
	case REG_INTERRUPTS:
		if (divisor) {
			u->divisor[1] = value;
			break;
		}
		if ((value & INTERRUPT_SENT) && !(u->interrupts & INTERRUPT_SENT))
			u->sent = true;
		u->interrupts = value & INTERRUPT_WRITABLE;
		break;
	case REG_FIFO:
		u->fifo = value;
		break;
	case REG_LINE:
		u->line = value;
		break;
	case REG_MODEM:
		u->modem = value & MODEM_WRITABLE;
		break;
	case REG_SCRATCH:
		u->scratch = value;
		break;
	default: /* status registers */
		break;
	}
}
