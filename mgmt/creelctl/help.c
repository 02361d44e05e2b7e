/* Help, out of the tables of commands and options. */
#include "mgmt/creelctl/creelctl.h"

#include <ctype.h>
#include <string.h>

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
	     "usage: creelctl [OPTION...] COMMAND ...");
	for (const struct command_group *g = command_groups; g->title; g++) {
		printf("\n%s:\n", g->title);
		for (const struct command *c = g->commands; c->name; c++) {
			if (c->summary)
				printf("  %-15s %s\n", c->name, c->summary);
		}
	}
	puts("\nA guest, snapshot or image is given by its number or its name.\n\nOptions:");
	print_options(global_options);
	puts("\nEnvironment:\n"
	     "  CREEL_HOST       the host to talk to without -H (else the configured default)\n"
	     "  CREEL_HOST_KEY   the public key of a host that is given by its address\n"
	     "  CREEL_KEY        the file of your private key (else ~/.config/creel/key)\n"
	     "  XDG_CONFIG_HOME  what holds creel/key and creel/config (else ~/.config)\n"
	     "  NO_COLOR         set to anything: no colours");
	puts("\nExit status:\n"
	     "  0    all went well; of run, attach and fork --attach: the guest's own, 0 to 124;\n"
	     "       of exec: the command's\n"
	     "  125  the host refused, or something here failed\n"
	     "  126  no connection to the host\n"
	     "  127  the command line makes no sense\n"
	     "  130  interrupted\n"
	     "  132 forbidden, 134 crashed, 135 triple fault, 137 killed, 139 bad address,\n"
	     "  140 halted, 142 out of time, 141 other: how a guest ended that did not exit\n\n"
	     "\"creelctl help COMMAND\" tells more.");
}

int help_on(const struct command *c)
{
	printf("usage: creelctl %s%s%s\n", c->name, c->synopsis[0] ? " " : "", c->synopsis);
	if (c->summary)
		printf("\n%c%s.\n", toupper((unsigned char)c->summary[0]), c->summary + 1);
	if (c->text)
		printf("\n%s\n", c->text);
	puts("\nOptions:");
	print_options(c->options);
	print_options(global_options);
	return EXIT_DONE;
}

/* "help image" lists what begins with it. */
static bool help_on_prefix(const char *word)
{
	size_t n = strlen(word);
	bool any = false;

	for (const struct command *c = next_command(NULL); c; c = next_command(c)) {
		if (strncmp(c->name, word, n) || c->name[n] != ' ')
			continue;
		printf("  %-15s %s\n", c->name, c->summary);
		any = true;
	}
	return any;
}

int help(int argc, char **argv)
{
	const struct command *c;
	int words;

	if (!argc) {
		print_all();
		return EXIT_DONE;
	}
	if (argc == 1 && help_on_prefix(argv[0]))
		return EXIT_DONE;
	c = find_command(argc, argv, &words);
	return c ? help_on(c) : EXIT_USAGE;
}

int run_help(struct settings *s, int argc, char **argv)
{
	(void)s;
	return help(argc, argv);
}
