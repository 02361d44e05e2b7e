/* The lineage of everything on the host, as a drawing. */
#include "mgmt/creelctl/creelctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What the drawing is made of, by what the terminal's locale can show. */
struct strokes {
	const char *child, *last, *past, *snapshot, *more;
};

static const struct strokes unicode = {"├─ ", "└─ ", "│  ", "◆ ", "…"};
static const struct strokes ascii = {"|- ", "`- ", "|  ", "* ", "..."};

#define SHOWN_CHILDREN 20 /* of one parent, unless --full */
#define DEPTH_MAX      200

struct node {
	enum creel_kind kind;
	uint64_t id, parent;
	bool gone; /* was removed; only its number is known, and if it was an image */
	char name[CREEL_NAME_SIZE], state[64];
	uint64_t pages, memory;
	size_t first, count; /* its children in the sorted array, images and guests apart */
};

struct forest {
	struct node *nodes;
	size_t count, room;
	bool full;
	const struct strokes *draw;
};

static struct node *add(struct forest *f, enum creel_kind kind, uint64_t id, uint64_t parent)
{
	if (f->count == f->room) {
		f->room = f->room ? 2 * f->room : 256;
		f->nodes = realloc(f->nodes, f->room * sizeof(*f->nodes));
		if (!f->nodes)
			abort();
	}
	struct node *n = &f->nodes[f->count++];

	*n = (struct node){.kind = kind, .id = id, .parent = parent};
	return n;
}

static int add_image(void *arg, const struct creel_image *i)
{
	struct node *n = add(arg, CREEL_IMAGE, i->id, 0);

	memcpy(n->name, i->name, sizeof(n->name));
	n->pages = i->pages;
	return 0;
}

/* The parent of the first guest of a line is its image; the two kinds of number are kept apart by
 * the highest bit. */
#define IMAGE_BIT (1ull << 63)

static uint64_t parent_of(uint64_t parent, uint64_t image)
{
	return parent ? parent : image | IMAGE_BIT;
}

static int add_guest(void *arg, const struct creel_guest *g)
{
	struct node *n = add(arg, CREEL_GUEST, g->id, parent_of(g->parent, g->image));

	memcpy(n->name, g->name, sizeof(n->name));
	human_state(n->state, g->state, g->stop, g->exit_status);
	n->pages = g->private_pages;
	n->memory = g->memory;
	return 0;
}

static int add_snapshot(void *arg, const struct creel_snapshot *s)
{
	struct node *n = add(arg, CREEL_SNAPSHOT, s->id, parent_of(s->parent, s->image));

	memcpy(n->name, s->name, sizeof(n->name));
	n->pages = s->pages;
	return 0;
}

static uint64_t key_of(const struct node *n)
{
	return n->kind == CREEL_IMAGE ? n->id | IMAGE_BIT : n->id;
}

static int by_key(const void *a, const void *b)
{
	uint64_t x = key_of(a), y = key_of(b);

	return x < y ? -1 : x > y;
}

static int by_parent(const void *a, const void *b)
{
	const struct node *x = a, *y = b;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	return by_key(a, b);
}

/* Gives every child whose parent was removed a parent with nothing but a number. */
static void add_gone(struct forest *f)
{
	size_t known = f->count;
	uint64_t last = 0;

	qsort(f->nodes, f->count, sizeof(*f->nodes), by_key);
	uint64_t *keys = malloc((known + 1) * sizeof(*keys)),
		 *parents = malloc((known + 1) * sizeof(*keys));

	if (!keys || !parents)
		abort();
	for (size_t i = 0; i < known; i++)
		keys[i] = key_of(&f->nodes[i]);
	qsort(f->nodes, f->count, sizeof(*f->nodes), by_parent);
	for (size_t i = 0; i < known; i++)
		parents[i] = f->nodes[i].parent;
	for (size_t i = 0, k = 0; i < known; i++) {
		while (k < known && keys[k] < parents[i])
			k++;
		if (!parents[i] || parents[i] == last || (k < known && keys[k] == parents[i]))
			continue;
		last = parents[i];
		struct node *n =
			add(f, last & IMAGE_BIT ? CREEL_IMAGE : CREEL_GUEST, last & ~IMAGE_BIT, 0);

		n->gone = true;
	}
	free(keys);
	free(parents);
}

/* Sorts by parent, and finds each node's children by bisection. */
static void link_children(struct forest *f)
{
	qsort(f->nodes, f->count, sizeof(*f->nodes), by_parent);
	for (size_t i = 0; i < f->count; i++) {
		uint64_t key = key_of(&f->nodes[i]);
		size_t low = 0, high = f->count;

		while (low < high) {
			size_t mid = (low + high) / 2;

			if (f->nodes[mid].parent < key)
				low = mid + 1;
			else
				high = mid;
		}
		f->nodes[i].first = low;
		while (low + f->nodes[i].count < f->count &&
			f->nodes[low + f->nodes[i].count].parent == key)
			f->nodes[i].count++;
	}
}

static const char *kind_word(enum creel_kind kind)
{
	return kind == CREEL_IMAGE ? "image" : kind == CREEL_SNAPSHOT ? "snapshot" : "guest";
}

static void print_node(const struct forest *f, const struct node *n)
{
	char size[32], memory[32];

	if (n->gone) {
		printf("%s%" PRIu64 " (removed)\n", n->kind == CREEL_IMAGE ? "image " : "", n->id);
		return;
	}
	if (n->kind == CREEL_IMAGE)
		printf("%s", n->name);
	else
		printf("%s%" PRIu64 "%s%s", n->kind == CREEL_SNAPSHOT ? f->draw->snapshot : "",
			n->id, n->name[0] ? " " : "", n->name);
	if (n->state[0])
		printf("  %s", n->state);
	human_size(size, n->pages * 4096);
	if (n->kind == CREEL_GUEST)
		printf("  %s of %s its own\n", size, human_size(memory, n->memory));
	else
		printf("  holds %s\n", size);
}

/* `prefix` holds what stands before this level; 8 bytes a level are enough for its lines. */
static void print_children(const struct forest *f, const struct node *n, char *prefix, int depth)
{
	size_t shown = f->full || n->count <= SHOWN_CHILDREN ? n->count : SHOWN_CHILDREN;
	size_t length = strlen(prefix);

	if (depth == DEPTH_MAX) {
		printf("%s%s%s\n", prefix, f->draw->last, f->draw->more);
		return;
	}
	for (size_t i = 0; i < shown; i++) {
		const struct node *child = &f->nodes[n->first + i];
		bool last = i + 1 == n->count;

		printf("%s%s", prefix, last ? f->draw->last : f->draw->child);
		print_node(f, child);
		strcpy(prefix + length, last ? "   " : f->draw->past);
		print_children(f, child, prefix, depth + 1);
		prefix[length] = 0;
	}
	if (shown < n->count)
		printf("%s%s%s and %zu more (--full shows them)\n", prefix, f->draw->last,
			f->draw->more, n->count - shown);
}

/* Without its children. */
static void node_fields(const struct node *n)
{
	json_text("kind", n->gone && n->kind != CREEL_IMAGE ? "unknown" : kind_word(n->kind));
	json_number("id", n->id);
	json_number("parent", n->parent & ~IMAGE_BIT);
	json_text("name", n->name);
	json_bool("removed", n->gone);
	json_text("state", n->state);
	json_number("pages", n->pages);
	json_number("memory", n->memory);
}

static void node_json(const struct forest *f, const struct node *n, int depth)
{
	json_begin_object(NULL);
	node_fields(n);
	json_begin_array("children");
	for (size_t i = 0; i < n->count && depth < DEPTH_MAX; i++)
		node_json(f, &f->nodes[n->first + i], depth + 1);
	json_end_array();
	json_end_object();
}

/* A line for each, parents first: --format has no use for lists in lists. */
static void format_nodes(const struct forest *f, const struct node *n, int depth)
{
	json_begin_object(NULL);
	json_number("depth", (uint64_t)depth);
	node_fields(n);
	json_end_object();
	for (size_t i = 0; i < n->count && depth < DEPTH_MAX; i++)
		format_nodes(f, &f->nodes[n->first + i], depth + 1);
}

static void show_roots(const struct settings *s, const struct forest *f)
{
	char prefix[8 * (DEPTH_MAX + 1)] = "";

	if (s->json)
		json_begin_array(NULL);
	/* Those without a parent sort first. */
	for (size_t i = 0; i < f->count && !f->nodes[i].parent; i++) {
		if (format_wanted()) {
			format_nodes(f, &f->nodes[i], 0);
		} else if (s->json) {
			node_json(f, &f->nodes[i], 0);
		} else {
			print_node(f, &f->nodes[i]);
			print_children(f, &f->nodes[i], prefix, 0);
		}
	}
	if (s->json) {
		json_end_array();
		json_end();
	}
}

int run_tree(struct settings *s, int argc, char **argv)
{
	struct forest f = {.full = s->full, .draw = unicode_locale() ? &unicode : &ascii};
	int code = creel_images(s->host_connection, add_image, &f);

	(void)argc, (void)argv;
	if (code == CREEL_OK)
		code = creel_guests(s->host_connection, true, 0, add_guest, &f);
	if (code == CREEL_OK)
		code = creel_snapshots(s->host_connection, 0, add_snapshot, &f);
	if (code == CREEL_OK && f.count) {
		add_gone(&f);
		link_children(&f);
	}
	if (code == CREEL_OK)
		show_roots(s, &f);
	free(f.nodes);
	return code == CREEL_OK ? EXIT_DONE : failed(s, code);
}
