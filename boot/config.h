/*
 * \creel\creel.conf: lines of `key = value`, `#` comments. Parsed once, at boot; the parser is
 * pure. An unknown key, a duplicate or a bad value is an error that names line and value: a host
 * that would run with less than its owner wrote down does not run.
 */
#ifndef BOOT_CONFIG_H
#define BOOT_CONFIG_H

#include "lib/base.h"

#define CONFIG_MAX_SIZE  (64 * 1024)
#define CONFIG_ERROR_MAX 320

/* Memory that the host's tables, the network and one guest want; a machine with less is refused. */
#define CONFIG_MIN_MEMORY (96 * MIB)

#define CONFIG_CLIENTS_MAX 64
#define CONFIG_KEY_SIZE    32
#define CONFIG_NAME_MAX    32

/* What a client may do; mgmt/ enforces it. */
enum config_role { ROLE_NONE, ROLE_VIEWER, ROLE_OWNER, ROLE_OPERATOR, ROLE_ADMIN };

/* authorized = KEY ROLE NAME: a client's public key in hexadecimal, what it may do, whose it is. */
struct config_client {
	uint8_t key[CONFIG_KEY_SIZE];
	enum config_role role;
	char name[CONFIG_NAME_MAX];
};

enum config_log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct boot_config {
	bool serial_console; /* console = serial | screen | both | none */
	bool screen_console;
	enum config_log_level log_level; /* log = error | warn | info | debug */

	bool dhcp;                 /* address = dhcp, or A.B.C.D/N */
	uint32_t address, netmask; /* host byte order; with dhcp off */
	uint32_t gateway, dns;     /* 0: none */
	uint32_t ntp, syslog;      /* ntp, syslog = A.B.C.D[:PORT]; 0: DHCP's, none */
	uint16_t ntp_port, syslog_port;
	uint16_t port;             /* port = N, the management port; 7117 unless told */

	struct config_client clients[CONFIG_CLIENTS_MAX];
	unsigned client_count;
	bool has_host_key; /* host-key = KEY: the host's private key, on a medium for one host */
	uint8_t host_key[CONFIG_KEY_SIZE];

	unsigned max_cores;  /* cores = N; 0: all */
	uint64_t max_memory; /* memory = SIZE, bytes of RAM to use; 0: all */
	uint64_t reserve;    /* reserve = SIZE, bytes never given to guests; 0: our choice */
	bool smt;            /* smt = on: guests on every hardware thread */

	/* What each client of role owner may have; 0: all that there is. */
	uint64_t owner_max_memory; /* owner-max-memory = SIZE, bytes */
	uint64_t owner_max_guests, owner_max_snapshots; /* owner-max-guests = N, ... */

	bool debug_wait; /* debug-wait = yes: the loader stops until a debugger lets it go on */
};

/* The values that an empty file gives. */
void config_defaults(struct boot_config *c);

/*
 * Parse `size` bytes of text into `c`, which starts from the defaults.
 * Returns 0, or ERR_INVALID with a sentence in `error` that names line, key, value and remedy.
 */
int config_parse(
	struct boot_config *c, const char *text, size_t size, char error[CONFIG_ERROR_MAX]);

#endif
