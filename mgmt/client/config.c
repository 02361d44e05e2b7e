#include "mgmt/client/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 40 /* bytes of a bad word that an error repeats */

struct parser {
	struct client_config *config;
	char *error;
	unsigned line;
	char standard[CREEL_NAME_SIZE];
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The text as an error may show it: short, and nothing that a terminal would act on. */
static const char *shown(const char *text, char buf[SHOWN_MAX + 4])
{
	size_t n = strnlen(text, SHOWN_MAX);

	for (size_t i = 0; i < n; i++)
		buf[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	strcpy(buf + n, text[n] ? "..." : "");
	return buf;
}

static bool wrong(struct parser *p, const char *format, const char *word)
{
	char buf[SHOWN_MAX + 4], sentence[CONFIG_ERROR_MAX];

	snprintf(sentence, sizeof(sentence), format, word ? shown(word, buf) : "");
	snprintf(p->error, CONFIG_ERROR_MAX, "line %u: %.200s", p->line, sentence);
	return false;
}

bool client_host_name(const char *name)
{
	static const char fit[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t size = strlen(name);

	return size > 0 && size < CREEL_NAME_SIZE && name[0] != '-' && strspn(name, fit) == size;
}

bool client_host_address(const char *address)
{
	char host[CREEL_ADDRESS_SIZE], port[CONFIG_PORT_SIZE];
	size_t size = strlen(address);

	for (size_t i = 0; i < size; i++) {
		if (address[i] <= ' ' || address[i] > '~' || address[i] == '#')
			return false;
	}
	return client_split_address(address, host, port);
}

bool client_split_address(
	const char *address, char host[CREEL_ADDRESS_SIZE], char port[CONFIG_PORT_SIZE])
{
	const char *colon = strrchr(address, ':'), *begin = address,
		   *end = address + strlen(address);
	const char *number = "";

	if (address[0] == '[') {
		begin = address + 1;
		end = strchr(address, ']');
		if (!end || (end[1] && end[1] != ':'))
			return false;
		if (end[1])
			number = end + 2;
	} else if (colon && strchr(address, ':') == colon) {
		end = colon;
		number = colon + 1;
		if (!*number)
			return false;
	}
	if (end == begin || strlen(address) >= CREEL_ADDRESS_SIZE ||
		strlen(number) >= CONFIG_PORT_SIZE)
		return false;
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = 0;
	snprintf(port, CONFIG_PORT_SIZE, "%s", number);
	if (!*number)
		snprintf(port, CONFIG_PORT_SIZE, "%u", CREEL_DEFAULT_PORT);
	return strspn(port, "0123456789") == strlen(port) && atol(port) > 0 && atol(port) < 65536;
}

const struct config_host *client_config_find(const struct client_config *config, const char *name)
{
	for (size_t i = 0; i < config->count; i++) {
		if (!strcmp(config->hosts[i].host.name, name))
			return &config->hosts[i];
	}
	return NULL;
}

/* Cuts the first word off `*text`, and the space around it; "" at the end. */
static char *take_word(char **text)
{
	char *word, *end;

	while (is_space(**text))
		++*text;
	word = end = *text;
	while (*end && !is_space(*end))
		end++;
	*text = *end ? end + 1 : end;
	*end = 0;
	return word;
}

static bool set_host(struct parser *p, char *value)
{
	struct client_config *config = p->config;
	char *name = take_word(&value), *address = take_word(&value), *key = take_word(&value);
	struct config_host new = {.line = p->line};

	if (!*key || *take_word(&value))
		return wrong(p, "write host = NAME ADDRESS KEY%s", NULL);
	if (!client_host_name(name))
		return wrong(p, "\"%s\" can't be a name: use letters, digits, dots and dashes", name);
	if (!client_host_address(address))
		return wrong(p, "\"%s\" is no address: give HOST or HOST:PORT", address);
	if (!creel_key_parse(new.host.key, key))
		return wrong(p, "\"%s\" is no key, which has 64 hexadecimal digits", key);
	if (client_config_find(config, name))
		return wrong(p, "host %s is there a second time; keep one", name);
	if (config->count == CONFIG_HOSTS_MAX)
		return wrong(p, "these are more than 256 hosts%s", NULL);
	strcpy(new.host.name, name);
	strcpy(new.host.address, address);
	config->hosts[config->count++] = new;
	return true;
}

static bool set_default(struct parser *p, char *value)
{
	const char *name = take_word(&value);

	if (p->config->default_line)
		return wrong(p, "default is set a second time; keep one%s", NULL);
	if (!client_host_name(name) || *take_word(&value))
		return wrong(p, "write default = NAME, of a host%s", NULL);
	p->config->default_line = p->line;
	strcpy(p->standard, name);
	return true;
}

/* `line` has no newline; it is taken apart. */
static bool parse_line(struct parser *p, char *line)
{
	static const struct {
		const char *name;
		bool (*set)(struct parser *p, char *value);
	} keys[] = {{"host", set_host}, {"default", set_default}};
	char *equals, *word;

	line[strcspn(line, "#")] = 0;
	equals = strchr(line, '=');
	if (equals)
		*equals = 0;
	word = take_word(&line);
	if (!equals)
		return !*word || wrong(p, "\"%s\": write key = value", word);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!strcmp(word, keys[i].name) && !*take_word(&line))
			return keys[i].set(p, equals + 1);
	}
	return wrong(p, "no key \"%s\"; there are host and default", word);
}

static bool check_default(struct parser *p)
{
	struct client_config *config = p->config;

	if (!config->default_line) {
		config->standard = config->count == 1 ? &config->hosts[0] : NULL;
		return true;
	}
	config->standard = client_config_find(config, p->standard);
	p->line = config->default_line;
	return config->standard || wrong(p, "there is no host %s", p->standard);
}

bool client_config_parse(struct client_config *config, const char *text, size_t size,
	char error[CONFIG_ERROR_MAX])
{
	struct parser p = {.config = config, .error = error};
	char line[CONFIG_LINE_MAX + 1];

	memset(config, 0, sizeof(*config));
	for (size_t at = 0; at < size;) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t n = end ? (size_t)(end - (text + at)) : size - at;

		p.line++;
		if (n > CONFIG_LINE_MAX)
			return wrong(&p, "it is longer than 1024 bytes%s", NULL);
		if (at + n > CONFIG_TEXT_MAX)
			return wrong(&p, "the file is longer than 64 KiB%s", NULL);
		if (memchr(text + at, 0, n))
			return wrong(&p, "a zero byte is no text%s", NULL);
		memcpy(line, text + at, n);
		line[n] = 0;
		if (!parse_line(&p, line))
			return false;
		at += n + 1;
	}
	if (!check_default(&p))
		return false;
	for (size_t i = 0; i < config->count; i++)
		config->hosts[i].host.is_default = &config->hosts[i] == config->standard;
	return true;
}
