#include "net/arp.h"

#include "lib/string.h"
#include "net/stack.h"

static const uint8_t mac_broadcast[NET_MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void arp_send(struct net_stack *s, const uint8_t to[NET_MAC_LEN],
	const struct arp_packet *arp)
{
	uint8_t frame[ETH_HEADER_LEN + ARP_LEN];
	struct pkt p;

	pkt_init(&p, frame, sizeof(frame), sizeof(frame));
	arp_build(&p, arp);
	eth_build(&p, to, s->config.mac, ETHERTYPE_ARP);
	stack_send(s, &p);
}

static void arp_ask(struct net_stack *s, uint32_t target)
{
	struct arp_packet arp = {
		.op = ARP_REQUEST,
		.sender = s->address.addr,
		.target = target,
	};

	memcpy(arp.sender_mac, s->config.mac, NET_MAC_LEN);
	s->stats.arp_requests++;
	arp_send(s, mac_broadcast, &arp);
}

void arp_announce(struct net_stack *s)
{
	arp_ask(s, s->address.addr);
}

/* The timer stands at the earliest deadline of all entries. */
static void arp_rearm(struct net_stack *s)
{
	uint64_t next = TIMER_NEVER;

	for (size_t i = 0; i < ARRAY_SIZE(s->arp.entry); i++)
		if (s->arp.entry[i].state != ARP_FREE)
			next = MIN(next, s->arp.entry[i].deadline);
	timer_set(&s->timers, &s->arp.timer, next);
}

static struct arp_entry *arp_set(struct net_stack *s, uint32_t addr)
{
	return &s->arp.entry[addr % ARP_SETS * ARP_WAYS];
}

static struct arp_entry *arp_find(struct net_stack *s, uint32_t addr)
{
	struct arp_entry *set = arp_set(s, addr);

	for (size_t i = 0; i < ARP_WAYS; i++)
		if (set[i].state != ARP_FREE && set[i].addr == addr)
			return &set[i];
	return NULL;
}

static void arp_drop_waiting(struct net_stack *s, uint32_t addr)
{
	for (size_t i = 0; i < ARP_QUEUE; i++) {
		if (s->arp.waiting[i].next_hop != addr)
			continue;
		s->arp.waiting[i].next_hop = 0;
		s->stats.tx_drop_arp_timeout++;
	}
}

static void arp_free(struct net_stack *s, struct arp_entry *e)
{
	if (e->queued)
		arp_drop_waiting(s, e->addr);
	*e = (struct arp_entry){.state = ARP_FREE};
}

/* An entry for `addr`: a free one, else the one that was unused for longest. */
static struct arp_entry *arp_create(struct net_stack *s, uint32_t addr)
{
	struct arp_entry *set = arp_set(s, addr);
	struct arp_entry *e = &set[0];

	for (size_t i = 0; i < ARP_WAYS && e->state != ARP_FREE; i++)
		if (set[i].state == ARP_FREE || set[i].used < e->used)
			e = &set[i];
	if (e->state != ARP_FREE) {
		s->stats.arp_evictions++;
		arp_free(s, e);
	}
	*e = (struct arp_entry){.state = ARP_ASKING, .addr = addr, .used = s->now};
	return e;
}

static void arp_retry(struct net_stack *s, struct arp_entry *e)
{
	if (e->tries == ARP_TRIES) {
		arp_free(s, e);
		return;
	}
	e->tries++;
	e->deadline = s->now + ARP_RETRY_US;
	arp_ask(s, e->addr);
}

static void arp_timer(struct net_stack *s, struct net_timer *t)
{
	(void)t;
	for (size_t i = 0; i < ARRAY_SIZE(s->arp.entry); i++) {
		struct arp_entry *e = &s->arp.entry[i];

		if (e->state == ARP_FREE || e->deadline > s->now)
			continue;
		/* An entry that nobody used during its lifetime is not worth asking for. */
		if (e->state == ARP_KNOWN && s->now - e->used >= ARP_LIFETIME_US) {
			arp_free(s, e);
			continue;
		}
		if (e->state == ARP_KNOWN)
			e->state = ARP_REFRESHING;
		arp_retry(s, e);
	}
	arp_rearm(s);
}

/* Sends the packets that waited for `e`, oldest first. */
static void arp_send_waiting(struct net_stack *s, struct arp_entry *e)
{
	for (; e->queued; e->queued--) {
		struct arp_waiting *first = NULL;
		struct pkt p;

		for (size_t i = 0; i < ARP_QUEUE; i++) {
			struct arp_waiting *w = &s->arp.waiting[i];

			if (w->next_hop == e->addr && (!first || w->order < first->order))
				first = w;
		}
		pkt_init(&p, first->frame, sizeof(first->frame), ETH_HEADER_LEN);
		pkt_append(&p, first->len);
		eth_build(&p, e->mac, s->config.mac, ETHERTYPE_IPV4);
		stack_send(s, &p);
		first->next_hop = 0;
	}
}

static void arp_learn(struct net_stack *s, struct arp_entry *e, const uint8_t mac[NET_MAC_LEN])
{
	memcpy(e->mac, mac, NET_MAC_LEN);
	e->state = ARP_KNOWN;
	e->tries = 0;
	e->deadline = s->now + ARP_LIFETIME_US;
	arp_send_waiting(s, e);
	arp_rearm(s);
}

/* Another station claims our address. RFC 5227, "Ongoing Address Conflict Detection" (b). */
static void arp_defend(struct net_stack *s)
{
	s->stats.arp_conflicts++;
	if (s->now - s->arp.defended < ARP_CONFLICT_US)
		return;
	s->arp.defended = s->now;
	arp_announce(s);
}

void arp_input(struct net_stack *s, struct span in)
{
	struct arp_packet arp, reply;
	struct arp_entry *e;

	if (!arp_parse(&in, &arp, &s->stats))
		return;
	/* Our own announcement, reflected; and while we have no address nothing concerns us. */
	if (memcmp(arp.sender_mac, s->config.mac, NET_MAC_LEN) == 0 || s->address.addr == 0)
		return;
	if (arp.sender == s->address.addr) {
		arp_defend(s);
		return;
	}

	/* RFC 826: merge what is known; add only if the packet was meant for us. */
	e = ipv4_is_neighbour(s, arp.sender) ? arp_find(s, arp.sender) : NULL;
	if (!e && arp.target == s->address.addr && ipv4_is_neighbour(s, arp.sender))
		e = arp_create(s, arp.sender);
	if (e)
		arp_learn(s, e, arp.sender_mac);

	if (arp.op != ARP_REQUEST || arp.target != s->address.addr)
		return;
	reply = (struct arp_packet){
		.op = ARP_REPLY,
		.sender = arp.target,
		.target = arp.sender,
	};
	memcpy(reply.sender_mac, s->config.mac, NET_MAC_LEN);
	memcpy(reply.target_mac, arp.sender_mac, NET_MAC_LEN);
	s->stats.arp_replies++;
	arp_send(s, arp.sender_mac, &reply);
}

static void arp_enqueue(struct net_stack *s, struct arp_entry *e, const struct pkt *p)
{
	for (size_t i = 0; e->queued < ARP_QUEUE_PER_HOP && i < ARP_QUEUE; i++) {
		struct arp_waiting *w = &s->arp.waiting[i];

		if (w->next_hop)
			continue;
		w->next_hop = e->addr;
		w->len = (uint16_t)p->len;
		w->order = s->arp.order++;
		memcpy(w->frame + ETH_HEADER_LEN, p->data, p->len);
		e->queued++;
		return;
	}
	s->stats.tx_drop_arp_queue++;
}

bool arp_known(struct net_stack *s, uint32_t next_hop, uint8_t mac[NET_MAC_LEN])
{
	const struct arp_entry *e = arp_find(s, next_hop);

	if (!e || e->state < ARP_KNOWN)
		return false;
	memcpy(mac, e->mac, NET_MAC_LEN);
	return true;
}

void arp_output(struct net_stack *s, struct pkt *p, uint32_t next_hop)
{
	struct arp_entry *e;

	if (next_hop == IPV4_BROADCAST) {
		eth_build(p, mac_broadcast, s->config.mac, ETHERTYPE_IPV4);
		stack_send(s, p);
		return;
	}
	e = arp_find(s, next_hop);
	if (e && e->state != ARP_ASKING) {
		e->used = s->now;
		eth_build(p, e->mac, s->config.mac, ETHERTYPE_IPV4);
		stack_send(s, p);
		return;
	}
	if (!e) {
		e = arp_create(s, next_hop);
		arp_retry(s, e);
		arp_rearm(s);
	}
	arp_enqueue(s, e, p);
}

void arp_flush(struct net_stack *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->arp.entry); i++)
		if (s->arp.entry[i].state != ARP_FREE)
			arp_free(s, &s->arp.entry[i]);
	arp_rearm(s);
}

void arp_init(struct net_stack *s)
{
	timer_init(&s->arp.timer, arp_timer);
}
