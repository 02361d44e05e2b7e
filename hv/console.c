#include "hv/console.h"

#include "hv/cpu.h"
#include "hv/screen.h"

/* ---- COM1: a 16550, PC16550D data sheet ------------------------------------------------------- */

#define COM1                0x3f8
#define UART_DATA           (COM1 + 0)
#define UART_IER            (COM1 + 1)
#define UART_FCR            (COM1 + 2)
#define   UART_FCR_RESET    0x07 /* queues on and emptied */
#define UART_LCR            (COM1 + 3)
#define   UART_LCR_8N1      0x03
#define   UART_LCR_DLAB     0x80
#define UART_MCR            (COM1 + 4)
#define   UART_MCR_READY    0x03 /* DTR and RTS */
#define UART_LSR            (COM1 + 5)
#define   UART_LSR_DATA     0x01 /* a byte has come */
#define   UART_LSR_THRE     0x20 /* room for a byte */
#define   UART_LSR_IDLE     0x40 /* all bytes are out */
#define UART_SCRATCH        (COM1 + 7)
#define UART_QUEUE          16
#define UART_DIVISOR        1 /* 115200 baud */

/* A port read takes about a microsecond; a full queue of 16 bytes is out after 1.4 ms. */
#define UART_WAIT_SPINS 50000

static bool serial_on;

static bool uart_wait(uint8_t bit)
{
	for (unsigned i = 0; i < UART_WAIT_SPINS; i++) {
		if (in8(UART_LSR) & bit)
			return true;
		cpu_relax();
	}
	return false;
}

static bool uart_present(void)
{
	out8(UART_SCRATCH, 0x5a);
	if (in8(UART_SCRATCH) != 0x5a)
		return false;
	out8(UART_SCRATCH, 0xa5);
	return in8(UART_SCRATCH) == 0xa5;
}

void console_start(bool serial)
{
	if (!serial || !uart_present())
		return;
	/* what the loader wrote goes out before the queues are reset */
	uart_wait(UART_LSR_IDLE);
	out8(UART_IER, 0);
	out8(UART_LCR, UART_LCR_DLAB);
	out8(UART_DATA, UART_DIVISOR);
	out8(UART_IER, 0);
	out8(UART_LCR, UART_LCR_8N1);
	out8(UART_FCR, UART_FCR_RESET);
	out8(UART_MCR, UART_MCR_READY);
	serial_on = true;
}

/* A port that swallows nothing any more is given up: the host must not crawl for a cable. */
static void serial_put(char c)
{
	if (!serial_on)
		return;
	if (!uart_wait(UART_LSR_THRE)) {
		serial_on = false;
		return;
	}
	out8(UART_DATA, (uint8_t)c);
}

void console_flush(void)
{
	if (serial_on)
		uart_wait(UART_LSR_IDLE);
}

/* ---- both ------------------------------------------------------------------------------------- */

static const struct {
	const char *serial; /* ECMA-48, "Select Graphic Rendition"; NULL: as it is */
	enum screen_color screen;
} tones[] = {
	[TONE_PLAIN] = {NULL, COLOR_TEXT},
	[TONE_WARN] = {"\033[33m", COLOR_WARN},
	[TONE_ERROR] = {"\033[1;31m", COLOR_ERROR},
};

static void serial_text(const char *text)
{
	while (*text)
		serial_put(*text++);
}

void console_serial_line(const char *text)
{
	serial_text(text);
	serial_text("\r\n");
}

bool console_key(void)
{
	bool pressed = false;

	for (unsigned i = 0; serial_on && i < UART_QUEUE && in8(UART_LSR) & UART_LSR_DATA; i++) {
		in8(UART_DATA);
		pressed = true;
	}
	return pressed;
}

void console_line(const char *text, size_t size, enum console_tone tone)
{
	if (tones[tone].serial)
		serial_text(tones[tone].serial);
	for (size_t i = 0; i < size; i++) {
		serial_put(text[i]);
		screen_put(text[i], tones[tone].screen);
	}
	if (tones[tone].serial)
		serial_text("\033[m");
	serial_text("\r\n");
	screen_put('\n', COLOR_TEXT);
}
