/* creelctl: finds the command, connects to the host, and runs it. */
#include "mgmt/creelctl/creelctl.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 10000

struct settings settings;

int connect_host(struct settings *s)
{
	int code = creel_open(s->host_connection, s->host, CONNECT_MS);

	if (code == CREEL_OK)
		return EXIT_DONE;
	complain("%s", creel_error_text(s->host_connection));
	return code == CREEL_INVALID ? EXIT_USAGE : EXIT_CONNECTION;
}

int run_version(struct settings *s, int argc, char **argv)
{
	(void)argc, (void)argv;
	if (s->json) {
		json_begin_object(NULL);
		json_text("version", creel_version());
		json_end_object();
		json_end();
	} else {
		printf("creelctl %s\n", creel_version());
	}
	return EXIT_DONE;
}

static int run_command(struct settings *s, const struct command *c, int argc, char **argv)
{
	int count = parse_options(c, argc, argv), code;

	if (count < 0)
		return EXIT_USAGE;
	argv[count] = NULL;
	if (s->format && !format_set(s->format))
		return EXIT_USAGE;
	s->json = s->json || s->format;
	if (count < c->least || (c->most >= 0 && count > c->most)) {
		complain("%s %s; usage: creelctl %s%s%s", c->name,
			count < c->least ? "needs more arguments" : "takes fewer arguments",
			c->name, c->synopsis[0] ? " " : "", c->synopsis);
		return EXIT_USAGE;
	}
	s->host_connection = creel_new();
	if (!s->host_connection)
		abort();
	code = c->offline ? EXIT_DONE : connect_host(s);
	if (code == EXIT_DONE)
		code = c->run(s, count, argv);
	creel_free(s->host_connection);
	return code;
}

int main(int argc, char **argv)
{
	struct settings *s = &settings;
	const struct command *c;
	int count, words, status;

	setlocale(LC_CTYPE, "");
	count = parse_options(NULL, argc - 1, argv + 1);
	if (count < 0)
		return EXIT_USAGE;
	if (!count) {
		help(0, NULL);
		return EXIT_USAGE;
	}
	c = find_command(count, argv + 1, &words);
	if (!c)
		return EXIT_USAGE;
	status = run_command(s, c, count - words, argv + 1 + words);

	if (fflush(stdout) || ferror(stdout)) {
		complain("can't write to stdout");
		return status ? status : EXIT_REFUSED;
	}
	return status;
}
