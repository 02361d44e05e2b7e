/* libFuzzer over creel.conf: any bytes give a configuration within its limits, or one error line.
 */
#include "boot/config.h"
#include "lib/err.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct boot_config c;
	char error[CONFIG_ERROR_MAX] = "";
	int status = config_parse(&c, (const char *)data, size, error);

	must(status == 0 || status == ERR_INVALID);
	must((status == 0) == (error[0] == '\0'));
	must(memchr(error, '\0', sizeof(error)) != NULL);
	for (const char *p = error; *p; p++)
		must(*p >= ' ' && *p <= '~');
	if (status == 0) {
		must(c.port != 0 && c.max_cores <= 1024);
		must(c.max_memory == 0 || c.max_memory >= CONFIG_MIN_MEMORY);
		must(c.dhcp || c.netmask != 0);
	}
	return 0;
}
