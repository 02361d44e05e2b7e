#include "lib/labels.h"

#include "lib/string.h"

/* One item: the key and, behind the '=', the value. */
struct item {
	const char *key, *value; /* value NULL: none */
	size_t key_size, value_size;
};

/* The item at *at, which is moved behind it and its comma. False: there is none. */
static bool next_item(const char **at, struct item *i)
{
	const char *p = *at;

	if (!*p)
		return false;
	*i = (struct item){.key = p};
	while (*p && *p != ',' && *p != '=')
		p++;
	i->key_size = (size_t)(p - i->key);
	if (*p == '=') {
		i->value = ++p;
		while (*p && *p != ',')
			p++;
		i->value_size = (size_t)(p - i->value);
	}
	*at = *p ? p + 1 : p;
	return true;
}

static bool same_key(const struct item *a, const struct item *b)
{
	return a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0;
}

static bool find(const char *labels, const struct item *wanted, struct item *found)
{
	while (next_item(&labels, found)) {
		if (same_key(found, wanted))
			return true;
	}
	return false;
}

static bool only(const char *s, size_t size, const char *more)
{
	for (size_t i = 0; i < size; i++) {
		const char *m = more;

		if ((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
			(s[i] >= '0' && s[i] <= '9'))
			continue;
		while (*m && *m != s[i])
			m++;
		if (!*m)
			return false;
	}
	return true;
}

const char *labels_check(const char *labels, enum labels_kind kind)
{
	const char *at = labels;
	struct item i, other;
	size_t n = 0;

	if (strlen(labels) >= LABELS_SIZE)
		return "labels have more than 255 characters";
	if (labels[0] && labels[strlen(labels) - 1] == ',')
		return "labels end with a comma";
	while (next_item(&at, &i)) {
		const char *rest = labels;

		if (++n > LABELS_MAX)
			return "there are more than 16 labels";
		if (!i.key_size || i.key_size > LABEL_KEY_MAX || !only(i.key, i.key_size, "_.-/"))
			return "a label's key has 1 to 63 of A-Z a-z 0-9 _ . - /";
		if (kind == LABELS_PAIRS && !i.value)
			return "a label is KEY=VALUE";
		if (kind == LABELS_KEYS && i.value)
			return "the key of a label to remove stands alone";
		if (i.value && (i.value_size > LABEL_VALUE_MAX ||
				       !only(i.value, i.value_size, "_.-/:@+")))
			return "a label's value has up to 63 of A-Z a-z 0-9 _ . - / : @ +";
		/* the first one with this key is this one */
		if (kind == LABELS_PAIRS && find(rest, &i, &other) && other.key != i.key)
			return "a label's key comes twice";
	}
	return NULL;
}

static bool append(char out[LABELS_SIZE], size_t *size, size_t *count, const struct item *i)
{
	size_t need = (*size ? 1 : 0) + i->key_size + 1 + i->value_size;

	if (*size + need >= LABELS_SIZE || *count == LABELS_MAX)
		return false;
	if (*size)
		out[(*size)++] = ',';
	memcpy(out + *size, i->key, i->key_size);
	*size += i->key_size;
	out[(*size)++] = '=';
	if (i->value_size)
		memcpy(out + *size, i->value, i->value_size);
	*size += i->value_size;
	out[*size] = '\0';
	++*count;
	return true;
}

bool labels_change(char labels[LABELS_SIZE], const char *set, const char *remove)
{
	char out[LABELS_SIZE] = "";
	size_t size = 0, count = 0;
	const char *at = labels;
	struct item i, with;

	while (next_item(&at, &i)) {
		if (find(remove, &i, &with))
			continue;
		if (!append(out, &size, &count, find(set, &i, &with) ? &with : &i))
			return false;
	}
	for (at = set; next_item(&at, &i);) {
		if (!find(labels, &i, &with) && !find(remove, &i, &with) &&
			!append(out, &size, &count, &i))
			return false;
	}
	memcpy(labels, out, sizeof(out));
	return true;
}

bool labels_match(const char *labels, const char *selector)
{
	struct item wanted, found;

	while (next_item(&selector, &wanted)) {
		if (!find(labels, &wanted, &found))
			return false;
		if (wanted.value && (wanted.value_size != found.value_size ||
					    memcmp(wanted.value, found.value, wanted.value_size) != 0))
			return false;
	}
	return true;
}
