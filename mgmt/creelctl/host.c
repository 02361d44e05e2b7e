/* Whom creelctl trusts and as whom it comes: the hosts that the user knows, and the user's key. */
#include "mgmt/creelctl/creelctl.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

/* What to call this user in a creel.conf, which takes few characters. */
const char *user_name(void)
{
	static const char fit[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@";
	const struct passwd *user = getpwuid(getuid());
	size_t size = user ? strlen(user->pw_name) : 0;

	return size > 0 && size < 32 && strspn(user->pw_name, fit) == size ? user->pw_name : "me";
}

static int run_keygen(struct settings *s, int argc, char **argv)
{
	struct creel *c = s->host_connection;
	char path[CREEL_PATH_SIZE], text[CREEL_KEY_TEXT_SIZE];
	uint8_t public[CREEL_KEY_SIZE];
	int code = creel_keygen(c, argc ? argv[0] : NULL, public);

	if (code == CREEL_OK && !argc)
		code = creel_key_path(c, path);
	if (code != CREEL_OK)
		return failed(s, code);
	creel_key_text(text, public);
	if (s->json) {
		json_begin_object(NULL);
		json_text("path", argc ? argv[0] : path);
		json_text("public_key", text);
		json_end_object();
		json_end();
		return EXIT_DONE;
	}
	printf("The private key is in %s; nobody else may read it.\n"
	       "The public key is %s\n\n"
	       "A host lets it in that has this line in its creel.conf (the role may be admin,\n"
	       "operator, owner or viewer):\n\n"
	       "authorized = %s admin %s\n",
		argc ? argv[0] : path, text, text, user_name());
	return EXIT_DONE;
}

static int host_add(struct settings *s, int argc, char **argv)
{
	uint8_t key[CREEL_KEY_SIZE];
	int code;

	(void)argc;
	if (!creel_key_parse(key, argv[2])) {
		complain("\"%s\" is no key: the host's console shows it, 64 hexadecimal digits",
			argv[2]);
		return EXIT_USAGE;
	}
	code = creel_add_host(s->host_connection, argv[0], argv[1], key);
	if (code == CREEL_INVALID) {
		failed(s, code);
		return EXIT_USAGE;
	}
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

static int host_rm(struct settings *s, int argc, char **argv)
{
	int code = creel_remove_host(s->host_connection, argv[0]);

	(void)argc;
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

static int host_default(struct settings *s, int argc, char **argv)
{
	int code = creel_default_host(s->host_connection, argv[0]);

	(void)argc;
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

struct host_list {
	struct settings *s;
	struct table table;
};

static int show_host(void *arg, const struct creel_host *h)
{
	struct host_list *l = arg;
	char key[CREEL_KEY_TEXT_SIZE];

	creel_key_text(key, h->key);
	if (l->s->json) {
		json_begin_object(NULL);
		json_text("name", h->name);
		json_text("address", h->address);
		json_text("key", key);
		json_bool("default", h->is_default);
		json_end_object();
		return 0;
	}
	table_add(&l->table, "%s%s", h->name, h->is_default ? " *" : "");
	table_add(&l->table, "%s", h->address);
	table_add(&l->table, "%s", key);
	return 0;
}

static int host_ls(struct settings *s, int argc, char **argv)
{
	static const char *const titles[] = {"NAME", "ADDRESS", "KEY"};
	struct host_list l = {.s = s};
	int code;

	(void)argc;
	(void)argv;
	if (s->json)
		json_begin_array(NULL);
	else
		table_begin(&l.table, "lll", 3, titles);
	code = creel_hosts(s->host_connection, show_host, &l);
	if (s->json) {
		json_end_array();
		json_end();
	} else {
		table_end(&l.table);
	}
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}

const struct command key_commands[] = {
	{
		.name = "keygen",
		.synopsis = "[FILE]",
		.summary = "make the key by which hosts know you",
		.text = "FILE is $CREEL_KEY if not given, else key in $XDG_CONFIG_HOME/creel, else\n"
			"~/.config/creel/key. A key is never overwritten.",
		.most = 1,
		.arguments = NAMES_FILE,
		.offline = true,
		.run = run_keygen,
	},
	{
		.name = "host add",
		.synopsis = "NAME ADDRESS[:PORT] KEY",
		.summary = "remember a host",
		.text = "KEY is its public key, which its console shows. -H NAME talks to it then. What you\n"
			"know is in config in $XDG_CONFIG_HOME/creel, else ~/.config/creel.",
		.least = 3,
		.most = 3,
		.offline = true,
		.run = host_add,
	},
	{
		.name = "host ls",
		.synopsis = "",
		.summary = "list the hosts that you know",
		.text = "The one with a star is talked to without -H and CREEL_HOST.",
		.offline = true,
		.run = host_ls,
	},
	{
		.name = "host rm",
		.synopsis = "NAME",
		.summary = "forget a host",
		.least = 1,
		.most = 1,
		.offline = true,
		.arguments = NAMES_HOST,
		.run = host_rm,
	},
	{
		.name = "host default",
		.synopsis = "NAME",
		.summary = "talk to this host where none is named",
		.least = 1,
		.most = 1,
		.offline = true,
		.arguments = NAMES_HOST,
		.run = host_default,
	},
	END_COMMANDS,
};
