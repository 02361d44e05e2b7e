/* Hypercalls that move bytes: a guest's streams, and messages between guests of one lineage. */
#include "creel/abi.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/guest_state.h"
#include "hv/hypercall.h"
#include "hv/hypervisor.h"

#define WRITE_MAX (STREAM_CAPACITY + 0ull) /* bytes that one call moves; more takes more calls */

/* A message in a mailbox: this, then `size` bytes. */
struct message {
	uint64_t from;
	uint32_t size;
	uint32_t reserved;
};

_Static_assert(sizeof(struct message) + CREEL_MESSAGE_MAX <= STREAM_CAPACITY / 2,
	"every sender has room when senders are woken");

/* ---- streams ---------------------------------------------------------------------------------- */

/* Puts guest memory into a stream, a page at a time. Returns the bytes taken, or stream_put()'s error. */
static int64_t put_guest_memory(struct core *core, struct stream *s, const struct gmem *m, gpa_t gpa,
	uint64_t size)
{
	static const uint8_t zeros[PAGE_SIZE];
	int64_t taken = 0;

	while ((uint64_t)taken < size) {
		uint64_t at = gpa + (uint64_t)taken, offset = at % PAGE_SIZE;
		uint64_t n = MIN(size - (uint64_t)taken, PAGE_SIZE - offset);
		const uint8_t *page = gmem_page(m, at);
		int64_t put = stream_put(s, core->id, page ? page + offset : zeros, n);

		if (put < 0)
			return taken ? taken : put;
		taken += put;
		if ((uint64_t)put < n)
			break;
	}
	return taken;
}

enum run_next call_write(const struct call *c)
{
	struct guest *g = c->g;
	uint64_t stream = c->a[0], size = MIN(c->a[2], WRITE_MAX);
	int64_t n = 0;

	if (stream != CREEL_STDOUT && stream != CREEL_STDERR)
		return call_done(c, CREEL_EINVAL);
	if (gmem_check(&g->machine.mem, c->a[1], c->a[2]))
		return call_done(c, CREEL_EFAULT);
	if (!size)
		return call_done(c, 0);
	spin_lock(&g->lock);
	if (!g->stream[stream])
		n = stream_create(&hv.pool, c->core->id, g->account, &g->stream[stream]);
	if (!n)
		n = put_guest_memory(c->core, g->stream[stream], &g->machine.mem, c->a[1], size);
	if (!n)
		call_wait(g, WAIT_ROOM, CREEL_FOREVER);
	bool read = n > 0 && guest_followed(g);

	spin_unlock(&g->lock);
	if (read)
		news_add(c->core, g, NEWS_OUTPUT);
	if (n < 0)
		return call_memory_error(c, (int)n);
	return n ? call_done(c, n) : RUN_LEAVE;
}

/* Copies from `reader` 0 of a stream into guest memory; what was copied is not consumed yet. Returns
 * the bytes, or an error of the memory tree when there are none. */
static int64_t get_to_guest_memory(struct core *core, const struct stream *s, uint64_t from,
	struct gmem *m, gpa_t gpa, uint64_t size)
{
	uint64_t done_bytes = 0;

	while (done_bytes < size) {
		uint64_t at = gpa + done_bytes, offset = at % PAGE_SIZE;
		void *page;
		int err = gmem_page_for_write(m, core->id, at, &page);

		if (err)
			return done_bytes ? (int64_t)done_bytes : err;
		size_t n = stream_get(s, &from, (uint8_t *)page + offset,
			MIN(size - done_bytes, PAGE_SIZE - offset));

		if (!n)
			break;
		done_bytes += n;
	}
	return (int64_t)done_bytes;
}

/* g->lock is held. Bytes read, 0 at the end, ERR_AGAIN: nothing yet, or the memory tree's errors. */
static int64_t read_input(struct core *core, struct guest *g, gpa_t gpa, uint64_t size)
{
	struct stream *s = g->stream[STREAM_IN];
	uint64_t available = s ? s->written - s->reader[0] : 0;

	if (!available)
		return g->input_ended ? 0 : ERR_AGAIN;
	int64_t n = get_to_guest_memory(core, s, s->reader[0], &g->machine.mem, gpa,
		MIN(size, available));

	if (n > 0) {
		stream_reader_done(s, 0, s->reader[0] + (uint64_t)n);
		g->input_read += (uint64_t)n;
	}
	return n;
}

enum run_next call_read(const struct call *c)
{
	struct guest *g = c->g;
	bool wanted;

	if (c->a[0] != CREEL_STDIN)
		return call_done(c, CREEL_EINVAL);
	if (gmem_check(&g->machine.mem, c->a[1], c->a[2]))
		return call_done(c, CREEL_EFAULT);
	if (!c->a[2])
		return call_done(c, 0);
	spin_lock(&g->lock);
	int64_t n = read_input(c->core, g, c->a[1], c->a[2]);
	bool empty = n == ERR_AGAIN &&
		     !(g->stream[STREAM_IN] && g->stream[STREAM_IN]->written != g->stream[STREAM_IN]->reader[0]);
	bool late = empty && call_late(g, c->a[3]);

	if (empty && !late)
		call_wait(g, WAIT_INPUT, c->a[3]);
	wanted = n > 0 && g->input_wanted;
	if (wanted)
		g->input_wanted = false;
	spin_unlock(&g->lock);
	if (wanted)
		news_add(c->core, g, NEWS_INPUT);
	if (empty)
		return late ? call_done(c, CREEL_EAGAIN) : RUN_LEAVE;
	return n < 0 ? call_memory_error(c, (int)n) : call_done(c, n);
}

/* ---- messages --------------------------------------------------------------------------------- */

/* to->lock is held. 0, ERR_BUSY: no room, ERR_CLOSED, or stream_put()'s errors. */
static int deliver(const struct call *c, struct guest *to, gpa_t gpa, uint64_t size)
{
	struct message header = {.from = c->g->object.id, .size = (uint32_t)size};
	uint64_t position, copied = 0;
	int64_t n = 0;

	if (to->state == GUEST_STOPPED)
		return ERR_CLOSED;
	if (!to->mailbox) {
		n = stream_create(&hv.pool, c->core->id, to->account, &to->mailbox);
		if (n)
			return (int)n;
		(void)stream_reader_open(to->mailbox, &position);
	}
	struct stream *s = to->mailbox;
	uint64_t before = s->written;

	if (stream_room(s) < sizeof(header) + size)
		return ERR_BUSY;
	for (; n >= 0 && copied < sizeof(header); copied += (uint64_t)MAX(n, 0))
		n = stream_put(s, c->core->id, (const uint8_t *)&header + copied,
			sizeof(header) - copied);
	for (copied = 0; n >= 0 && copied < size; copied += (uint64_t)MAX(n, 0))
		n = put_guest_memory(c->core, s, &c->g->machine.mem, gpa + copied, size - copied);
	if (n >= 0)
		return OK;
	s->written = before; /* a message is there whole or not at all */
	return (int)n;
}

/* How a send ends that does not wait: `err` is deliver()'s. */
static enum run_next sent(const struct call *c, struct guest *to, int err)
{
	switch (err) {
	case OK:
		sched_wake(to, WAIT_MESSAGE);
		return call_done(c, 0);
	case ERR_AGAIN: /* frames are on their way back: the call is made again */
		return RUN_YIELD;
	case ERR_BUSY:
		return call_done(c, CREEL_EAGAIN);
	case ERR_CLOSED:
		return call_done(c, CREEL_EPIPE);
	default:
		return call_done(c, call_error(err));
	}
}

/* There was no room: wait in the receiver's list, unless room has come since. */
static enum run_next wait_for_peer(const struct call *c, struct guest *to, gpa_t gpa, uint64_t size,
	uint64_t deadline)
{
	struct guest *g = c->g;

	spin_lock(&families);
	spin_lock(&to->lock);
	int err = deliver(c, to, gpa, size);

	if (err == ERR_BUSY) {
		list_remove(&g->sender_node);
		list_push_back(&to->senders, &g->sender_node);
	}
	spin_unlock(&to->lock);
	if (err == ERR_BUSY) {
		spin_lock(&g->lock);
		call_wait(g, WAIT_PEER, deadline);
		spin_unlock(&g->lock);
	}
	spin_unlock(&families);
	return err == ERR_BUSY ? RUN_LEAVE : sent(c, to, err);
}

enum run_next call_send(const struct call *c)
{
	uint64_t id = c->a[0] ? c->a[0] : c->g->object.parent, size = c->a[2];
	enum run_next next;

	if (size > CREEL_MESSAGE_MAX)
		return call_done(c, CREEL_ETOOBIG);
	if (gmem_check(&c->g->machine.mem, c->a[1], size))
		return call_done(c, CREEL_EFAULT);
	struct object *o = registry_find(&hv.registry, id, OBJECT_GUEST);

	if (!o)
		return call_done(c, CREEL_ENOENT);
	struct guest *to = guest_of(o);

	if (o->lineage != c->g->object.lineage) {
		next = call_done(c, CREEL_ENOENT);
		goto out;
	}
	spin_lock(&to->lock);
	int err = deliver(c, to, c->a[1], size);

	spin_unlock(&to->lock);
	if (err == ERR_BUSY && !call_late(c->g, c->a[3]))
		next = wait_for_peer(c, to, c->a[1], size, c->a[3]);
	else
		next = sent(c, to, err);
out:
	object_unpin(&hv.registry, o, c->core->id);
	return next;
}

/* All of them, and so only when half of the mailbox is free: woken at each message received, thousands of
 * them would try in vain each time. */
static void wake_senders(struct guest *g)
{
	spin_lock(&families);
	while (!list_empty(&g->senders)) {
		struct guest *sender = LIST_ENTRY(g->senders.next, struct guest, sender_node);

		list_remove(&sender->sender_node);
		sched_wake(sender, WAIT_PEER);
	}
	spin_unlock(&families);
}

static bool mailbox_empty(const struct guest *g)
{
	return !g->mailbox || g->mailbox->written == g->mailbox->reader[0];
}

/* g->lock is held, and there is a message. Its bytes that fit, or an error of the memory tree. */
static int64_t take_message(const struct call *c, struct message *header)
{
	struct stream *s = c->g->mailbox;
	uint64_t at = s->reader[0], got = 0;
	int64_t n = 0;

	(void)stream_get(s, &at, (uint8_t *)header, sizeof(*header));
	uint64_t want = MIN(header->size, c->a[1]);

	for (; n >= 0 && got < want; got += (uint64_t)MAX(n, 0))
		n = get_to_guest_memory(c->core, s, at + got, &c->g->machine.mem, c->a[0] + got,
			want - got);
	if (n >= 0)
		stream_reader_done(s, 0, at + header->size);
	return n < 0 ? n : (int64_t)want;
}

/* `events`: what may end the wait. */
static enum run_next receive(const struct call *c, unsigned events)
{
	struct guest *g = c->g;
	struct message header;
	bool late = false, alone = false, roomy = false;
	int64_t n = 0;

	if (gmem_check(&g->machine.mem, c->a[0], c->a[1]))
		return call_done(c, CREEL_EFAULT);
	/* A fork is counted out behind its last message: whoever has no forks has all their messages. */
	if (events & WAIT_CHILD)
		spin_lock(&families);
	spin_lock(&g->lock);
	bool empty = mailbox_empty(g);

	if (empty) {
		alone = (events & WAIT_CHILD) && !g->children;
		late = !alone && call_late(g, c->a[2]);
		if (!alone && !late)
			call_wait(g, events, c->a[2]);
	} else {
		n = take_message(c, &header);
		roomy = stream_room(g->mailbox) >= STREAM_CAPACITY / 2;
	}
	spin_unlock(&g->lock);
	if (events & WAIT_CHILD)
		spin_unlock(&families);
	if (alone)
		return call_done(c, CREEL_EPIPE);
	if (empty)
		return late ? call_done(c, CREEL_EAGAIN) : RUN_LEAVE;
	if (n < 0)
		return call_memory_error(c, (int)n);
	if (roomy)
		wake_senders(g);
	g->machine.vcpu.regs[REG_RDX] = header.from;
	return call_done(c, n);
}

enum run_next call_receive(const struct call *c)
{
	return receive(c, WAIT_MESSAGE);
}

enum run_next call_gather(const struct call *c)
{
	return receive(c, WAIT_MESSAGE | WAIT_CHILD);
}
