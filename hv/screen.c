#include "hv/screen.h"

#include "hv/font.h"
#include "lib/qr.h"
#include "lib/string.h"

#define CELL_WIDTH  8u
#define CELL_HEIGHT (2 * FONT_ROWS)
#define MAX_COLUMNS 240u
#define MAX_ROWS    100u

/* In the place of a character: so many columns of ink from the left, 0 to CELL_WIDTH. */
#define GLYPH_BLOCK 0

static const uint32_t palette[COLORS] = {
	[COLOR_BACK] = 0x0b0f19,
	[COLOR_TEXT] = 0xc9d1d9,
	[COLOR_DIM] = 0x7d8899,
	[COLOR_BRIGHT] = 0xffffff,
	[COLOR_LOBSTER] = 0xb83a26,
	[COLOR_ERROR] = 0xff6b5e,
	[COLOR_WARN] = 0xf2b134,
	[COLOR_GREEN] = 0x35b87f,
	[COLOR_BLUE] = 0x4a90e2,
	[COLOR_VIOLET] = 0x9b7fe6,
	[COLOR_TROUGH] = 0x232b3a,
};

struct cell {
	uint8_t c; /* a character, or GLYPH_BLOCK to GLYPH_BLOCK + CELL_WIDTH */
	uint8_t ink, paper;
};

static struct {
	const struct boot_framebuffer *fb;
	unsigned columns, rows;
	unsigned panel;       /* rows above those that scroll */
	unsigned column, row; /* where the next character goes */
	uint32_t color[COLORS];
	struct cell cell[MAX_ROWS][MAX_COLUMNS];
} screen;

static uint32_t pixel(uint32_t rgb)
{
	if (screen.fb->bgr)
		return rgb;
	return (rgb & 0xff) << 16 | (rgb & 0xff00) | rgb >> 16;
}

static void fill(uint64_t x, uint64_t y, uint64_t width, uint64_t height, uint32_t color)
{
	volatile uint32_t *line =
		(volatile uint32_t *)screen.fb->base + y * screen.fb->stride + x;

	for (; height; height--, line += screen.fb->stride)
		for (uint64_t i = 0; i < width; i++)
			line[i] = color;
}

/* The dots of a row of a cell, the leftmost in the highest bit. */
static unsigned dots_of(uint8_t c, unsigned y)
{
	if (c <= GLYPH_BLOCK + CELL_WIDTH)
		return 0xff00u >> (c - GLYPH_BLOCK) & 0xff;
	return (unsigned)font_glyphs[(c < FONT_FIRST || c > FONT_LAST ? '?' : c) - FONT_FIRST][y / 2]
	       << 2; /* centred in the cell */
}

static void draw(unsigned row, unsigned column, struct cell new)
{
	struct cell *old = &screen.cell[row][column];
	uint32_t ink = screen.color[new.ink], paper = screen.color[new.paper];
	volatile uint32_t *line;

	if (old->c == new.c && old->ink == new.ink && old->paper == new.paper)
		return;
	*old = new;
	line = (volatile uint32_t *)screen.fb->base +
	       (uint64_t)row * CELL_HEIGHT * screen.fb->stride + (uint64_t)column * CELL_WIDTH;
	for (unsigned y = 0; y < CELL_HEIGHT; y++, line += screen.fb->stride) {
		unsigned dots = dots_of(new.c, y);

		for (unsigned x = 0; x < CELL_WIDTH; x++)
			line[x] = dots >> (CELL_WIDTH - 1 - x) & 1 ? ink : paper;
	}
}

static struct cell blank(void)
{
	return (struct cell){' ', COLOR_TEXT, COLOR_BACK};
}

void screen_start(const struct boot_framebuffer *fb)
{
	if (!fb->base || fb->width < CELL_WIDTH || fb->height < CELL_HEIGHT)
		return;
	screen.fb = fb;
	for (unsigned i = 0; i < COLORS; i++)
		screen.color[i] = pixel(palette[i]);
	fill(0, 0, fb->width, fb->height, screen.color[COLOR_BACK]);
	screen.columns = MIN(fb->width / CELL_WIDTH, MAX_COLUMNS);
	screen.rows = MIN(fb->height / CELL_HEIGHT, MAX_ROWS);
	for (unsigned r = 0; r < screen.rows; r++)
		for (unsigned c = 0; c < screen.columns; c++)
			screen.cell[r][c] = blank();
}

unsigned screen_columns(void)
{
	return screen.columns;
}

unsigned screen_rows(void)
{
	return screen.rows;
}

/* ---- what scrolls ---- */

static void clear_row(unsigned row)
{
	for (unsigned c = 0; c < screen.columns; c++)
		draw(row, c, blank());
}

static void copy_row(unsigned to, unsigned from)
{
	for (unsigned c = 0; c < screen.columns; c++)
		draw(to, c, screen.cell[from][c]);
}

static void scroll(void)
{
	for (unsigned r = screen.panel; r + 1 < screen.rows; r++)
		copy_row(r, r + 1);
	clear_row(screen.rows - 1);
}

void screen_put(char c, enum screen_color ink)
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
		draw(screen.row, screen.column++,
			(struct cell){(uint8_t)(c < ' ' ? '?' : c), (uint8_t)ink, COLOR_BACK});
}

/* ---- the panel ---- */

void screen_panel(unsigned rows)
{
	unsigned move;

	if (!screen.fb || rows >= screen.rows)
		return;
	if (rows <= screen.panel) {
		screen.panel = rows;
		return;
	}
	move = MIN(rows, screen.rows - 1 - screen.row); /* free rows below the text */
	for (unsigned r = screen.row + move; r >= rows; r--)
		copy_row(r, r - move);
	screen.row = MAX(screen.row + move, rows);
	screen.panel = rows;
	for (unsigned r = 0; r < rows; r++)
		clear_row(r);
}

void screen_text(unsigned row, unsigned column, unsigned width, enum screen_color ink,
	enum screen_color paper, const char *text)
{
	if (row >= screen.panel)
		return;
	for (unsigned c = column; c < column + width && c < screen.columns; c++)
		draw(row, c, (struct cell){(uint8_t)(*text ? *text++ : ' '), (uint8_t)ink, (uint8_t)paper});
}

void screen_title(unsigned row, unsigned column, enum screen_color ink, enum screen_color paper,
	const char *text)
{
	const unsigned zoom = 2;

	for (; *text && row + zoom <= screen.panel && column + zoom <= screen.columns;
		text++, column += zoom) {
		for (unsigned y = 0; y < CELL_HEIGHT; y++) {
			unsigned dots = dots_of((uint8_t)*text, y);

			for (unsigned x = 0; x < CELL_WIDTH; x++)
				fill(column * CELL_WIDTH + zoom * x, row * CELL_HEIGHT + zoom * y, zoom, zoom,
					screen.color[dots >> (CELL_WIDTH - 1 - x) & 1 ? ink : paper]);
		}
	}
}

/* The part that covers pixel `x` of a bar, and where it ends. */
static enum screen_color part_at(const struct screen_part *parts, unsigned count, uint64_t total,
	uint64_t pixels, uint64_t x, uint64_t *end)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++) {
		sum = MIN(sum + parts[i].amount, total);
		*end = total ? sum * pixels / total : 0;
		if (x < *end)
			return parts[i].color;
	}
	*end = pixels;
	return COLOR_TROUGH;
}

void screen_bar(unsigned row, unsigned column, unsigned width, const struct screen_part *parts,
	unsigned count, uint64_t total)
{
	uint64_t pixels = width * CELL_WIDTH, end, rest;

	if (row >= screen.panel || total > UINT64_MAX / (MAX_COLUMNS * CELL_WIDTH))
		return;
	for (unsigned i = 0; i < width && column + i < screen.columns; i++) {
		uint64_t x = i * CELL_WIDTH;
		enum screen_color left = part_at(parts, count, total, pixels, x, &end);
		uint64_t filled = MIN(end - x, (uint64_t)CELL_WIDTH);
		enum screen_color right = filled == CELL_WIDTH
						  ? left
						  : part_at(parts, count, total, pixels, end, &rest);

		draw(row, column + i,
			(struct cell){(uint8_t)(GLYPH_BLOCK + filled), (uint8_t)left, (uint8_t)right});
	}
}

unsigned screen_qr(unsigned row, unsigned column, unsigned rows, const struct qr *qr)
{
	unsigned modules = qr->size + 2 * QR_QUIET, zoom = rows * CELL_HEIGHT / modules;
	unsigned columns = (modules * zoom + CELL_WIDTH - 1) / CELL_WIDTH;

	if (!screen.fb || !zoom || row + rows > screen.panel || column + columns > screen.columns)
		return 0;
	for (unsigned y = 0; y < modules; y++)
		for (unsigned x = 0; x < modules; x++)
			fill(column * CELL_WIDTH + x * zoom, row * CELL_HEIGHT + y * zoom, zoom, zoom,
				qr_dark(qr, (int)x - QR_QUIET, (int)y - QR_QUIET) ? 0 : 0xffffff);
	return columns;
}
