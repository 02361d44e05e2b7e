#include "hv/console.h"

#include "hv/cpu.h"
#include "hv/font.h"

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
#define   UART_LSR_THRE     0x20 /* room for a byte */
#define   UART_LSR_IDLE     0x40 /* all bytes are out */
#define UART_SCRATCH        (COM1 + 7)
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

/* ---- the screen ------------------------------------------------------------------------------- */

#define CELL_WIDTH  8
#define CELL_HEIGHT (2 * FONT_ROWS)
#define MAX_COLUMNS 240u
#define MAX_ROWS    100u

#define COLOR_TEXT       0x00d0d0d0u /* greys look alike in RGB and BGR */
#define COLOR_BACKGROUND 0x00000000u

/* What is shown. The frame buffer is only written, and only where a cell changes: reading it is slow. */
static struct {
	const struct boot_framebuffer *fb;
	unsigned columns, rows; /* rows of scrolling text; the status rows lie below them */
	unsigned all_rows;
	unsigned column, row;
	char cell[MAX_ROWS][MAX_COLUMNS];
} screen;

static void draw(unsigned row, unsigned column, char c)
{
	const uint8_t *glyph;
	volatile uint32_t *line;

	if (screen.cell[row][column] == c)
		return;
	screen.cell[row][column] = c;
	glyph = font_glyphs[(c < FONT_FIRST || c > FONT_LAST ? '?' : c) - FONT_FIRST];
	line = (volatile uint32_t *)screen.fb->base +
		(uint64_t)row * CELL_HEIGHT * screen.fb->stride + (uint64_t)column * CELL_WIDTH;
	for (unsigned y = 0; y < CELL_HEIGHT; y++, line += screen.fb->stride) {
		unsigned dots = (unsigned)glyph[y / 2] << 2; /* centred in the cell */

		for (unsigned x = 0; x < CELL_WIDTH; x++)
			line[x] = dots >> (CELL_WIDTH - 1 - x) & 1 ? COLOR_TEXT : COLOR_BACKGROUND;
	}
}

void console_screen_start(const struct boot_framebuffer *fb)
{
	volatile uint32_t *pixels = (volatile uint32_t *)fb->base;

	if (!fb->base || fb->width < CELL_WIDTH || fb->height < CELL_HEIGHT)
		return;
	for (uint64_t i = 0; i < (uint64_t)fb->stride * fb->height; i++)
		pixels[i] = COLOR_BACKGROUND;
	screen.columns = MIN(fb->width / CELL_WIDTH, MAX_COLUMNS);
	screen.all_rows = MIN(fb->height / CELL_HEIGHT, MAX_ROWS);
	screen.rows = screen.all_rows;
	for (unsigned r = 0; r < screen.all_rows; r++)
		for (unsigned c = 0; c < screen.columns; c++)
			screen.cell[r][c] = ' ';
	screen.fb = fb;
}

bool console_has_screen(void)
{
	return screen.fb;
}

static void scroll(void)
{
	for (unsigned r = 0; r + 1 < screen.rows; r++)
		for (unsigned c = 0; c < screen.columns; c++)
			draw(r, c, screen.cell[r + 1][c]);
	for (unsigned c = 0; c < screen.columns; c++)
		draw(screen.rows - 1, c, ' ');
}

static void screen_put(char c)
{
	if (!screen.fb)
		return;
	if (c == '\n' || screen.column == screen.columns) {
		screen.column = 0;
		if (screen.row + 1 < screen.rows)
			screen.row++;
		else
			scroll();
	}
	if (c != '\n')
		draw(screen.row, screen.column++, c);
}

void console_status_rows(unsigned rows)
{
	if (!screen.fb || rows >= screen.all_rows)
		return;
	while (screen.row + rows >= screen.all_rows) {
		scroll();
		screen.row--;
	}
	screen.rows = screen.all_rows - rows;
}

void console_status(unsigned row, const char *text)
{
	if (!screen.fb || row >= screen.all_rows - screen.rows)
		return;
	for (unsigned c = 0; c < screen.columns; c++)
		draw(screen.rows + row, c, *text ? *text++ : ' ');
}

void console_write(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '\n')
			serial_put('\r');
		serial_put(text[i]);
		screen_put(text[i]);
	}
}
