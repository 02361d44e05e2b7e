/*
 * The parts of the manual page that are made of the tables: "creelctl __manual PART" prints one as
 * mdoc(7), and the Makefile puts them where mgmt/man/creelctl.1 says @commands@ and @options@.
 */
#include "mgmt/creelctl/creelctl.h"

#include <ctype.h>
#include <string.h>

#define LINE_MAX 76

/* Text in which nothing is a request or an escape. `head`: no line has begun. */
static void escape(const char *text, bool head)
{
	for (const char *p = text; *p; p++) {
		if (head && (*p == '.' || *p == '\''))
			fputs("\\&", stdout);
		if (*p == '\\')
			fputs("\\e", stdout);
		else if (*p == '-')
			fputs("\\-", stdout);
		else if (*p == '"')
			fputs("\\(dq", stdout);
		else if (*p == '~')
			fputs("\\(ti", stdout);
		else if (*p == '^')
			fputs("\\(ha", stdout);
		else
			putchar(*p);
		head = *p == '\n';
	}
}

/* Running text: a new sentence begins on a new line, and no line is long. */
static void paragraph(const char *text)
{
	char word[128];
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " \n");

		snprintf(word, sizeof(word), "%.*s", (int)n, text);
		if (column)
			putchar(column + n > LINE_MAX ? '\n' : ' ');
		column = column + n > LINE_MAX ? n : column + n + 1;
		escape(word, column == n + 1 || column == n);
		if (n && (text[n - 1] == '.' || text[n - 1] == '?') && text[n]) {
			putchar('\n');
			column = 0;
		}
		text += n;
		text += strspn(text, " \n");
	}
	putchar('\n');
}

/* "[-f] GUEST...": what is in capitals stands for something. */
static void synopsis(const char *text)
{
	while (*text) {
		size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
		char part[2] = {*text, 0};

		if (n) {
			printf("\\fI%.*s\\fR", (int)n, text);
			text += n;
		} else {
			escape(part, false);
			text++;
		}
	}
}

/* A sentence of the tables, which begin small and end without a stop. */
static void sentence(const char *text)
{
	char first[2] = {(char)toupper((unsigned char)text[0]), 0};

	escape(first, true);
	escape(text + 1, false);
	puts(".");
}

static void option_list(const struct option *o)
{
	puts(".Bl -tag -width Ds -compact");
	for (; o->name; o++) {
		fputs(".It ", stdout);
		if (o->letter)
			printf("Fl %c , ", o->letter);
		fputs("Fl \\-", stdout);
		escape(o->name, false);
		if (o->value) {
			fputs(" Ar ", stdout);
			escape(o->value, false);
		}
		putchar('\n');
		sentence(o->help);
	}
	puts(".El");
}

static void command_entry(const struct command *c)
{
	fputs(".It Ic ", stdout);
	escape(c->name, false);
	if (c->synopsis[0]) {
		fputs(" No ", stdout);
		synopsis(c->synopsis);
	}
	putchar('\n');
	sentence(c->summary);
	if (c->alias)
		printf("Also called\n.Ic %s .\n", c->alias);
	if (c->text) {
		paragraph(c->text);
	}
	if (c->options) {
		puts(".Pp");
		option_list(c->options);
	}
}

int run_manual(struct settings *s, int argc, char **argv)
{
	(void)s, (void)argc;
	if (!strcmp(argv[0], "options")) {
		option_list(global_options);
		return EXIT_DONE;
	}
	for (const struct command_group *g = command_groups; g->title; g++) {
		/* (the first word may be a macro's name) */
		printf(".Ss \\&%s\n.Bl -tag -width Ds\n", g->title);
		for (const struct command *c = g->commands; c->name; c++) {
			if (c->summary)
				command_entry(c);
		}
		puts(".El");
	}
	return EXIT_DONE;
}
