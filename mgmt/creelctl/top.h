/* What creelctl top measures, and how it is drawn. */
#ifndef MGMT_CREELCTL_TOP_H
#define MGMT_CREELCTL_TOP_H

#include "mgmt/creelctl/creelctl.h"

enum top_column {
	TOP_ID,
	TOP_NAME,
	TOP_IMAGE,
	TOP_STATE,
	TOP_CPU,
	TOP_EXITS,
	TOP_FAULTS,
	TOP_PRIVATE,
	TOP_SHARED,
	TOP_MEMORY,
	TOP_COLUMNS,
};

/* A guest, and what it did since the measurement before. */
struct top_row {
	struct creel_guest guest;
	const char *image;     /* its name; it lives as long as the measurement */
	uint64_t shared_pages; /* that it may share, at most */
	double cpu;            /* of one core, 0 to 1 */
	double exits, faults;  /* a second */
};

/* A snapshot or image: what guests came from. */
struct top_origin {
	uint64_t id, parent, image, pages;
	char name[CREEL_NAME_SIZE];
};

/* All of one kind, in the order of their ids. */
struct top_origins {
	struct top_origin *list;
	size_t count, room;
};

struct top_measurement {
	struct creel_info info;
	uint64_t at_ns; /* CLOCK_MONOTONIC */
	double cpu;     /* of all guests, in cores */
	struct top_row *rows;
	size_t count, room;
	struct top_origins snapshots, images;
};

/* What the user chose. */
struct top_view {
	enum top_column sort;
	bool reverse, all, help;
	size_t first;    /* row on top */
	size_t selected; /* row that the keys move */
};

/* ---- top_measure.c ---- */

/* Callbacks of libcreel: they put what comes into the measurement that is `arg`. */
int top_take_guest(void *arg, const struct creel_guest *g);
int top_take_snapshot(void *arg, const struct creel_snapshot *s);
int top_take_image(void *arg, const struct creel_image *i);
/* When all of it has come: the rates since `before`. The rows of both are in the order of ids. */
void top_compare(struct top_measurement *m, const struct top_measurement *before);
void top_forget(struct top_measurement *m);
uint64_t top_now_ns(void); /* CLOCK_MONOTONIC */

/* ---- top.c ---- */

const char *top_cell(char buf[64], const struct top_row *row, enum top_column column);

/* ---- top_screen.c ---- */

/* The width of a column, and whether it stands to the right. */
extern const struct top_column_look {
	const char *title;
	int width;
	bool right;
	const char *key; /* that sorts by it */
} top_looks[TOP_COLUMNS];

/* Draws all of it; moves view->first so that the selected row is seen. */
void top_draw(const struct top_measurement *m, struct top_view *view, const char *host);
/* False: the user wants to leave. */
bool top_key(struct top_view *view, const char *keys, size_t size, size_t count, size_t page);

#endif
