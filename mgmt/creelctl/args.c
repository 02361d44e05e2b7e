/* The command line, by the tables of commands and options. */
#include "mgmt/creelctl/creelctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct option global_options[] = {
	VALUE('H', "host", TEXT, &settings.host, "HOST",
		"the host to talk to, by its name or address"),
	FLAG(0, "json", &settings.json, "print JSON"),
	VALUE(0, "format", TEXT, &settings.format, "TEXT",
		"print a line for each object, as in \"{id} {name}\""),
	END_OPTIONS,
};

/* Letters to change, put in or leave out to make `a` into `b`. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], n = strlen(b);

	if (n >= 63 || strlen(a) >= 63)
		return 64;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

const struct command *next_command(const struct command *c)
{
	const struct command_group *g = command_groups;

	if (!c)
		return g->commands;
	if (c[1].name)
		return c + 1;
	for (; g->title; g++) {
		for (const struct command *i = g->commands; i->name; i++) {
			if (i == c)
				return g[1].title ? g[1].commands : NULL;
		}
	}
	return NULL;
}

/* A single word that only begins the names of some commands, as in "image". */
static bool is_prefix(const char *word)
{
	for (const struct command *c = next_command(NULL); c; c = next_command(c)) {
		if (!strncmp(c->name, word, strlen(word)) && c->name[strlen(word)] == ' ')
			return true;
	}
	return false;
}

static const struct command *by_command_name(const char *name)
{
	for (const struct command *c = next_command(NULL); c; c = next_command(c)) {
		if (!strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name)))
			return c;
	}
	return NULL;
}

static void unknown_command(const char *name)
{
	const struct command *near = NULL;
	size_t best = 3;

	for (const struct command *c = next_command(NULL); c; c = next_command(c)) {
		if (c->summary && distance(name, c->name) < best) {
			best = distance(name, c->name);
			near = c;
		}
	}
	if (is_prefix(name))
		complain("\"%s\" needs another word; \"creelctl help %s\" lists them", name,
			name);
	else if (near)
		complain("there is no command \"%s\"; did you mean \"%s\"?", name, near->name);
	else
		complain("there is no command \"%s\"; \"creelctl help\" lists them", name);
}

const struct command *lookup_command(int argc, char **argv, int *words)
{
	const struct command *c;
	char name[64];

	*words = 2;
	if (argc > 1 && is_prefix(argv[0])) {
		snprintf(name, sizeof(name), "%s %s", argv[0], argv[1]);
		c = by_command_name(name);
		if (c)
			return c;
	}
	*words = 1;
	return by_command_name(argv[0]);
}

const struct command *find_command(int argc, char **argv, int *words)
{
	const struct command *c = lookup_command(argc, argv, words);
	bool two = argc > 1 && is_prefix(argv[0]);
	char name[64];

	snprintf(name, sizeof(name), "%s%s%s", argv[0], two ? " " : "", two ? argv[1] : "");
	if (!c)
		unknown_command(name);
	return c;
}

bool parse_size(const char *text, uint64_t *out)
{
	static const char letters[] = "KMGT";
	char *end;
	double value;
	const char *letter;

	if (text[0] < '0' || text[0] > '9')
		return false;
	value = strtod(text, &end);
	if (*end && (letter = strchr(letters, *end & ~0x20)) != NULL) {
		for (const char *l = letters; l <= letter; l++)
			value *= 1024;
		end++;
	}
	if (*end == 'i' && end > text && (end[-1] < '0' || end[-1] > '9'))
		end++;
	if (*end == 'B' || *end == 'b')
		end++;
	*out = value < 1e18 ? (uint64_t)value : 0;
	return !*end && value < 1e18;
}

/* "90", "30s", "1.5h" as nanoseconds. */
static bool parse_span(const char *text, uint64_t *out)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"", 1e9}, {"ms", 1e6}, {"s", 1e9}, {"m", 6e10}, {"h", 3.6e12}, {"d", 8.64e13}};
	char *end;
	double value;

	if (text[0] < '0' || text[0] > '9')
		return false;
	value = strtod(text, &end);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(end, units[i].name) && value * units[i].ns < 1e18) {
			*out = (uint64_t)(value * units[i].ns);
			return true;
		}
	}
	return false;
}

static bool parse_number(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && !*end && !errno;
}

static const struct option *by_name(const struct option *o, const char *name, size_t size)
{
	for (; o && o->name; o++) {
		if (strlen(o->name) == size && !strncmp(o->name, name, size))
			return o;
	}
	return NULL;
}

static const struct option *by_letter(const struct option *o, char letter)
{
	for (; o && o->name; o++) {
		if (o->letter == letter)
			return o;
	}
	return NULL;
}

const struct option *find_option(const struct option *list, const char *word)
{
	if (word[0] != '-')
		return NULL;
	if (word[1] == '-')
		return by_name(list, word + 2, strcspn(word + 2, "="));
	return word[1] ? by_letter(list, word[1]) : NULL;
}

static bool set_option(const struct option *o, const char *value)
{
	const char **list = o->to;

	switch (o->kind) {
	case OPTION_FLAG:
		*(bool *)o->to = true;
		return true;
	case OPTION_TEXT:
	case OPTION_FILE:
		if (!value[0]) {
			complain("--%s needs a value that is not empty: --%s %s", o->name, o->name,
				o->value);
			return false;
		}
		*(const char **)o->to = value;
		return true;
	case OPTION_LINE:
		*(const char **)o->to = value;
		return true;
	case OPTION_NUMBER:
		if (parse_number(value, o->to) && *(uint64_t *)o->to)
			return true;
		complain("--%s takes a whole number above 0, not \"%s\"", o->name, value);
		return false;
	case OPTION_SIZE:
		if (parse_size(value, o->to) && *(uint64_t *)o->to)
			return true;
		complain("--%s takes a size as in 64M or 1.5G, not \"%s\"", o->name, value);
		return false;
	case OPTION_SPAN:
		if (parse_span(value, o->to) && *(uint64_t *)o->to)
			return true;
		complain("--%s takes a time as in 500ms, 30s, 10m or 2h, not \"%s\"", o->name,
			value);
		return false;
	case OPTION_LIST:
		for (size_t i = 0; i < LIST_MAX; i++) {
			if (!list[i]) {
				list[i] = value;
				return true;
			}
		}
		complain("--%s is given more than %d times", o->name, LIST_MAX);
		return false;
	}
	return false;
}

static bool unknown_option(const struct command *c, const char *text)
{
	const struct option *near = NULL;

	for (const struct option *o = c ? c->options : NULL; o && o->name; o++) {
		if (!strncmp(text, "--", 2) && distance(text + 2, o->name) < 3)
			near = o;
	}
	if (near)
		complain("there is no option %s; did you mean --%s?", text, near->name);
	else
		complain("there is no option %s; \"creelctl help%s%s\" lists them", text,
			c ? " " : "", c ? c->name : "");
	return false;
}

static bool long_option(const struct command *c, int argc, char **argv, int *i)
{
	const char *name = argv[*i] + 2, *equals = strchr(name, '=');
	size_t size = equals ? (size_t)(equals - name) : strlen(name);
	const struct option *o = by_name(global_options, name, size);

	if (!o && c)
		o = by_name(c->options, name, size);
	if (!o)
		return unknown_option(c, argv[*i]);
	if (o->kind == OPTION_FLAG && equals) {
		complain("--%s takes no value", o->name);
		return false;
	}
	if (o->kind != OPTION_FLAG && !equals && *i + 1 == argc) {
		complain("--%s needs a value: --%s %s", o->name, o->name, o->value);
		return false;
	}
	return set_option(o, o->kind == OPTION_FLAG ? NULL : equals ? equals + 1 : argv[++*i]);
}

/* "-di", "-n5", "-n 5" */
static bool short_options(const struct command *c, int argc, char **argv, int *i)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct option *o = by_letter(global_options, *p);
		char text[3] = {'-', *p, 0};

		if (!o && c)
			o = by_letter(c->options, *p);
		if (!o)
			return unknown_option(c, text);
		if (o->kind == OPTION_FLAG) {
			set_option(o, NULL);
			continue;
		}
		if (!p[1] && *i + 1 == argc) {
			complain("-%c needs a value: -%c %s", *p, *p, o->value);
			return false;
		}
		return set_option(o, p[1] ? p + 1 : argv[++*i]);
	}
	return true;
}

int parse_options(const struct command *command, int argc, char **argv)
{
	bool options = true;
	int count = 0;

	for (int i = 0; i < argc; i++) {
		char *a = argv[i];

		if (!options || a[0] != '-' || !a[1]) {
			/* Before the command, and where the guest's arguments follow, this ends
			 * them. */
			if (!command || command->arguments_follow)
				options = false;
			argv[count++] = a;
		} else if (!strcmp(a, "--")) {
			options = false;
		} else if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
			exit(command ? help_on(command) : help(0, NULL));
		} else if (!command && !strcmp(a, "--version")) {
			exit(run_version(&settings, 0, NULL));
		} else if (a[1] == '-' ? !long_option(command, argc, argv, &i)
				       : !short_options(command, argc, argv, &i)) {
			return -1;
		}
	}
	return count;
}
