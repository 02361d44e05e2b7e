#include "boot/config.h"

#define DEFAULT_PORT 7117

void config_defaults(struct boot_config *c)
{
	*c = (struct boot_config){
			.serial_console = true,
			.screen_console = true,
			.log_level = LOG_INFO,
			.dhcp = true,
			.port = DEFAULT_PORT,
	};
}
