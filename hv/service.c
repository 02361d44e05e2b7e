#include "hv/service.h"

#include "boot/handover.h"
#include "drivers/nic.h"
#include "hv/clock.h"
#include "hv/hypervisor.h"
#include "hv/owner.h"
#include "hv/log.h"
#include "hv/meter.h"
#include "hv/panic.h"
#include "hv/platform.h"
#include "hv/power.h"
#include "hv/random.h"
#include "hv/report.h"
#include "hv/status.h"
#include "hv/timesync.h"
#include "lib/string.h"
#include "lib/wipe.h"
#include "mgmt/server.h"
#include "net/stack.h"
#include "net/tcp.h"

#define RX_BUDGET       64        /* frames handled before guests get their turn */
#define TICK_US         1000000u
#define POLL_US         1000u     /* a card without interrupts is looked at so often */
#define MAX_CONNECTIONS 2048
#define MIN_CONNECTIONS 64
#define MEMORY_A_CONNECTION (1 * MIB) /* of the machine, for each connection that it may have */
#define BUFFER_PER_CONNECTION (8 * KIB)

/* One client: its connection in the stack below, and in the server above. */
struct client {
	struct tcp_conn *tcp; /* NULL: it has gone */
	struct conn *conn;    /* NULL: the server is done with it */
	struct client *next_free;
};

static struct nic *nic;
static struct net_stack net;
static struct server server;
static struct channel_host sealed_host;
static struct channel_client sealed_clients[CONFIG_CLIENTS_MAX];
static struct client *free_clients;
static uint64_t next_tick_us;
static bool link_up, irq_on, had_address, has_key;
static size_t memory_taken; /* for connections: in the stack, in the server, between them */

/* ---- the server's transport is a TCP connection ----------------------------------------------- */

static int64_t transport_read(void *transport, uint8_t *buf, size_t size)
{
	struct client *c = transport;

	if (!c->tcp)
		return ERR_CLOSED;
	size_t n = tcp_read(c->tcp, buf, size);

	return n == 0 && tcp_at_end(c->tcp) ? ERR_CLOSED : (int64_t)n;
}

static int64_t transport_write(void *transport, const uint8_t *buf, size_t size)
{
	struct client *c = transport;

	return c->tcp ? (int64_t)tcp_write(c->tcp, buf, size) : ERR_CLOSED;
}

static size_t transport_room(void *transport, size_t want)
{
	struct client *c = transport;

	return c->tcp ? tcp_writable(c->tcp, want) : 0;
}

static void transport_close(void *transport, bool abort)
{
	struct client *c = transport;

	if (c->tcp && abort)
		tcp_abort(c->tcp);
	else if (c->tcp)
		tcp_close(c->tcp);
	*c = (struct client){.next_free = free_clients};
	free_clients = c;
}

static const struct transport_ops tcp_transport = {
	.read = transport_read,
	.write = transport_write,
	.room = transport_room,
	.close = transport_close,
};

static int tcp_opened(struct tcp_conn *tcp, void *ctx)
{
	struct client *c = free_clients;
	uint32_t from;
	uint16_t port;

	(void)ctx;
	if (!c)
		return ERR_LIMIT;
	free_clients = c->next_free;
	*c = (struct client){.tcp = tcp};
	tcp_set_user(tcp, c);
	/* On failure the server has closed the transport, and with it the connection. */
	tcp_peer(tcp, &from, &port);
	(void)server_accept(&server, &tcp_transport, c, from, clock_us(), &c->conn);
	return OK;
}

static void tcp_changed(struct tcp_conn *tcp)
{
	struct client *c = tcp_user(tcp);

	server_event(&server, c->conn);
}

static void tcp_closed(struct tcp_conn *tcp, enum tcp_reason reason)
{
	struct client *c = tcp_user(tcp);

	(void)reason;
	c->tcp = NULL;
	server_event(&server, c->conn);
}

static const struct tcp_ops tcp_events = {
	.opened = tcp_opened,
	.received = tcp_changed,
	.sendable = tcp_changed,
	.ended = tcp_changed,
	.closed = tcp_closed,
};

/* ---- the stack's link is the network card ----------------------------------------------------- */

/* Whether the boot core is inside of the driver, whose state a panic then had better not use. */
static volatile bool in_driver;

static int send_by_driver(const void *frame, size_t length)
{
	bool outer = in_driver;
	int r;

	in_driver = true;
	r = nic_send(nic, frame, length);
	in_driver = outer;
	return r;
}

static void flush_driver(void)
{
	in_driver = true;
	nic_flush(nic);
	in_driver = false;
}

#define PANIC_TRIES    3
#define PANIC_PAUSE_US 1000

/* hv/panic.h: the other cores stand still. The device takes the frame by itself. */
static void report_panic(const char *text)
{
	size_t size;
	const void *frame;

	if (!nic || in_driver)
		return;
	frame = report_panic_frame(text, &size);
	for (unsigned i = 0; frame && i < PANIC_TRIES; i++) {
		if (send_by_driver(frame, size) == OK) {
			flush_driver();
			return;
		}
		clock_delay_us(PANIC_PAUSE_US);
	}
}

static int send_frame(void *ctx, const void *frame, size_t length)
{
	(void)ctx;
	return send_by_driver(frame, length);
}

static void random_for_net(void *ctx, void *buf, size_t size)
{
	(void)ctx;
	platform_random(buf, size);
}

static void receive_frame(void *ctx, const uint8_t *frame, size_t length)
{
	(void)ctx;
	in_driver = false;
	net_input(&net, frame, length, clock_us());
	in_driver = true;
}

static void address_changed(void *ctx, const struct net_address *a)
{
	(void)ctx;
	if (a->addr)
		log_info("address: %u.%u.%u.%u", a->addr >> 24, a->addr >> 16 & 255,
			a->addr >> 8 & 255, a->addr & 255);
	else if (had_address)
		log_warn("address: lost");
	had_address = a->addr != 0;
}

void platform_network(uint32_t *address, uint8_t mac[6])
{
	*address = nic ? net_address(&net)->addr : 0;
	memset(mac, 0, 6);
	if (nic)
		memcpy(mac, nic->mac, 6);
}

/* ---- start ------------------------------------------------------------------------------------ */

static void *take(size_t size)
{
	hpa_t at;

	if (frame_alloc_contiguous(&hv.pool, align_up(size, PAGE_SIZE) / PAGE_SIZE, PAGE_SIZE, &at))
		return NULL;
	memory_taken += align_up(size, PAGE_SIZE);
	return frame_ptr(&hv.pool, at);
}

static bool start_net(const struct boot_config *conf, uint32_t connections)
{
	const struct net_config config = {
		.mac = {nic->mac[0], nic->mac[1], nic->mac[2], nic->mac[3], nic->mac[4], nic->mac[5]},
		.dhcp = conf->dhcp,
		.address = {.addr = conf->address,
			.mask = conf->netmask,
			.gateway = conf->gateway,
			.dns = conf->dns},
		.hostname = "creel",
		.max_connections = connections,
		.pool_per_conn = BUFFER_PER_CONNECTION,
		.send = send_frame,
		.random = random_for_net,
		.address_changed = address_changed,
	};
	size_t size = net_arena_size(&config);
	void *arena = take(size);

	return arena && net_init(&net, &config, arena, size) == OK;
}

static bool start_server(const struct boot_config *conf, uint32_t connections)
{
	struct server_config config = SERVER_CONFIG_DEFAULT;

	config.connections = connections;
	config.buffers = MIN(config.buffers, connections);
	config.inputs = MIN(config.inputs, connections);
	config.host = &sealed_host;

	size_t size = server_memory(&config);
	void *arena = take(size);
	struct client *clients = take(connections * sizeof(*clients));

	if (!arena || !clients || server_init(&server, &config, arena, size))
		return false;
	for (uint32_t i = 0; i < connections; i++) {
		clients[i].next_free = free_clients;
		free_clients = &clients[i];
	}
	return tcp_listen(&net, conf->port, 0, &tcp_events, NULL) == OK;
}

/* Those of role owner pay for what is theirs; the others pay from what the host has. */
static uint16_t start_owner(const struct boot_config *conf, const struct config_client *client)
{
	const uint64_t limit[BUDGET_KINDS] = {
		[BUDGET_PAGES] = conf->owner_max_memory ? conf->owner_max_memory / PAGE_SIZE
							: BUDGET_UNLIMITED,
		[BUDGET_GUESTS] = conf->owner_max_guests ? conf->owner_max_guests : BUDGET_UNLIMITED,
		[BUDGET_SNAPSHOTS] = conf->owner_max_snapshots ? conf->owner_max_snapshots
							       : BUDGET_UNLIMITED,
	};
	uint16_t owner = OWNER_HOST;

	/* There is room for as many owners as clients, and budgets come out of a fresh pool. */
	if (owner_add(client->name, client->role == ROLE_OWNER ? limit : NULL, &owner))
		log_error("no memory for the budget of %s", client->name);
	return owner;
}

/* Whom the port is for. */
static void start_clients(const struct boot_config *conf)
{

	for (unsigned i = 0; i < conf->client_count; i++) {
		memcpy(sealed_clients[i].key, conf->clients[i].key, NOISE_KEY_SIZE);
		sealed_clients[i].role = (uint8_t)conf->clients[i].role;
		sealed_clients[i].owner = start_owner(conf, &conf->clients[i]);
	}
	sealed_host.clients = sealed_clients;
	sealed_host.client_count = conf->client_count;
	sealed_host.random = platform_random;
}

/* The host's own; from here on it is nowhere but in sealed_host. */
static void start_key(struct boot_info *info)
{
	static const char *const sources[] = {
		[HOST_KEY_NONE] = "made for this boot",
		[HOST_KEY_CONF] = "of creel.conf",
		[HOST_KEY_KEPT] = "kept by the firmware",
		[HOST_KEY_MADE] = "made now, kept by the firmware",
	};
	char text[STATUS_KEY_SIZE];

	if (info->host_key_source == HOST_KEY_NONE)
		platform_random(info->host_key, sizeof(info->host_key));
	noise_keys_from(&sealed_host.keys, info->host_key);
	wipe(info->host_key, sizeof(info->host_key));
	has_key = true;
	service_host_key(text);
	if (info->host_key_replaced)
		log_error("the host key that the firmware had could be read or planted by others: "
			  "it was deleted");
	if (info->host_key_source == HOST_KEY_NONE)
		log_error("this host's key is lost at its next boot: %s", info->host_key_problem);
	log_info("host key: %s, %s", text, sources[info->host_key_source]);
}

void service_host_key(char text[STATUS_KEY_SIZE])
{
	text[0] = 0;
	for (size_t i = 0; has_key && i < NOISE_KEY_SIZE; i++)
		fmt(text + 2 * i, 3, "%02x", sealed_host.keys.public[i]);
}

void service_start(struct boot_info *info, struct nic *card)
{
	const struct boot_config *conf = &info->config;
	uint32_t connections = (uint32_t)MIN(
		MAX(hv.pool.total * PAGE_SIZE / MEMORY_A_CONNECTION, MIN_CONNECTIONS + 0ull),
		MAX_CONNECTIONS + 0ull);

	nic = card;
	if (!nic) {
		log_error("no network card that Creel can drive: nobody can manage this host");
		return;
	}
	if (!start_net(conf, connections)) {
		log_error("the network can't be started: too little memory for %u connections",
			connections);
		nic = NULL;
		return;
	}
	timesync_start(&net, conf);
	report_start(&net, conf);
	panic_set_reporter(report_panic);
	if (!random_seeded()) {
		log_error("the management port stays closed: the random generator has no seed");
		return;
	}
	start_key(info);
	if (!conf->client_count) {
		log_warn("the management port stays closed: creel.conf has no line authorized = "
			 "KEY ROLE NAME");
		return;
	}
	start_clients(conf);
	if (!start_server(conf, connections))
		log_error("the management port can't be opened");
	else
		log_info("management on TCP port %u, sealed, for %u client%s; %u connections in %llu KiB",
			conf->port, conf->client_count, conf->client_count == 1 ? "" : "s", connections,
			(unsigned long long)(memory_taken / KIB));
}

/* ---- work ------------------------------------------------------------------------------------- */

static uint64_t tsc_at(uint64_t us)
{
	return us == UINT64_MAX ? us : clock_tsc_zero() + clock_us_to_tsc(us);
}

/* A host that nobody reaches still shows its state. */
static bool poll_alone(uint64_t now, uint64_t *next)
{
	if (now >= next_tick_us) {
		next_tick_us = now + TICK_US;
		status_show();
	}
	*next = tsc_at(next_tick_us);
	return status_say();
}

static const struct audit_ring *audit_ring(void)
{
	return server.conns ? server.audit : NULL;
}

static void tick(uint64_t now)
{
	next_tick_us = now + TICK_US;
	in_driver = true;
	nic_tick(nic);
	in_driver = false;
	report_show(audit_ring());
	status_show();
	if (nic->link_up == link_up)
		return;
	link_up = nic->link_up;
	log_info("network link %s", link_up ? "up" : "down");
	net_link(&net, link_up, now);
}

/* What the host does by itself; returns when it wants to go on. */
static uint64_t own_work(uint64_t now)
{
	uint64_t sync = timesync_poll(now), power = power_poll(now);
	uint64_t report = report_poll(audit_ring(), now), first = MIN(sync, power);

	return MIN(first, report);
}

bool service_poll(uint64_t *next)
{
	uint64_t now = clock_us(), start = rdtsc();

	if (!nic)
		return poll_alone(now, next);
	if (irq_on)
		nic_irq_disable(nic);
	irq_on = false;

	in_driver = true;
	unsigned frames = nic_poll(nic, RX_BUDGET, receive_frame, NULL);
	bool busy = frames == RX_BUDGET;

	in_driver = false;

	if (now >= next_tick_us)
		tick(now);
	busy |= status_say();
	if (server.conns)
		busy |= server_poll(&server, now);
	uint64_t own_at = own_work(now);

	net_poll(&net, now);
	flush_driver();
	if (frames || busy)
		meter_time(this_core(), METER_MANAGE, start);
	if (busy)
		return true;
	irq_on = true;
	if (nic_irq_enable(nic))
		return true;
	uint64_t at = MIN(net_next_timer(&net), next_tick_us);

	at = MIN(at, own_at);

	if (server.conns)
		at = MIN(at, server_next_timer(&server));
	if (nic->needs_poll)
		at = MIN(at, now + POLL_US);
	*next = tsc_at(at);
	return false;
}
