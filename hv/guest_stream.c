/* Management's side of guests' streams, and the list of guests that have news for it. */
#include "hv/core.h"
#include "hv/guest_state.h"
#include "hv/hypervisor.h"
#include "hv/platform.h"
#include "hv/sched.h"

static struct core *boot_core(void)
{
	return cores[0];
}

static struct guest *find(uint64_t id)
{
	struct object *o = registry_find(&hv.registry, id, OBJECT_GUEST);

	if (!o)
		guest_fail(boot_core(), ERR_NOENT, "no guest %lu", id);
	return o ? guest_of(o) : NULL;
}

static void unpin(struct guest *g)
{
	object_unpin(&hv.registry, &g->object, boot_core()->id);
}

/* g->lock is held. */
static int make_stream(struct guest *g, enum guest_stream stream)
{
	uint64_t position;

	if (g->stream[stream])
		return OK;
	int err = stream_create(&hv.pool, boot_core()->id, g->account, &g->stream[stream]);

	/* The guest is the one reader of its input, and holds it from the start. */
	if (!err && stream == STREAM_IN)
		(void)stream_reader_open(g->stream[stream], &position);
	if (!err && stream != STREAM_IN)
		g->stream[stream]->ended = g->state == GUEST_STOPPED;
	return err;
}

int64_t guest_input(uint64_t id, const uint8_t *data, size_t size)
{
	struct guest *g = find(id);
	int64_t n;

	if (!g)
		return ERR_NOENT;
	spin_lock(&g->lock);
	if (g->state == GUEST_STOPPED || g->input_ended)
		n = guest_fail(boot_core(), ERR_CLOSED, "the input of guest %lu has ended", id);
	else
		n = make_stream(g, STREAM_IN);
	if (!n)
		n = stream_put(g->stream[STREAM_IN], boot_core()->id, data, size);
	g->input_wanted = n >= 0 && (size_t)n < size;
	spin_unlock(&g->lock);
	if (n > 0)
		sched_wake(g, WAIT_INPUT);
	/* Frames are on their way back, and no guest will tell when: management is to try again. */
	if (n == ERR_AGAIN)
		news_add(boot_core(), g, NEWS_INPUT);
	unpin(g);
	return n == 0 && size ? ERR_AGAIN : n;
}

int guest_input_end(uint64_t id)
{
	struct guest *g = find(id);

	if (!g)
		return ERR_NOENT;
	spin_lock(&g->lock);
	g->input_ended = true;
	spin_unlock(&g->lock);
	sched_wake(g, WAIT_INPUT);
	unpin(g);
	return OK;
}

int guest_reader_open(uint64_t id, enum guest_stream stream, uint64_t *position)
{
	struct guest *g = find(id);

	if (!g)
		return ERR_NOENT;
	spin_lock(&g->lock);
	int err = make_stream(g, stream);
	int slot = err ? err : stream_reader_open(g->stream[stream], position);

	spin_unlock(&g->lock);
	unpin(g);
	if (err)
		guest_fail(boot_core(), err, "guest %lu cannot have a page for its output: %s", id,
			err_str(err));
	else if (slot < 0)
		guest_fail(boot_core(), slot, "guest %lu has %d readers, and no more are allowed",
			id, STREAM_MAX_READERS);
	return slot;
}

void guest_reader_close(uint64_t id, enum guest_stream stream, int slot)
{
	struct guest *g = find(id);

	if (!g)
		return;
	spin_lock(&g->lock);
	if (g->stream[stream] && slot >= 0 && slot < STREAM_MAX_READERS)
		stream_reader_close(g->stream[stream], slot);
	spin_unlock(&g->lock);
	sched_wake(g, WAIT_ROOM);
	guest_drop_if_done(boot_core(), g);
	unpin(g);
}

void guest_reader_done(uint64_t id, enum guest_stream stream, int slot, uint64_t position)
{
	struct guest *g = find(id);

	if (!g)
		return;
	spin_lock(&g->lock);
	if (g->stream[stream] && slot >= 0 && slot < STREAM_MAX_READERS)
		stream_reader_done(g->stream[stream], slot, position);
	spin_unlock(&g->lock);
	sched_wake(g, WAIT_ROOM);
	unpin(g);
}

int64_t guest_output(uint64_t id, enum guest_stream stream, uint64_t *position, uint8_t *buf,
	size_t size, bool *end)
{
	struct guest *g = find(id);
	size_t n = 0;

	*end = false;
	if (!g)
		return ERR_NOENT;
	spin_lock(&g->lock);
	if (g->stream[stream])
		n = stream_get(g->stream[stream], position, buf, size);
	*position -= n; /* the caller wants to know where these bytes were */
	*end = n == 0 && size && g->state == GUEST_STOPPED;
	spin_unlock(&g->lock);
	unpin(g);
	return (int64_t)n;
}

bool guest_followed(const struct guest *g)
{
	for (int i = STREAM_OUT; i < STREAM_OUT_END; i++) {
		if (g->stream[i] && g->stream[i]->readers)
			return true;
	}
	return false;
}

/* ---- news ------------------------------------------------------------------------------------- */

static struct spinlock news_lock; /* covers the list, and guests' news and news_node */
static struct list news_list = {&news_list, &news_list};

void news_add(struct core *core, struct guest *g, unsigned news)
{
	spin_lock(&news_lock);
	bool first = list_empty(&news_list);

	if (!g->news)
		list_push_back(&news_list, &g->news_node);
	g->news |= (uint8_t)news;
	spin_unlock(&news_lock);
	if (!first)
		return;
	sched_attention(boot_core());
	if (core != boot_core())
		platform_kick(boot_core()->id);
}

void news_forget(struct guest *g)
{
	spin_lock(&news_lock);
	list_remove(&g->news_node);
	g->news = 0;
	spin_unlock(&news_lock);
}

/* The guest whose news were taken last, pinned; and the news. */
static struct {
	struct guest *guest;
	unsigned news;
} told;

/* Now that its end was told, it may go. */
static void let_go(void)
{
	struct guest *g = told.guest;

	if (!g)
		return;
	spin_lock(&news_lock);
	bool more = g->news;
	spin_unlock(&news_lock);
	if (!more && (told.news & NEWS_STATE))
		guest_drop_if_done(boot_core(), g);
	told.guest = NULL;
	unpin(g);
}

void guest_tell_made(bool wanted)
{
	__atomic_store_n(&hv.tell_made, wanted, __ATOMIC_RELAXED);
}

void news_made(struct core *core, struct guest *g, unsigned news)
{
	if (__atomic_load_n(&hv.tell_made, __ATOMIC_RELAXED))
		news_add(core, g, news);
}

bool guest_news(uint64_t *id, unsigned *news)
{
	struct list *first;

	let_go();

	spin_lock(&news_lock);
	first = news_list.next;
	if (first != &news_list) {
		struct guest *g = LIST_ENTRY(first, struct guest, news_node);

		*id = g->object.id;
		*news = g->news;
		g->news = 0;
		list_remove(first);
	}
	spin_unlock(&news_lock);
	if (first == &news_list)
		return false;
	told.news = *news;
	told.guest = find(*id);
	return true;
}
