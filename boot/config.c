/* The parser of creel.conf. Pure: it sees only the text, and boot/files.c shows what it says. */
#include "boot/config.h"

#include "lib/err.h"
#include "lib/string.h"

#define DEFAULT_PORT 7117
#define NTP_PORT     123
#define SYSLOG_PORT  514
#define MAX_CORES    1024
#define SHOWN_MAX    40 /* bytes of a bad key or value that an error repeats */

/* A stretch of the file's text. */
struct span {
	const char *at;
	size_t size;
};

struct parser {
	struct boot_config *config;
	char *error; /* CONFIG_ERROR_MAX bytes */
	unsigned line;
	uint32_t seen; /* a bit for each row of `keys` */
	unsigned gateway_line, dns_line, reserve_line;
};

/* Each returns false when the value is not one that the row's hint describes. */
struct key {
	const char *name;
	bool (*set)(struct parser *p, struct span value);
	const char *hint;
	bool many;   /* may stand on several lines */
	bool secret; /* no error may show the value */
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span s)
{
	while (s.size > 0 && is_space(s.at[0])) {
		s.at++;
		s.size--;
	}
	while (s.size > 0 && is_space(s.at[s.size - 1]))
		s.size--;
	return s;
}

static bool span_is(struct span s, const char *word)
{
	return s.size == strlen(word) && memcmp(s.at, word, s.size) == 0;
}

/* The text as an error may show it: short, and nothing that a terminal would act on. */
static const char *shown(struct span s, char buf[SHOWN_MAX + 4])
{
	size_t n = MIN(s.size, (size_t)SHOWN_MAX);

	for (size_t i = 0; i < n; i++)
		buf[i] = s.at[i] >= ' ' && s.at[i] <= '~' ? s.at[i] : '?';
	fmt(buf + n, 4, "%s", s.size > n ? "..." : "");
	return buf;
}

/* The digits at the start of `s`, which is moved past them. */
static bool take_number(struct span *s, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;
	size_t n = 0;

	for (; n < s->size && s->at[n] >= '0' && s->at[n] <= '9'; n++) {
		uint64_t digit = (uint64_t)(s->at[n] - '0');

		if (v > (max - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	s->at += n;
	s->size -= n;
	*value = v;
	return n > 0;
}

static bool take_char(struct span *s, char c)
{
	if (s->size == 0 || s->at[0] != c)
		return false;
	s->at++;
	s->size--;
	return true;
}

static bool take_address(struct span *s, uint32_t *address)
{
	uint64_t byte;

	*address = 0;
	for (int i = 0; i < 4; i++) {
		if ((i > 0 && !take_char(s, '.')) || !take_number(s, 255, &byte))
			return false;
		*address = *address << 8 | (uint32_t)byte;
	}
	return true;
}

/* An address that one machine may have: not 0/8, loopback, multicast or reserved. */
static bool is_unicast(uint32_t address)
{
	uint32_t first = address >> 24;

	return first != 0 && first != 127 && first < 224;
}

static bool parse_host(struct span s, uint32_t *address)
{
	return take_address(&s, address) && s.size == 0 && is_unicast(*address);
}

static bool parse_bool(struct span s, const char *yes, const char *no, bool *value)
{
	*value = span_is(s, yes);
	return *value || span_is(s, no);
}

/* "64K", "512M", "2G", "1T", or bytes. */
static bool parse_size(struct span s, uint64_t *value)
{
	static const char units[] = "KMGT";
	unsigned shift = 0;

	if (!take_number(&s, UINT64_MAX, value))
		return false;
	for (unsigned i = 0; units[i]; i++) {
		if (take_char(&s, units[i])) {
			shift = 10 * (i + 1);
			break;
		}
	}
	if (s.size != 0 || *value > UINT64_MAX >> shift)
		return false;
	*value <<= shift;
	return true;
}

static bool set_console(struct parser *p, struct span value)
{
	struct boot_config *c = p->config;

	c->serial_console = span_is(value, "serial") || span_is(value, "both");
	c->screen_console = span_is(value, "screen") || span_is(value, "both");
	return c->serial_console || c->screen_console || span_is(value, "none");
}

static bool set_log(struct parser *p, struct span value)
{
	static const struct {
		const char *name;
		enum config_log_level level;
	} levels[] = {
		{"error", LOG_ERROR},
		{"warn", LOG_WARN},
		{"info", LOG_INFO},
		{"debug", LOG_DEBUG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (span_is(value, levels[i].name)) {
			p->config->log_level = levels[i].level;
			return true;
		}
	}
	return false;
}

static bool set_address(struct parser *p, struct span value)
{
	struct boot_config *c = p->config;
	uint64_t bits;

	c->dhcp = span_is(value, "dhcp");
	if (c->dhcp)
		return true;
	if (!take_address(&value, &c->address) || !take_char(&value, '/') ||
		!take_number(&value, 30, &bits) || bits == 0 || value.size != 0)
		return false;
	c->netmask = UINT32_MAX << (32 - bits);

	uint32_t host = c->address & ~c->netmask;

	return is_unicast(c->address) && host != 0 && host != ~c->netmask;
}

static bool set_gateway(struct parser *p, struct span value)
{
	p->gateway_line = p->line;
	return parse_host(value, &p->config->gateway);
}

static bool set_dns(struct parser *p, struct span value)
{
	p->dns_line = p->line;
	return parse_host(value, &p->config->dns);
}

/* A.B.C.D, or with a port other than the usual one A.B.C.D:PORT. */
static bool parse_endpoint(struct span s, uint32_t *address, uint16_t *port)
{
	uint64_t other;

	if (!take_address(&s, address) || !is_unicast(*address))
		return false;
	if (s.size == 0)
		return true;
	if (!take_char(&s, ':') || !take_number(&s, UINT16_MAX, &other) || other == 0 || s.size != 0)
		return false;
	*port = (uint16_t)other;
	return true;
}

static bool set_ntp(struct parser *p, struct span value)
{
	return parse_endpoint(value, &p->config->ntp, &p->config->ntp_port);
}

static bool set_syslog(struct parser *p, struct span value)
{
	return parse_endpoint(value, &p->config->syslog, &p->config->syslog_port);
}

static bool set_port(struct parser *p, struct span value)
{
	uint64_t port;

	if (!take_number(&value, UINT16_MAX, &port) || port == 0 || value.size != 0)
		return false;
	p->config->port = (uint16_t)port;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 64 hexadecimal digits at the start of `s`, which is moved past them. */
static bool take_key(struct span *s, uint8_t key[CONFIG_KEY_SIZE])
{
	if (s->size < 2 * CONFIG_KEY_SIZE)
		return false;
	for (size_t i = 0; i < CONFIG_KEY_SIZE; i++) {
		int high = hex_digit(s->at[2 * i]), low = hex_digit(s->at[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		key[i] = (uint8_t)(high << 4 | low);
	}
	s->at += 2 * CONFIG_KEY_SIZE;
	s->size -= 2 * CONFIG_KEY_SIZE;
	return true;
}

/* The word at the start of `s`, which is moved past it and the space behind. */
static struct span take_word(struct span *s)
{
	struct span word = {s->at, 0};

	while (word.size < s->size && !is_space(word.at[word.size]))
		word.size++;
	*s = trim((struct span){s->at + word.size, s->size - word.size});
	return word;
}

static bool is_name(struct span s)
{
	for (size_t i = 0; i < s.size; i++) {
		char c = s.at[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '.' || c == '_' || c == '-' || c == '@'))
			return false;
	}
	return s.size > 0 && s.size < CONFIG_NAME_MAX;
}

static enum config_role role_of(struct span word)
{
	static const char *const roles[] = {
		[ROLE_VIEWER] = "viewer",
		[ROLE_OWNER] = "owner",
		[ROLE_OPERATOR] = "operator",
		[ROLE_ADMIN] = "admin",
	};

	for (enum config_role r = ROLE_VIEWER; r <= ROLE_ADMIN; r++) {
		if (span_is(word, roles[r]))
			return r;
	}
	return ROLE_NONE;
}

/* One key has one role: the same key again is refused. */
static bool set_authorized(struct parser *p, struct span value)
{
	struct boot_config *c = p->config;
	struct config_client client = {0};
	struct span word;

	if (c->client_count == CONFIG_CLIENTS_MAX || !take_key(&value, client.key) ||
		value.size == 0 || !is_space(value.at[0]))
		return false;
	value = trim(value);
	word = take_word(&value);
	client.role = role_of(word);
	if (client.role == ROLE_NONE || !is_name(value))
		return false;
	memcpy(client.name, value.at, value.size);
	for (unsigned i = 0; i < c->client_count; i++) {
		if (memcmp(c->clients[i].key, client.key, sizeof(client.key)) == 0)
			return false;
	}
	c->clients[c->client_count++] = client;
	return true;
}

static bool set_host_key(struct parser *p, struct span value)
{
	p->config->has_host_key = true;
	return take_key(&value, p->config->host_key) && value.size == 0;
}

static bool set_cores(struct parser *p, struct span value)
{
	uint64_t cores;

	if (!take_number(&value, MAX_CORES, &cores) || cores == 0 || value.size != 0)
		return false;
	p->config->max_cores = (unsigned)cores;
	return true;
}

static bool set_memory(struct parser *p, struct span value)
{
	return parse_size(value, &p->config->max_memory) &&
	       p->config->max_memory >= CONFIG_MIN_MEMORY;
}

static bool set_reserve(struct parser *p, struct span value)
{
	p->reserve_line = p->line;
	return parse_size(value, &p->config->reserve) && p->config->reserve > 0;
}

static bool set_owner_memory(struct parser *p, struct span value)
{
	return parse_size(value, &p->config->owner_max_memory) &&
	       p->config->owner_max_memory >= PAGE_SIZE;
}

static bool parse_count(struct span s, uint64_t *value)
{
	return take_number(&s, UINT32_MAX, value) && *value > 0 && s.size == 0;
}

static bool set_owner_guests(struct parser *p, struct span value)
{
	return parse_count(value, &p->config->owner_max_guests);
}

static bool set_owner_snapshots(struct parser *p, struct span value)
{
	return parse_count(value, &p->config->owner_max_snapshots);
}

static bool set_smt(struct parser *p, struct span value)
{
	return parse_bool(value, "on", "off", &p->config->smt);
}

static bool set_debug_wait(struct parser *p, struct span value)
{
	return parse_bool(value, "yes", "no", &p->config->debug_wait);
}

static const struct key keys[] = {
	{.name = "console", .set = set_console, .hint = "serial, screen, both or none"},
	{.name = "log", .set = set_log, .hint = "error, warn, info or debug"},
	{.name = "address", .set = set_address, .hint = "dhcp or a host's A.B.C.D/N"},
	{.name = "gateway", .set = set_gateway, .hint = "A.B.C.D"},
	{.name = "dns", .set = set_dns, .hint = "A.B.C.D"},
	{.name = "ntp", .set = set_ntp, .hint = "A.B.C.D or A.B.C.D:PORT"},
	{.name = "syslog", .set = set_syslog, .hint = "A.B.C.D or A.B.C.D:PORT"},
	{.name = "port", .set = set_port, .hint = "1 to 65535"},
	{.name = "authorized",
		.set = set_authorized,
		.hint = "a new key (64 hex digits), a role, a name",
		.many = true},
	{.name = "host-key", .set = set_host_key, .hint = "64 hex digits", .secret = true},
	{.name = "cores", .set = set_cores, .hint = "1 to 1024"},
	{.name = "memory", .set = set_memory, .hint = "96M or more, like 512M or 16G"},
	{.name = "reserve", .set = set_reserve, .hint = "a size like 64M or 2G"},
	{.name = "owner-max-memory", .set = set_owner_memory, .hint = "a size like 512M or 16G"},
	{.name = "owner-max-guests", .set = set_owner_guests, .hint = "1 to 4294967295"},
	{.name = "owner-max-snapshots", .set = set_owner_snapshots, .hint = "1 to 4294967295"},
	{.name = "smt", .set = set_smt, .hint = "on or off"},
	{.name = "debug-wait", .set = set_debug_wait, .hint = "yes or no"},
};

static int fail_unknown(struct parser *p, struct span key)
{
	char buf[SHOWN_MAX + 4];
	size_t n = fmt(p->error, CONFIG_ERROR_MAX, "line %u: no key \"%s\"; there are", p->line,
		shown(key, buf));

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		n += fmt(p->error + n, CONFIG_ERROR_MAX - n, " %s", keys[i].name);
	return ERR_INVALID;
}

static int set_key(struct parser *p, struct span key, struct span value)
{
	char buf[SHOWN_MAX + 4];

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!span_is(key, keys[i].name))
			continue;
		if (p->seen & 1u << i && !keys[i].many) {
			fmt(p->error, CONFIG_ERROR_MAX,
				"line %u: %s is set a second time; keep one", p->line,
				keys[i].name);
			return ERR_INVALID;
		}
		p->seen |= 1u << i;
		if (keys[i].set(p, value))
			return 0;
		fmt(p->error, CONFIG_ERROR_MAX, "line %u: %s = \"%s\": write %s", p->line,
			keys[i].name, keys[i].secret ? "..." : shown(value, buf), keys[i].hint);
		return ERR_INVALID;
	}
	return fail_unknown(p, key);
}

static int parse_line(struct parser *p, struct span line)
{
	char buf[SHOWN_MAX + 4];
	size_t equals = 0;

	for (size_t i = 0; i < line.size; i++) {
		if (line.at[i] == '#') {
			line.size = i;
			break;
		}
	}
	line = trim(line);
	if (line.size == 0)
		return 0;
	while (equals < line.size && line.at[equals] != '=')
		equals++;
	if (equals == line.size) {
		fmt(p->error, CONFIG_ERROR_MAX, "line %u: \"%s\": write key = value", p->line,
			shown(line, buf));
		return ERR_INVALID;
	}
	return set_key(p, trim((struct span){line.at, equals}),
		trim((struct span){line.at + equals + 1, line.size - equals - 1}));
}

/* What no line can know by itself. */
static int check_whole(struct parser *p)
{
	struct boot_config *c = p->config;
	const char *complaint = NULL;
	unsigned line = 0;

	if (c->dhcp && p->gateway_line) {
		line = p->gateway_line;
		complaint = "gateway goes with a fixed address; DHCP tells its own";
	} else if (c->dhcp && p->dns_line) {
		line = p->dns_line;
		complaint = "dns goes with a fixed address; DHCP tells its own";
	} else if (p->gateway_line &&
		   (c->gateway == c->address || ((c->gateway ^ c->address) & c->netmask))) {
		line = p->gateway_line;
		complaint = "gateway must be another host of the network in address";
	} else if (p->reserve_line && c->max_memory && c->reserve >= c->max_memory) {
		line = p->reserve_line;
		complaint = "reserve must be smaller than memory";
	}
	if (!complaint)
		return 0;
	fmt(p->error, CONFIG_ERROR_MAX, "line %u: %s", line, complaint);
	return ERR_INVALID;
}

void config_defaults(struct boot_config *c)
{
	memset(c, 0, sizeof(*c));
	c->serial_console = true;
	c->screen_console = true;
	c->log_level = LOG_INFO;
	c->dhcp = true;
	c->port = DEFAULT_PORT;
	c->ntp_port = NTP_PORT;
	c->syslog_port = SYSLOG_PORT;
}

int config_parse(struct boot_config *c, const char *text, size_t size, char error[CONFIG_ERROR_MAX])
{
	struct parser p = {.config = c, .error = error};
	size_t at = 0;
	int status = 0;

	config_defaults(c);
	/* editors of other systems put a byte order mark first */
	if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		at = 3;
	while (at < size && status == 0) {
		size_t end = at;

		while (end < size && text[end] != '\n')
			end++;
		p.line++;
		status = parse_line(&p, (struct span){text + at, end - at});
		at = end + 1;
	}
	return status ? status : check_whole(&p);
}
