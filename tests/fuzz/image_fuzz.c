/* Layers of an image, one laid on the other: whatever they hold, the tree stays one, and can be written. */
#include "mgmt/creelctl/image.h"
#include "tests/fuzz/tar_bytes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LAYERS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void complain(const char *format, ...)
{
	(void)format;
}

/* One entry of 8 bytes of the input: its type, its name, its link, of few names that meet each other. */
static void add_entry(char block[TAR_BLOCK], const uint8_t p[8])
{
	static const char types[] = "0125012501256";
	static const char *const names[] = {"a", "b", "a/b", "a/b/a", "b/a", ".wh.a", "a/.wh..wh..opq", "a/.wh.b",
		"b/.wh..wh..opq", "..", "/", "a/../b", ".", "./b/./a", "b/b/b", ""};

	memset(block, 0, TAR_BLOCK);
	strcpy(block, names[p[1] % 16]);
	memcpy(block + 100, "0000755", 8);
	memcpy(block + 108, "0000000", 8);
	memcpy(block + 116, "0000000", 8);
	memcpy(block + 124, "00000000000", 12);
	memcpy(block + 136, "00000000000", 12);
	block[156] = types[p[0] % (sizeof(types) - 1)];
	strcpy(block + 157, names[p[2] % 16]);
	/* now and then another byte somewhere */
	if (p[3] > 250)
		block[(p[4] << 8 | p[5]) % TAR_BLOCK] = (char)p[6];
	tar_bytes_sum((uint8_t *)block);
}

static unsigned check(const struct node *n, bool root)
{
	unsigned nodes = 1;

	if (!root && (!n->name[0] || strchr(n->name, '/') || !strcmp(n->name, ".") || !strcmp(n->name, "..")))
		abort();
	if (!!n->body != !!S_ISREG(n->mode) || !!n->link != !!S_ISLNK(n->mode) || (n->children && !S_ISDIR(n->mode)))
		abort();
	for (const struct node *c = n->children; c; c = c->next) {
		if (c->parent != n || *c->at != c)
			abort();
		nodes += check(c, false);
	}
	return nodes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *nowhere;
	char *text;
	struct tree t;
	bool good = true;

	if (!nowhere)
		nowhere = fopen("/dev/null", "wb");
	if (size > 4096 || !tree_begin(&t))
		return 0;
	for (int layer = 0; good && layer < LAYERS; layer++) {
		size_t part = size / LAYERS / 8;
		char *blocks = calloc(part + 2, TAR_BLOCK);
		struct tar_bytes in = {(uint8_t *)blocks, (part + 2) * TAR_BLOCK};
		struct tar_in tar = {.read = tar_bytes_read, .arg = &in};

		for (size_t i = 0; i < part; i++)
			add_entry(blocks + i * TAR_BLOCK, data + ((size_t)layer * part + i) * 8);
		good = tree_layer(&t, &tar, true);
		check(t.root, true);
		free(blocks);
	}
	text = tree_text(&t, "a/b");
	free(text);
	if (good && !tree_write(&t, nowhere))
		abort();
	tree_end(&t);
	return 0;
}
