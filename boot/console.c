/*
 * The two consoles of the loader: COM1 for everything, and the firmware's own for refusals, since
 * hv/ with its screen does not come after one.
 */
#include "boot/boot.h"
#include "lib/string.h"

#define COM1 0x3f8

enum uart_register {
	UART_DATA = 0,
	UART_INTERRUPT_ENABLE = 1,
	UART_FIFO_CONTROL = 2,
	UART_LINE_CONTROL = 3,
	UART_MODEM_CONTROL = 4,
	UART_LINE_STATUS = 5,
};

#define UART_LCR_8N1        0x03
#define UART_LCR_DIVISOR    0x80
#define UART_FCR_ENABLE     0x07 /* on, and both queues emptied */
#define UART_MCR_DTR_RTS    0x03
#define UART_LSR_THR_EMPTY  0x20
#define UART_DIVISOR_115200 1
#define UART_WAIT_SPINS     100000 /* longer than a byte takes at 115200 on any machine */

#define LINE_MAX 256

static EFI_SYSTEM_TABLE *firmware;

static void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void serial_put(char c)
{
	for (unsigned i = 0; i < UART_WAIT_SPINS; i++) {
		if (in8(COM1 + UART_LINE_STATUS) & UART_LSR_THR_EMPTY)
			break;
	}
	out8(COM1 + UART_DATA, (uint8_t)c);
}

static void serial_init(void)
{
	out8(COM1 + UART_INTERRUPT_ENABLE, 0);
	out8(COM1 + UART_LINE_CONTROL, UART_LCR_DIVISOR);
	out8(COM1 + UART_DATA, UART_DIVISOR_115200);
	out8(COM1 + UART_INTERRUPT_ENABLE, 0);
	out8(COM1 + UART_LINE_CONTROL, UART_LCR_8N1);
	out8(COM1 + UART_FIFO_CONTROL, UART_FCR_ENABLE);
	out8(COM1 + UART_MODEM_CONTROL, UART_MCR_DTR_RTS);
}

static void firmware_put_line(const char *line)
{
	CHAR16 wide[LINE_MAX + 3];
	size_t n = 0;

	if (!firmware || !firmware->ConOut)
		return;
	for (; line[n] && n < LINE_MAX; n++)
		wide[n] = (uint8_t)line[n];
	wide[n++] = '\r';
	wide[n++] = '\n';
	wide[n] = 0;
	firmware->ConOut->OutputString(firmware->ConOut, wide);
}

void console_init(EFI_SYSTEM_TABLE *system)
{
	firmware = system;
	serial_init();
}

void console_without_firmware(void)
{
	firmware = NULL;
}

static void serial_put_line(const char *line)
{
	for (; *line; line++)
		serial_put(*line);
	serial_put('\r');
	serial_put('\n');
}

void console_say(const char *format, ...)
{
	char line[LINE_MAX] = "creel: ";
	size_t n = strlen(line);
	va_list ap;

	va_start(ap, format);
	vfmt(line + n, sizeof(line) - n, format, ap);
	va_end(ap);
	serial_put_line(line);
}

void boot_refuse(const char *format, ...)
{
	char line[LINE_MAX] = "creel: cannot start: ";
	size_t n = strlen(line);
	va_list ap;

	va_start(ap, format);
	vfmt(line + n, sizeof(line) - n, format, ap);
	va_end(ap);
	firmware_put_line(line);
	/* the firmware's console may itself be COM1, with escape sequences before its next line */
	serial_put_line("");
	serial_put_line(line);
	for (;;)
		__asm__ volatile("hlt");
}
