#include "hv/report.h"

#include "hv/clock.h"
#include "hv/hypervisor.h"
#include "hv/log.h"
#include "hv/status.h"
#include "lib/logring.h"
#include "lib/string.h"
#include "lib/syslog.h"
#include "lib/version.h"
#include "mgmt/audit.h"
#include "net/stack.h"

#define AUDIT_ELEMENT "audit@32473" /* RFC 5612: a number for those who have none of their own */
#define SEQUENCE_MAX  2147483647u   /* RFC 5424, "sequenceId" */

/* As many at once as wait for the server's hardware address without loss, and so often. */
#define BATCH    3u
#define BATCH_US 20000u
#define SCAN_US  100000u /* between looks at the log */

/* A wall clock that shows less was never set. 2024-01-01. */
#define EARLIEST_NS 1704067200000000000ull

#define EVENT_MAX 160

static struct net_stack *stack;
static uint32_t server;
static uint16_t port, our_port;
static char process[20]; /* names this boot of the host */
static uint32_t sequence;
static uint64_t audit_sent, audit_shown, log_position;
static uint64_t batch_at_us, scan_at_us;
static struct syslog message;

/* What is known in quiet times of the way to the server, for a panic. */
static struct {
	bool known;
	uint32_t address;
	uint8_t ours[NET_MAC_LEN], next_hop[NET_MAC_LEN];
} way;

void report_start(struct net_stack *net, const struct boot_config *conf)
{
	stack = net;
	server = conf->syslog;
	port = conf->syslog_port;
	fmt(process, sizeof(process), "%016llx", (unsigned long long)hv.boot_id[0]);
	memcpy(way.ours, net->config.mac, NET_MAC_LEN);
	stack_random(net, &our_port, sizeof(our_port));
	our_port |= NET_EPHEMERAL_FIRST; /* nobody answers, so nobody listens there */
}

static uint64_t believed(uint64_t wall_ns)
{
	return wall_ns >= EARLIEST_NS ? wall_ns : 0;
}

static void begin(struct syslog *m, enum syslog_facility facility, enum syslog_severity severity,
	uint64_t wall_ns, const char *kind)
{
	syslog_begin(m, facility, severity, believed(wall_ns), net_address(stack)->addr, process, kind);
	sequence = sequence < SEQUENCE_MAX ? sequence + 1 : 1;
	syslog_element(m, "meta");
	syslog_number(m, "sequenceId", sequence);
	syslog_element_end(m);
}

static void address_text(char out[16], uint32_t a)
{
	fmt(out, 16, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
}

/* ---- the audit ring ---- */

/* "alice (operator, 10.0.2.2): fork guest 17, 1000 times: ok"; returns its length. */
static size_t describe(char out[EVENT_MAX], const struct audit_record *r)
{
	char action[PROTO_NAME_MAX], object[PROTO_TEXT_MAX], from[16];
	size_t n;

	audit_action_text(action, r->action);
	audit_object_text(object, r);
	address_text(from, r->address);
	n = fmt(out, EVENT_MAX, "%s (%s, %s): %s", owner_name(r->owner), audit_role_text(r->role), from,
		action);
	if (object[0])
		n += fmt(out + n, EVENT_MAX - n, " %s", object);
	if (r->count > 1)
		n += fmt(out + n, EVENT_MAX - n, ", %u times", r->count);
	if (r->made)
		n += fmt(out + n, EVENT_MAX - n, " -> %llu", (unsigned long long)r->made);
	return n + fmt(out + n, EVENT_MAX - n, ": %s", audit_code_text(r->code));
}

static void send_audit(const struct audit_record *r)
{
	char text[PROTO_TEXT_MAX], event[EVENT_MAX];
	size_t size = describe(event, r);

	begin(&message, SYSLOG_AUDIT, r->code ? SYSLOG_WARNING : SYSLOG_NOTICE, r->wall_ns, "AUDIT");
	syslog_element(&message, AUDIT_ELEMENT);
	syslog_number(&message, "seq", r->seq);
	syslog_param(&message, "client", owner_name(r->owner));
	syslog_param(&message, "role", audit_role_text(r->role));
	address_text(text, r->address);
	syslog_param(&message, "from", text);
	audit_action_text(text, r->action);
	syslog_param(&message, "action", text);
	audit_object_text(text, r);
	syslog_param(&message, "object", text);
	syslog_param(&message, "result", audit_code_text(r->code));
	syslog_number(&message, "made", r->made);
	syslog_number(&message, "count", r->count);
	syslog_element_end(&message);
	syslog_text(&message, event, size);
	udp_send(stack, our_port, server, port, message.text, message.size);
}

void report_show(const struct audit_ring *audit)
{
	const struct audit_record *r;
	char text[EVENT_MAX];

	if (!audit)
		return;
	if (audit->next - 1 - audit_shown > STATUS_EVENTS)
		audit_shown = audit->next - 1 - STATUS_EVENTS;
	while ((r = audit_after(audit, audit_shown))) {
		if (r->action != AUDIT_CONNECT) { /* each command of creelctl does that first */
			describe(text, r);
			status_event(r->wall_ns, text);
		}
		audit_shown = r->seq;
	}
}

/* ---- the log ---- */

/* The moment that stands at the start of a line, in microseconds; moves *line behind it. */
static uint64_t take_moment(const char **line, const char *end)
{
	const char *p = *line;
	uint64_t us = 0;

	for (; p < end && *p != ']'; p++)
		if (*p >= '0' && *p <= '9')
			us = us * 10 + (uint64_t)(*p - '0');
	*line = end - p > 2 ? p + 2 : end;
	return us;
}

static bool begins(const char *line, const char *end, const char *word)
{
	size_t n = strlen(word);

	return (size_t)(end - line) >= n && memcmp(line, word, n) == 0;
}

/* True: it was worth sending. */
static bool send_line(const char *line, const char *end)
{
	uint64_t us = take_moment(&line, end), now = clock_us();
	bool error = begins(line, end, "error: ");

	if (!error && !begins(line, end, "warning: "))
		return false;
	begin(&message, SYSLOG_DAEMON, error ? SYSLOG_ERROR : SYSLOG_WARNING,
		clock_wall_ns() - (now > us ? now - us : 0) * 1000, "LOG");
	syslog_text(&message, line, (size_t)(end - line));
	udp_send(stack, our_port, server, port, message.text, message.size);
	return true;
}

/* One line; false: there is none. */
static bool next_line(bool *sent)
{
	char line[LOGRING_LINE_MAX];
	uint64_t position = log_position;
	size_t size = log_read(&position, line, sizeof(line)), n = 0;

	*sent = false;
	if (!size)
		return false;
	while (line[n] != '\n')
		n++;
	log_position = position - size + n + 1;
	*sent = send_line(line, line + n);
	return true;
}

#define LINES_PER_SCAN 64

static unsigned send_log(unsigned room)
{
	unsigned count = 0;
	bool sent;

	for (unsigned i = 0; i < LINES_PER_SCAN && count < room && next_line(&sent); i++)
		count += sent;
	return count;
}

/* ---- all of it ---- */

/* It also makes the stack ask for the server's hardware address, so that a panic finds it. */
static void send_hello(void)
{
	static const char text[] = "Creel " CREEL_VERSION " has started";

	begin(&message, SYSLOG_DAEMON, SYSLOG_NOTICE, clock_wall_ns(), "START");
	syslog_text(&message, text, sizeof(text) - 1);
	udp_send(stack, our_port, server, port, message.text, message.size);
}

static void remember_way(void)
{
	uint8_t mac[NET_MAC_LEN];

	if (!arp_known(stack, ipv4_next_hop(stack, server), mac))
		return;
	memcpy(way.next_hop, mac, NET_MAC_LEN);
	way.address = net_address(stack)->addr;
	__atomic_store_n(&way.known, true, __ATOMIC_RELEASE);
}

static void send_some(const struct audit_ring *audit, uint64_t now)
{
	const struct audit_record *r;
	unsigned count = 0;

	for (; audit && count < BATCH && (r = audit_after(audit, audit_sent)); count++) {
		send_audit(r);
		audit_sent = r->seq;
	}
	if (count < BATCH && now >= scan_at_us) {
		unsigned lines = send_log(BATCH - count);

		count += lines;
		scan_at_us = lines ? now : now + SCAN_US;
		remember_way();
	}
	batch_at_us = count ? now + BATCH_US : now;
}

uint64_t report_poll(const struct audit_ring *audit, uint64_t now)
{
	if (!server || !net_address(stack)->addr)
		return UINT64_MAX;
	if (!sequence)
		send_hello();
	if (now >= batch_at_us)
		send_some(audit, now);
	return batch_at_us > now ? batch_at_us : scan_at_us;
}

const void *report_panic_frame(const char *text, size_t *size)
{
	static struct syslog m;
	static uint8_t frame[NET_HEADROOM + SYSLOG_MAX];
	struct udp_header udp = {.src_port = our_port, .dst_port = port};
	struct pkt p;

	if (!__atomic_load_n(&way.known, __ATOMIC_ACQUIRE))
		return NULL;
	syslog_begin(&m, SYSLOG_DAEMON, SYSLOG_EMERGENCY, believed(clock_wall_ns()), way.address, process,
		"PANIC");
	syslog_no_elements(&m);
	syslog_text(&m, text, strlen(text));
	pkt_init(&p, frame, sizeof(frame), NET_HEADROOM);
	memcpy(pkt_append(&p, m.size), m.text, m.size);
	udp_build(&p, way.address, server, &udp);
	ipv4_build(&p, way.address, server, IP_UDP);
	eth_build(&p, way.next_hop, way.ours, ETHERTYPE_IPV4);
	*size = p.len;
	return p.data;
}
