#include "lib/syslog.h"

#include "lib/string.h"
#include "lib/utc.h"

#define VERSION     1
#define APPLICATION "creel"

static void put(struct syslog *m, char c)
{
	if (m->size < SYSLOG_MAX)
		m->text[m->size++] = c;
	m->text[m->size] = 0;
}

static void put_text(struct syslog *m, const char *text)
{
	while (*text)
		put(m, *text++);
}

static char printable(char c)
{
	return c >= ' ' && c <= '~' ? c : '?';
}

void syslog_begin(struct syslog *m, enum syslog_facility facility, enum syslog_severity severity,
	uint64_t wall_ns, uint32_t address, const char *process, const char *kind)
{
	char when[UTC_TEXT_SIZE] = "-", host[16] = "-";

	if (wall_ns)
		utc_text(when, wall_ns);
	if (address)
		fmt(host, sizeof(host), "%u.%u.%u.%u", address >> 24, address >> 16 & 255,
			address >> 8 & 255, address & 255);
	m->size = fmt(m->text, sizeof(m->text), "<%u>%u %s %s %s %s %s ",
		(unsigned)facility * 8 + (unsigned)severity, VERSION, when, host, APPLICATION, process,
		kind);
}

void syslog_element(struct syslog *m, const char *id)
{
	put(m, '[');
	put_text(m, id);
}

void syslog_param(struct syslog *m, const char *name, const char *value)
{
	put(m, ' ');
	put_text(m, name);
	put_text(m, "=\"");
	for (; *value; value++) {
		if (*value == '"' || *value == '\\' || *value == ']')
			put(m, '\\');
		put(m, printable(*value));
	}
	put(m, '"');
}

void syslog_number(struct syslog *m, const char *name, uint64_t value)
{
	char text[24];

	fmt(text, sizeof(text), "%llu", (unsigned long long)value);
	syslog_param(m, name, text);
}

void syslog_element_end(struct syslog *m)
{
	put(m, ']');
}

void syslog_no_elements(struct syslog *m)
{
	put(m, '-');
}

void syslog_text(struct syslog *m, const char *text, size_t size)
{
	put(m, ' ');
	for (size_t i = 0; i < size; i++)
		put(m, printable(text[i]));
}
