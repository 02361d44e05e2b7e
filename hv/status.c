#include "hv/status.h"

#include "hv/clock.h"
#include "hv/core.h"
#include "hv/hypervisor.h"
#include "hv/log.h"
#include "hv/platform.h"
#include "lib/string.h"
#include "lib/version.h"

#define LINE_MAX 160

enum status_row { ROW_RULE, ROW_HOST, ROW_LOAD, ROWS };

static uint16_t port;

void status_start(uint16_t management_port)
{
	char rule[LINE_MAX];

	port = management_port;
	log_status_rows(ROWS);
	memset(rule, '-', sizeof(rule) - 1);
	rule[sizeof(rule) - 1] = 0;
	log_status(ROW_RULE, rule);
}

static void show_host(void)
{
	uint64_t seconds = clock_us() / 1000000;
	uint8_t mac[6];
	uint32_t address;
	char line[LINE_MAX];

	platform_network(&address, mac);
	fmt(line, sizeof(line), "Creel %s  %s  %u cores  address %u.%u.%u.%u port %u  up %llu:%02llu:%02llu",
		CREEL_VERSION, hv.vm->name, core_count, address >> 24, address >> 16 & 0xff,
		address >> 8 & 0xff, address & 0xff, port, (unsigned long long)(seconds / 3600),
		(unsigned long long)(seconds / 60 % 60), (unsigned long long)(seconds % 60));
	log_status(ROW_HOST, line);
}

static void show_load(void)
{
	uint64_t pages_per_mib = MIB / PAGE_SIZE;
	char line[LINE_MAX];

	fmt(line, sizeof(line), "guests %llu  snapshots %llu  images %llu  memory free %llu of %llu MiB",
		(unsigned long long)registry_count(&hv.registry, OBJECT_GUEST),
		(unsigned long long)registry_count(&hv.registry, OBJECT_SNAPSHOT),
		(unsigned long long)registry_count(&hv.registry, OBJECT_IMAGE),
		(unsigned long long)(frame_pool_free(&hv.pool) / pages_per_mib),
		(unsigned long long)(hv.pool.total / pages_per_mib));
	log_status(ROW_LOAD, line);
}

void status_show(void)
{
	if (!log_has_screen())
		return;
	show_host();
	show_load();
}
