/* creelctl exporter: what a host tells, as samples, and those of many hosts as Prometheus text. */
#ifndef MGMT_CREELCTL_EXPORTER_H
#define MGMT_CREELCTL_EXPORTER_H

#include "mgmt/creelctl/creelctl.h"

struct sample {
	unsigned family; /* row of the table in exporter_metrics.c */
	const char *suffix; /* "_bucket" and so on, or "" */
	char *labels; /* behind host="...", with a comma before each */
	double value;
};

struct samples {
	struct sample *list;
	size_t count, room;
	unsigned family; /* of those that are added */
};

/*
 * What the host behind `c` tells now. Of guests only the `guests` with most memory of their own have
 * samples each; the others are one, "other".
 */
int exporter_collect(struct creel *c, size_t guests, struct samples *out);
void exporter_forget(struct samples *s);

/* One host, and its samples; `up` false: it has none. */
struct exporter_host {
	const char *name;
	bool up;
	double seconds; /* that collecting them took */
	struct samples samples;
};

/* The text of all hosts, to be freed; its length in *size. */
char *exporter_text(const struct exporter_host *hosts, size_t count, size_t *size);

#endif
