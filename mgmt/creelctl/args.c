/* The command line: options by table, help out of the same tables. */
#include "mgmt/creelctl/creelctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct option global_options[] = {
	{'H', "host", OPTION_TEXT, offsetof(struct settings, host), "HOST[:PORT]",
		"the host to talk to (else $CREEL_HOST, else 127.0.0.1:7117)"},
	{0, "json", OPTION_FLAG, offsetof(struct settings, json), NULL, "print JSON"},
	{0},
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

const struct command *find_command(const char *name)
{
	const struct command *near = NULL;
	size_t best = 3;

	for (const struct command *c = commands; c->name; c++) {
		if (!strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name)))
			return c;
		if (distance(name, c->name) < best) {
			best = distance(name, c->name);
			near = c;
		}
	}
	if (near)
		complain("there is no command \"%s\"; did you mean \"%s\"?", name, near->name);
	else
		complain("there is no command \"%s\"; \"creelctl help\" lists them", name);
	return NULL;
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

static bool set_option(struct settings *s, const struct option *o, const char *value)
{
	void *member = (char *)s + o->offset;
	const char **list = member;

	switch (o->kind) {
	case OPTION_FLAG:
		*(bool *)member = true;
		return true;
	case OPTION_TEXT:
		*(const char **)member = value;
		return true;
	case OPTION_NUMBER:
		if (parse_number(value, member) && *(uint64_t *)member)
			return true;
		complain("--%s takes a whole number above 0, not \"%s\"", o->name, value);
		return false;
	case OPTION_SIZE:
		if (parse_size(value, member) && *(uint64_t *)member)
			return true;
		complain("--%s takes a size as in 64M or 1.5G, not \"%s\"", o->name, value);
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

static bool long_option(struct settings *s, const struct command *c, int argc, char **argv, int *i)
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
	return set_option(s, o, o->kind == OPTION_FLAG ? NULL : equals ? equals + 1 : argv[++*i]);
}

/* "-di", "-n5", "-n 5" */
static bool short_options(
	struct settings *s, const struct command *c, int argc, char **argv, int *i)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct option *o = by_letter(global_options, *p);
		char text[3] = {'-', *p, 0};

		if (!o && c)
			o = by_letter(c->options, *p);
		if (!o)
			return unknown_option(c, text);
		if (o->kind == OPTION_FLAG) {
			set_option(s, o, NULL);
			continue;
		}
		if (!p[1] && *i + 1 == argc) {
			complain("-%c needs a value: -%c %s", *p, *p, o->value);
			return false;
		}
		return set_option(s, o, p[1] ? p + 1 : argv[++*i]);
	}
	return true;
}

int parse_options(struct settings *s, const struct command *command, int argc, char **argv)
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
			exit(help(command ? command->name : NULL));
		} else if (a[1] == '-' ? !long_option(s, command, argc, argv, &i)
				       : !short_options(s, command, argc, argv, &i)) {
			return -1;
		}
	}
	return count;
}

static void print_options(const struct option *o)
{
	for (; o && o->name; o++) {
		char text[64], letter[5] = {'-', o->letter, ',', ' ', 0};

		snprintf(text, sizeof(text), "%s--%s%s%s", o->letter ? letter : "    ", o->name,
			o->value ? " " : "", o->value ? o->value : "");
		printf("  %-28s %s\n", text, o->help);
	}
}

static void print_all(void)
{
	puts("creelctl steers a Creel host: guests, their snapshots and forks.\n\n"
	     "usage: creelctl [-H HOST[:PORT]] [--json] COMMAND ...\n");
	for (const struct command *c = commands; c->name; c++)
		printf("  %-11s %s\n", c->name, c->summary);
	puts("\nA guest, snapshot or image is given by its number or its name.\n\nOptions:");
	print_options(global_options);
	puts("\nExit status:\n"
	     "  run, attach   the guest's own, 0 to 124\n"
	     "  125           the host refused, or something here failed\n"
	     "  126           no connection to the host\n"
	     "  127           the command line makes no sense\n"
	     "  130           interrupted\n"
	     "  132 forbidden, 134 crashed, 135 triple fault, 137 killed, 139 bad address,\n"
	     "  140 halted, 141 other: how a guest ended that did not exit\n\n"
	     "\"creelctl help COMMAND\" tells more.");
}

int help(const char *name)
{
	const struct command *c;

	if (!name) {
		print_all();
		return EXIT_DONE;
	}
	c = find_command(name);
	if (!c)
		return EXIT_USAGE;
	printf("usage: creelctl %s%s%s\n\n%s.\n", c->name, c->synopsis[0] ? " " : "", c->synopsis,
		c->summary);
	if (c->text)
		printf("\n%s\n", c->text);
	puts("\nOptions:");
	print_options(c->options);
	print_options(global_options);
	return EXIT_DONE;
}
