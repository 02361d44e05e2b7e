/* Commands that act on many guests in one request, and labels. */
#include "mgmt/creelctl/creelctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct batch {
	const struct settings *s;
	char **targets; /* NULL: by label */
	int status;
};

static int take_result(void *arg, const struct creel_result *r)
{
	struct batch *b = arg;
	char id[24];
	const char *target = id;

	snprintf(id, sizeof(id), "%" PRIu64, r->id);
	if (b->targets)
		target = b->targets[r->index];
	if (b->s->json) {
		json_begin_object(NULL);
		json_text("target", target);
		json_bool("ok", r->code == CREEL_OK);
		json_text("error", r->text);
		json_end_object();
	} else if (r->code == CREEL_OK) {
		puts(target);
	}
	if (r->code != CREEL_OK) {
		complain("%s", r->text);
		b->status = EXIT_REFUSED;
	}
	return 0;
}

static int act(struct settings *s, enum creel_action action, int argc, char **argv)
{
	struct batch b = {.s = s, .targets = s->selector ? NULL : argv};
	int code;

	if (!argc == !s->selector) {
		complain(argc ? "give targets or -l SELECTOR, not both"
			      : "give targets, or -l SELECTOR");
		return EXIT_USAGE;
	}
	if (s->json)
		json_begin_array(NULL);
	code = creel_act(s->host_connection, action, s->force, (const char *const *)argv,
		(size_t)argc, s->selector, take_result, &b, NULL);
	if (s->json) {
		json_end_array();
		json_end();
	}
	return code == CREEL_OK ? b.status : failed(s, code);
}

int run_pause(struct settings *s, int argc, char **argv)
{
	return act(s, CREEL_PAUSE, argc, argv);
}

int run_resume(struct settings *s, int argc, char **argv)
{
	return act(s, CREEL_RESUME, argc, argv);
}

int run_kill(struct settings *s, int argc, char **argv)
{
	return act(s, CREEL_KILL, argc, argv);
}

int run_rm(struct settings *s, int argc, char **argv)
{
	return act(s, CREEL_REMOVE, argc, argv);
}

/* ---- labels ---- */

const char *join_labels(const char *const *labels, char out[CREEL_LABELS_SIZE])
{
	size_t size = 0;

	out[0] = 0;
	for (; *labels; labels++) {
		size_t n = strlen(*labels) + (size ? 1 : 0);

		if (size + n >= CREEL_LABELS_SIZE) {
			complain("the labels have more than %d characters", CREEL_LABELS_SIZE - 1);
			return NULL;
		}
		snprintf(out + size, CREEL_LABELS_SIZE - size, "%s%s", size ? "," : "", *labels);
		size += n;
	}
	return out;
}

/* "K=V" sets, "K-" removes. */
int run_label(struct settings *s, int argc, char **argv)
{
	char set_text[CREEL_LABELS_SIZE], remove_text[CREEL_LABELS_SIZE];
	const char **set = calloc((size_t)argc + 1, sizeof(*set));
	const char **remove = calloc((size_t)argc + 1, sizeof(*remove));
	size_t sets = 0, removes = 0;
	int status = EXIT_USAGE, code;

	if (!set || !remove)
		abort();
	for (int i = 1; i < argc; i++) {
		size_t size = strlen(argv[i]);

		if (!strchr(argv[i], '=') && size > 1 && argv[i][size - 1] == '-') {
			argv[i][size - 1] = 0;
			remove[removes++] = argv[i];
		} else {
			set[sets++] = argv[i];
		}
	}
	if (join_labels(set, set_text) && join_labels(remove, remove_text)) {
		code = creel_label(s->host_connection, argv[0], set_text, remove_text);
		status = code == CREEL_OK ? EXIT_DONE : failed(s, code);
	}
	if (status == EXIT_DONE && s->json) {
		json_begin_object(NULL);
		json_text("target", argv[0]);
		json_end_object();
		json_end();
	} else if (status == EXIT_DONE) {
		puts(argv[0]);
	}
	free(set);
	free(remove);
	return status;
}
