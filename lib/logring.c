#include "lib/logring.h"

static char at(const struct logring *r, uint64_t position)
{
	return r->bytes[position % LOGRING_SIZE];
}

static uint64_t behind_line(const struct logring *r, uint64_t position)
{
	while (position < r->end && at(r, position) != '\n')
		position++;
	return position < r->end ? position + 1 : r->end;
}

static void put(struct logring *r, char c)
{
	r->bytes[r->end++ % LOGRING_SIZE] = c;
}

void logring_put(struct logring *r, const char *line, size_t size)
{
	size = MIN(size, (size_t)LOGRING_LINE_MAX - 1);
	while (r->end + size + 1 - r->first > LOGRING_SIZE)
		r->first = behind_line(r, r->first);
	for (size_t i = 0; i < size; i++)
		put(r, line[i] == '\n' ? ' ' : line[i]);
	put(r, '\n');
}

size_t logring_read(const struct logring *r, uint64_t *seq, char *buf, size_t size)
{
	uint64_t position = *seq;
	size_t copied = 0;

	if (position < r->first)
		position = r->first;
	else if (position > r->end)
		position = r->end;
	else if (position > r->first && at(r, position - 1) != '\n')
		position = behind_line(r, position);

	while (position < r->end) {
		uint64_t next = behind_line(r, position);

		if (next - position > size - copied)
			break;
		while (position < next)
			buf[copied++] = at(r, position++);
	}
	*seq = position;
	return copied;
}
