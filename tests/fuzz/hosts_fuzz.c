/* creelctl's configuration: whatever stands in it, it is read or refused with a line's number. */
#include "mgmt/client/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct client_config config;
	char error[CONFIG_ERROR_MAX] = "";

	if (!client_config_parse(&config, (const char *)data, size, error)) {
		if (strncmp(error, "line ", 5) || strlen(error) >= sizeof(error))
			abort();
		for (const char *p = error; *p; p++) {
			if (*p < ' ' || *p > '~')
				abort();
		}
		return 0;
	}
	for (size_t i = 0; i < config.count; i++) {
		const struct creel_host *h = &config.hosts[i].host;

		if (!client_host_name(h->name) || !client_host_address(h->address) ||
			client_config_find(&config, h->name) != &config.hosts[i])
			abort();
	}
	return 0;
}
