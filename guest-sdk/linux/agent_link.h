/*
 * The link between a host and the agent in a Linux guest: frames over the bytes of one port, the
 * virtio-console port named AGENT_PORT. Self-contained; the hypervisor, the agent and tests share it.
 *
 * The link carries sessions. A session is a pipe both ways that the host opens, with a number that
 * it never uses again; what goes through it (agent_proto.h) is between the client and the agent,
 * and the hypervisor doesn't look. Each frame is a head and a payload:
 *
 *     u8 type       enum agent_link_type
 *     u64 session   0 where there is none
 *
 * little-endian, and goes over the wire with Consistent Overhead Byte Stuffing (Cheshire and Baker,
 * 1997) and a zero byte behind it. No other byte is zero. So whoever finds itself in the middle of
 * a frame is in step again after the next zero: a guest that was forked or rolled back while a frame
 * was under way loses that frame and no more. What doesn't decode is ignored.
 */
#ifndef CREEL_AGENT_LINK_H
#define CREEL_AGENT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENT_PORT "org.creel.agent"

#define AGENT_HEAD    9    /* bytes of a head */
#define AGENT_PAYLOAD 4000 /* at most */
#define AGENT_WIRE    (AGENT_HEAD + AGENT_PAYLOAD + 18) /* of a frame with its stuffing and zero */

enum agent_link_type {
	/* From the host. */
	AGENT_RESET = 1,  /* struct agent_reset: you are another one now; no session is left */
	AGENT_OPEN = 2,   /* a session; payload: u32 bytes that the agent may send in it */
	AGENT_CREDIT = 3, /* u32 more of them */
	AGENT_CLOSE = 4,  /* nobody is there any more who wants the session */
	/* Either way. */
	AGENT_DATA = 5, /* bytes of a session */
	AGENT_END = 6,  /* no more of them; the agent's ends the session, and nothing follows */
	/* From the agent. */
	AGENT_HELLO = 7, /* u64 generation: it has done what a reset asks for; 0 when it starts */
};

/*
 * The payload of AGENT_RESET, as it lies on the wire. It stands before everything else that a guest
 * is sent once it has been started, forked, restored or rolled back.
 */
struct agent_reset {
	uint64_t generation; /* new for every clone and every rollback of a host, above 0 */
	uint64_t guest;      /* id */
	uint64_t wall_ns;    /* UTC since 1970, when this was written */
	uint8_t entropy[64]; /* for the kernel's generator */
	uint8_t identity[16]; /* random: a machine-id */
	char name[64];        /* of the guest, with its terminator; empty: it has none */
	uint8_t mac[6];       /* of its network card; 0: it has none */
	uint8_t prefix;       /* of its network, in bits */
	uint8_t reserved;
	uint8_t address[4], gateway[4]; /* IPv4; 0: none */
};

_Static_assert(sizeof(struct agent_reset) == 184, "as it lies on the wire");

static inline void agent_store(uint8_t *to, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> 8 * i);
}

static inline uint64_t agent_load(const uint8_t *from, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)from[i] << 8 * i;
	return value;
}

/* A frame on its way into wire format; `at` never passes AGENT_WIRE. */
struct agent_stuffing {
	uint8_t *wire;
	uint32_t code; /* where the length of the current run goes */
	uint32_t at;
};

static inline void agent_stuff(struct agent_stuffing *s, const void *data, uint32_t size)
{
	const uint8_t *from = (const uint8_t *)data;

	for (uint32_t i = 0; i < size; i++) {
		if (from[i])
			s->wire[s->at++] = from[i];
		if (!from[i] || s->at - s->code == 255) {
			s->wire[s->code] = (uint8_t)(s->at - s->code);
			s->code = s->at++;
		}
	}
}

/* Writes a frame to `wire`, which has AGENT_WIRE bytes, and returns its size there. `size` is at most
 * AGENT_PAYLOAD. */
static inline uint32_t agent_encode(
	uint8_t *wire, uint8_t type, uint64_t session, const void *payload, uint32_t size)
{
	struct agent_stuffing s = {.wire = wire, .code = 0, .at = 1};
	uint8_t head[AGENT_HEAD] = {type};

	agent_store(head + 1, session, 8);
	agent_stuff(&s, head, sizeof(head));
	agent_stuff(&s, payload, size);
	wire[s.code] = (uint8_t)(s.at - s.code);
	wire[s.at++] = 0;
	return s.at;
}

struct agent_frame {
	uint8_t type;
	uint64_t session;
	const uint8_t *payload; /* within the bytes that were decoded */
	uint32_t size;
};

/* Decodes in place what stands before a zero, `size` bytes of it. False: it is no frame. */
static inline bool agent_decode(uint8_t *wire, uint32_t size, struct agent_frame *f)
{
	uint32_t to = 0;

	if (size > AGENT_WIRE - 1)
		return false;
	for (uint32_t from = 0; from < size;) {
		uint8_t run = wire[from++];

		if (!run || (uint32_t)(run - 1) > size - from)
			return false;
		for (uint8_t i = 1; i < run; i++)
			wire[to++] = wire[from++];
		if (run < 255 && from < size)
			wire[to++] = 0;
	}
	if (to < AGENT_HEAD || to > AGENT_HEAD + AGENT_PAYLOAD)
		return false;
	f->type = wire[0];
	f->session = agent_load(wire + 1, 8);
	f->payload = wire + AGENT_HEAD;
	f->size = to - AGENT_HEAD;
	return true;
}

#endif
