/*
 * Completion for the shells, out of the same tables as the help. Their scripts call
 *
 *     creelctl __complete -- WORD...
 *
 * with what is typed behind "creelctl"; the last word is the one to complete. A candidate is a
 * line, with a tab and a few words about it; ":files" asks the shell for names of files.
 */
#include "mgmt/creelctl/creelctl.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define CANDIDATES_MAX 1000
#define PATIENCE       2 /* seconds for the host */

struct completion {
	struct settings *s;
	const char *word; /* that is completed */
	unsigned count;
};

static int offer(struct completion *p, const char *text, const char *about)
{
	if (!strncmp(text, p->word, strlen(p->word)) && p->count < CANDIDATES_MAX) {
		printf("%s\t%s\n", text, about);
		p->count++;
	}
	return p->count == CANDIDATES_MAX;
}

static int offer_thing(struct completion *p, uint64_t id, const char *name, const char *about)
{
	char number[24];

	snprintf(number, sizeof(number), "%" PRIu64, id);
	return offer(p, name[0] ? name : number, about);
}

static int offer_guest(void *arg, const struct creel_guest *g)
{
	char state[64], about[80];

	snprintf(about, sizeof(about), "guest, %s",
		human_state(state, g->state, g->stop, g->exit_status));
	return offer_thing(arg, g->id, g->name, about);
}

static int offer_snapshot(void *arg, const struct creel_snapshot *s)
{
	return offer_thing(arg, s->id, s->name, "snapshot");
}

static int offer_image(void *arg, const struct creel_image *i)
{
	return offer_thing(arg, i->id, i->name, "image");
}

static int offer_host(void *arg, const struct creel_host *h)
{
	offer(arg, h->name, h->address);
	return 0;
}

static void offer_hosts(struct completion *p)
{
	struct creel *c = creel_new();

	if (c)
		(void)creel_hosts(c, offer_host, p);
	creel_free(c);
}

/* What is on the host. When it can't be reached there is nothing to offer, and nobody to tell. */
static void offer_from_host(struct completion *p, enum names what)
{
	struct creel *c;

	alarm(PATIENCE);
	if (connect_host(p->s) != EXIT_DONE)
		return;
	c = p->s->host_connection;
	if (what != NAMES_IMAGE && what != NAMES_SNAPSHOT)
		creel_guests(c, true, 0, offer_guest, p);
	if (what != NAMES_IMAGE && what != NAMES_GUEST)
		creel_snapshots(c, 0, offer_snapshot, p);
	if (what == NAMES_IMAGE || what == NAMES_ANY)
		creel_images(c, offer_image, p);
}

/* The word that `c` goes on with behind `first`, which may be NULL; "" if it begins otherwise. */
static void word_of(char word[64], const struct command *c, const char *first)
{
	size_t n = first ? strlen(first) : 0;
	const char *name = c->name;

	word[0] = 0;
	if (!c->summary || (first && (strncmp(name, first, n) || name[n] != ' ')))
		return;
	name += first ? n + 1 : 0;
	snprintf(word, 64, "%.*s", (int)strcspn(name, " "), name);
}

/* `first`: the word before, when a command of two words may be meant. */
static void offer_commands(struct completion *p, const char *first)
{
	char word[64], other[64];

	for (const struct command *c = next_command(NULL); c; c = next_command(c)) {
		const struct command *before = next_command(NULL);
		bool two;

		word_of(word, c, first);
		for (; before != c; before = next_command(before)) {
			word_of(other, before, first);
			if (!strcmp(other, word))
				break;
		}
		two = !first && strchr(c->name, ' ');
		if (word[0] && before == c)
			offer(p, word, two ? "..." : c->summary);
	}
}

static void offer_options(struct completion *p, const struct option *o)
{
	char text[64];

	for (; o && o->name; o++) {
		snprintf(text, sizeof(text), "--%s", o->name);
		offer(p, text, o->help);
	}
}

static void offer_names(struct completion *p, enum names what)
{
	if (what == NAMES_FILE)
		puts(":files");
	else if (what == NAMES_COMMAND)
		offer_commands(p, NULL);
	else if (what == NAMES_HOST)
		offer_hosts(p);
	else if (what != NAMES_NOTHING)
		offer_from_host(p, what);
}

/* What the words before the last one have settled. */
struct typed {
	const struct command *command;
	const char *first;           /* first word of a command of two */
	int arguments;               /* given already */
	const struct option *option; /* whose value comes next */
	bool over;                   /* no option can come any more */
};

static const struct option *option_of(const struct command *c, const char *word)
{
	const struct option *o = find_option(global_options, word);

	return o || !c ? o : find_option(c->options, word);
}

static void take_word(struct settings *s, struct typed *t, char *word)
{
	char *pair[2] = {(char *)t->first, word};
	int words;

	if (t->option) {
		/* "--host=x" may come as three words */
		if (!strcmp(word, "="))
			return;
		if (t->option->to == &s->host)
			s->host = word;
		t->option = NULL;
	} else if (word[0] == '-' && word[1] && !t->over) {
		t->over = !strcmp(word, "--");
		t->option = option_of(t->command, word);
		if (t->option && (t->option->kind == OPTION_FLAG || strchr(word, '=')))
			t->option = NULL;
	} else if (t->command) {
		t->arguments++;
		t->over = t->over || t->command->arguments_follow;
	} else if (t->first) {
		t->command = lookup_command(2, pair, &words);
	} else {
		t->command = lookup_command(1, &word, &words);
		t->first = t->command ? NULL : word;
	}
}

int run_complete(struct settings *s, int argc, char **argv)
{
	struct completion p = {.s = s, .word = argc ? argv[argc - 1] : ""};
	struct typed t = {.command = NULL};

	for (int i = 0; i + 1 < argc; i++)
		take_word(s, &t, argv[i]);
	if (!strcmp(p.word, "="))
		p.word = "";
	if (t.option) {
		offer_names(&p, t.option->kind == OPTION_FILE ? NAMES_FILE
				: t.option->to == &s->host    ? NAMES_HOST
							      : NAMES_NOTHING);
	} else if (p.word[0] == '-' && !t.over) {
		offer_options(&p, t.command ? t.command->options : NULL);
		offer_options(&p, global_options);
	} else if (!t.command) {
		offer_commands(&p, t.first);
	} else if (t.arguments == 0) {
		offer_names(&p, t.command->arguments);
	} else if (t.command->most < 0 || t.arguments < t.command->most) {
		offer_names(&p, t.command->more);
	}
	return EXIT_DONE;
}
