/*
 * The client's configuration, ~/.config/creel/config: lines of `key = value`, `#` comments.
 *
 *     host = NAME ADDRESS KEY      a host by name, and its public key in hexadecimal
 *     default = NAME               the host that is meant when none is named
 *
 * The parser is pure. An unknown key, a duplicate, or a bad value is an error that names the line.
 */
#ifndef MGMT_CLIENT_CONFIG_H
#define MGMT_CLIENT_CONFIG_H

#include "lib/base.h"
#include "mgmt/client/creel.h"

#define CONFIG_TEXT_MAX  (64 * 1024)
#define CONFIG_LINE_MAX  1024
#define CONFIG_HOSTS_MAX 256
#define CONFIG_ERROR_MAX 240
#define CONFIG_PORT_SIZE 6

struct config_host {
	struct creel_host host;
	unsigned line;
};

struct client_config {
	struct config_host hosts[CONFIG_HOSTS_MAX];
	size_t count;
	unsigned default_line;              /* 0: there is none */
	const struct config_host *standard; /* the default, or the only host; or NULL */
};

/* `size` may be above CONFIG_TEXT_MAX. False, with a sentence in `error`. */
bool client_config_parse(struct client_config *config, const char *text, size_t size,
	char error[CONFIG_ERROR_MAX]);

/* By name. NULL: there is none. */
const struct config_host *client_config_find(const struct client_config *config, const char *name);

/* What a host may be called; and what may stand for an address in the file. */
bool client_host_name(const char *name);
bool client_host_address(const char *address);
/* Splits HOST, HOST:PORT, [HOST]:PORT; false if it is none of these. */
bool client_split_address(
	const char *address, char host[CREEL_ADDRESS_SIZE], char port[CONFIG_PORT_SIZE]);

#endif
