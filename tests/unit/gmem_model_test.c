/*
 * Property tests of memory trees. Random guests run on a few cores; whatever they touch goes through a
 * model of each core's TLB, which forgets only what it is told to; after every step every guest and
 * snapshot is held against a plain copy of what it should contain.
 *
 * The model is as bad as a processor may be: it caches all it may, leaves and pointers to tables at
 * every level, prefers the stale to the walk, and a fault drops only what translates its address (in
 * half of the runs not even the pointers). Guests see each page at two linear addresses.
 */
#include "hv/gmem.h"
#include "tests/unit/gmem_world.h"

#define CORES     3
#define GUESTS    7
#define SNAPSHOTS 4
#define WORDS     2 /* words of a page that are used */
#define FRAMES    360
#define STEPS     9000

/* Pages at the edges of tables of every level, some with company in their table. */
static const gpa_t pages[] = {
	0x1000, 0x2000, 0x5000, 0x8000, 0x9000, 2 * MIB - 0x1000, 2 * MIB, 2 * MIB + 0x7000,
	1 * GIB - 0x2000, 1 * GIB - 0x1000, 1 * GIB, 1 * GIB + 2 * MIB, 1 * GIB + 2 * MIB + 0x3000,
	512 * GIB - 0x1000, 512 * GIB, 512 * GIB + 4 * MIB,
};
#define PAGES ARRAY_SIZE(pages)

static const struct gmem_extent extents[] = {
	{0x1000, 4 * MIB - 0x1000},
	{1 * GIB - 2 * MIB, 6 * MIB},
	{512 * GIB - 2 * MIB, 8 * MIB},
};

/* ---- the model of a TLB ------------------------------------------------------------------------ */

enum cached_kind {
	CACHED_NOTHING,
	CACHED_LINEAR, /* linear page -> frame; Intel: a combined mapping, by tag and root */
	CACHED_LEAF,   /* guest page -> frame; Intel: by root only */
	CACHED_TABLE,  /* guest region -> table of `level`; Intel: by root only */
};

struct cached {
	enum cached_kind kind;
	uint32_t tag; /* 0 where it doesn't count */
	hpa_t root;   /* 0 where it doesn't count */
	uint64_t address;
	unsigned level;
	hpa_t frame;
	bool write;
};

#define CACHE_SIZE 160

struct model_core {
	struct cached cache[CACHE_SIZE];
};

struct guest {
	bool used;
	struct gmem m;
	struct tlb_guest tlb;
	struct budget *budget;
	struct account *account;
	unsigned shift; /* the guest's second mapping: page i is seen at i + shift */
	uint64_t value[PAGES][WORDS];
};

struct snapshot {
	bool used;
	struct gmem m;
	struct account *account;
	uint64_t value[PAGES][WORDS];
};

struct model {
	struct world w;
	struct model_core cores[CORES];
	unsigned core_count;
	const struct pt_format *format;
	bool keeps_tables; /* a fault doesn't drop pointers to tables */
	struct guest *running[CORES]; /* in guest mode; NULL: the core is in the hypervisor */
	struct guest guests[GUESTS];
	struct snapshot snapshots[SNAPSHOTS];
	uint64_t random;
	uint64_t accesses, faults, refused;
	uint64_t actions[TLB_FLUSH_ALL + 1];
};

static unsigned roll(struct model *md, unsigned n)
{
	return (unsigned)(test_random(&md->random) % n);
}

static bool root_tagged(const struct model *md)
{
	return md->w.tlb.caps.root_tagged;
}

static struct cached *look_up(struct model_core *mc, const struct cached *key)
{
	for (unsigned i = 0; i < CACHE_SIZE; i++) {
		struct cached *c = &mc->cache[i];

		if (c->kind == key->kind && c->tag == key->tag && c->root == key->root &&
			c->address == key->address && c->level == key->level)
			return c;
	}
	return NULL;
}

static void insert(struct model *md, struct model_core *mc, const struct cached *c)
{
	struct cached *place = look_up(mc, c);

	for (unsigned i = 0; !place && i < CACHE_SIZE; i++) {
		if (mc->cache[i].kind == CACHED_NOTHING)
			place = &mc->cache[i];
	}
	if (!place)
		place = &mc->cache[roll(md, CACHE_SIZE)];
	*place = *c;
}

/* The key of what is cached for a guest that runs with `tag` and `root`. */
static struct cached key_of(const struct model *md, enum cached_kind kind, uint32_t tag, hpa_t root,
	uint64_t address, unsigned level)
{
	return (struct cached){
		.kind = kind,
		.tag = root_tagged(md) && kind != CACHED_LINEAR ? 0 : tag,
		.root = root_tagged(md) ? root : 0,
		.address = address,
		.level = level,
	};
}

static void carry_out(struct model *md, struct model_core *mc, enum tlb_action action, uint32_t tag,
	hpa_t root)
{
	md->actions[action]++;
	CHECK(action != TLB_FLUSH_GUEST || md->w.tlb.caps.flush_by_tag);
	for (unsigned i = 0; i < CACHE_SIZE; i++) {
		struct cached *c = &mc->cache[i];
		bool mine = root_tagged(md) ? c->root == root : c->tag == tag;

		if (action == TLB_FLUSH_ALL || (action == TLB_FLUSH_GUEST && mine))
			c->kind = CACHED_NOTHING;
	}
}

static unsigned shift_of(unsigned level)
{
	return PAGE_SHIFT + 9 * (level - 1);
}

/* The hardware's walk, from the lowest cached pointer. Caches all it sees. False: a fault. */
static bool walk(struct model *md, struct model_core *mc, uint32_t tag, hpa_t root, gpa_t gpa,
	bool write, struct cached *leaf)
{
	hpa_t table = root;
	bool may_write = true;
	unsigned level = 4;

	for (unsigned l = 1; l < 4; l++) {
		struct cached key = key_of(md, CACHED_TABLE, tag, root, gpa >> shift_of(l + 1), l);
		struct cached *c = look_up(mc, &key);

		if (c) {
			table = c->frame;
			may_write = c->write;
			level = l;
			break;
		}
	}
	for (;; level--) {
		const uint64_t *entries = frame_ptr(&md->w.pool, table);
		uint64_t v = entries[(gpa >> shift_of(level)) % 512];

		if (!(v & 1))
			return false;
		may_write = may_write && (v & PT_WRITE);
		bool last = level == 1;
		struct cached c = key_of(md, last ? CACHED_LEAF : CACHED_TABLE, tag, root,
			gpa >> shift_of(level), last ? 0 : level - 1);

		c.frame = align_down(v, PAGE_SIZE);
		c.write = may_write;
		if (last && write && !may_write)
			return false;
		insert(md, mc, &c);
		if (last) {
			*leaf = c;
			return true;
		}
		table = c.frame;
	}
}

/* One access of the guest's program. The frame's address, or 0: a fault. */
static hpa_t translate(struct model *md, struct model_core *mc, uint32_t tag, hpa_t root,
	uint64_t linear, gpa_t gpa, bool write)
{
	struct cached key = key_of(md, CACHED_LINEAR, tag, root, linear, 0), found;
	struct cached *c = look_up(mc, &key);

	if (c)
		return write && !c->write ? 0 : c->frame;
	struct cached leaf_key = key_of(md, CACHED_LEAF, tag, root, gpa >> PAGE_SHIFT, 0);

	c = look_up(mc, &leaf_key);
	if (c) {
		if (write && !c->write)
			return 0;
		found = *c;
	} else if (!walk(md, mc, tag, root, gpa, write, &found)) {
		return 0;
	}
	key.frame = found.frame;
	key.write = found.write;
	insert(md, mc, &key);
	return key.frame;
}

/* A fault drops what would translate its address, and no other. */
static void drop_faulting(struct model *md, struct model_core *mc, uint32_t tag, hpa_t root,
	uint64_t linear, gpa_t gpa)
{
	struct cached keys[5] = {
		key_of(md, CACHED_LINEAR, tag, root, linear, 0),
		key_of(md, CACHED_LEAF, tag, root, gpa >> PAGE_SHIFT, 0),
	};
	unsigned n = 2;

	for (unsigned l = 1; l < 4 && !md->keeps_tables; l++)
		keys[n++] = key_of(md, CACHED_TABLE, tag, root, gpa >> shift_of(l + 1), l);
	for (unsigned i = 0; i < n; i++) {
		struct cached *c = look_up(mc, &keys[i]);

		if (c)
			c->kind = CACHED_NOTHING;
	}
}

/* ---- running guests ---------------------------------------------------------------------------- */

static void enter(struct model *md, unsigned core, struct guest *g)
{
	enum tlb_action action =
		tlb_enter(&md->w.cores[core], &g->tlb, g->m.tlb_gen, g->m.root_gen);

	CHECK(g->tlb.tag >= 1 && g->tlb.tag <= md->w.tlb.tag_count);
	carry_out(md, &md->cores[core], action, g->tlb.tag, g->m.root);
}

/* A guest is stopped before its tree changes. */
static void stop(struct model *md, const struct guest *g)
{
	for (unsigned c = 0; c < md->core_count; c++) {
		if (md->running[c] == g)
			md->running[c] = NULL;
	}
}

/* Other cores answer a kick, sooner or later, in one of the ways there are. */
static void let_others_flush(struct model *md, unsigned core)
{
	for (unsigned c = 0; c < md->core_count; c++) {
		if (c == core || roll(md, 4) == 0)
			continue;
		md->running[c] = NULL;
		if (roll(md, 2))
			tlb_promise(&md->w.cores[c]);
		else
			tlb_idle_enter(&md->w.cores[c]);
	}
}

/* Handle a fault; true when the guest may go on. Otherwise it is out of memory, and stays paused. */
static bool handle_fault(struct model *md, unsigned core, struct guest *g, gpa_t gpa,
	enum gmem_access access)
{
	int err;

	md->faults++;
	for (unsigned tries = 0; tries < 100; tries++) {
		err = gmem_fault(&g->m, core, gpa, access, NULL);
		if (err != ERR_AGAIN)
			break;
		let_others_flush(md, core);
		for (unsigned c = 0; c < md->core_count; c++)
			gmem_reap(&md->w.pool, c, 1000);
	}
	CHECK(err == 0 || err == ERR_LIMIT || err == ERR_NOMEM);
	md->refused += err != 0;
	return err == 0;
}

/* The linear addresses of a page: its number, or the guest's own mapping of it. */
static gpa_t linear_to_page(const struct guest *g, uint64_t linear, size_t *page)
{
	*page = linear < PAGES ? linear : (linear - PAGES + g->shift) % PAGES;
	return pages[*page];
}

static void access_once(struct model *md, unsigned core, struct guest *g)
{
	uint64_t linear = roll(md, 2 * PAGES);
	bool write = roll(md, 2);
	unsigned word = roll(md, WORDS), tries = 0;
	size_t page;
	gpa_t gpa = linear_to_page(g, linear, &page);
	hpa_t frame;

	md->accesses++;
	for (;;) {
		struct model_core *mc = &md->cores[core];

		frame = translate(md, mc, g->tlb.tag, g->m.root, linear, gpa, write);
		if (frame)
			break;
		CHECK(tries++ < 4); /* a guest gets on */
		drop_faulting(md, mc, g->tlb.tag, g->m.root, linear, gpa);
		if (!handle_fault(md, core, g, gpa, write ? GMEM_WRITE : roll(md, 2) ? GMEM_READ : GMEM_EXEC))
			return;
		enter(md, core, g);
	}
	uint64_t *words = frame_ptr(&md->w.pool, frame);

	CHECK_EQ(frame_record(&md->w.pool, frame)->tag & FRAME_KIND_MASK, FRAME_DATA);
	CHECK_EQ(words[word * 500], g->value[page][word]);
	if (write)
		words[word * 500] = g->value[page][word] = test_random(&md->random);
}

/* A TLB forgets for reasons of its own, too: then pointers to tables come into play. */
static void evict_leaves(struct model *md, struct model_core *mc)
{
	for (unsigned i = 0; i < CACHE_SIZE; i++) {
		if (mc->cache[i].kind != CACHED_TABLE && roll(md, 4))
			mc->cache[i].kind = CACHED_NOTHING;
	}
}

static void step_run(struct model *md, unsigned core, struct guest *g)
{
	stop(md, g);
	if (roll(md, 2))
		evict_leaves(md, &md->cores[core]);
	enter(md, core, g);
	for (unsigned n = 1 + roll(md, 12); n > 0; n--)
		access_once(md, core, g);
	if (roll(md, 8) == 0) { /* the guest changes its own page tables and flushes, as it must */
		g->shift = roll(md, PAGES);
		for (unsigned i = 0; i < CACHE_SIZE; i++) {
			struct cached *c = &md->cores[core].cache[i];

			if (c->kind == CACHED_LINEAR && c->tag == g->tlb.tag)
				c->kind = CACHED_NOTHING;
		}
	}
	md->running[core] = roll(md, 2) ? g : NULL;
}

/* ---- the other steps --------------------------------------------------------------------------- */

static struct guest *any_guest(struct model *md)
{
	struct guest *g = &md->guests[roll(md, GUESTS)];

	if (!g->used)
		return NULL;
	stop(md, g);
	return g;
}

static struct snapshot *any_snapshot(struct model *md)
{
	struct snapshot *s = &md->snapshots[roll(md, SNAPSHOTS)];

	return s->used ? s : NULL;
}

static bool begin_guest(struct model *md, struct guest *g, struct budget *parent)
{
	uint64_t limit[BUDGET_KINDS] = {60 + roll(md, 200), 1, 1};

	*g = (struct guest){0};
	if (budget_create(&md->w.pool, 0, parent, limit, &g->budget))
		return false;
	if (account_create(&md->w.pool, 0, g->budget, &g->account)) {
		budget_put(&md->w.pool, g->budget);
		return false;
	}
	return true;
}

static void end_guest(struct model *md, struct guest *g)
{
	account_release(&md->w.pool, g->account);
	budget_put(&md->w.pool, g->budget);
	g->used = false;
}

static void step_create(struct model *md, unsigned core)
{
	struct guest *g = &md->guests[roll(md, GUESTS)];

	if (g->used || !begin_guest(md, g, md->w.root_budget))
		return;
	g->used = gmem_create(&g->m, &md->w.pool, core, md->format, g->account, extents,
			  ARRAY_SIZE(extents)) == 0;
	if (!g->used)
		end_guest(md, g);
}

static void step_fork(struct model *md)
{
	struct guest *g = &md->guests[roll(md, GUESTS)], *pg = any_guest(md);
	struct snapshot *ps = any_snapshot(md);
	bool from_guest = pg && (!ps || roll(md, 2));

	if (g->used || (!pg && !ps))
		return;
	if (!begin_guest(md, g, md->w.root_budget))
		return;
	CHECK_EQ(gmem_share(from_guest ? &pg->m : &ps->m, &g->m, g->account), 0);
	memcpy(g->value, from_guest ? pg->value : ps->value, sizeof(g->value));
	g->shift = from_guest ? pg->shift : roll(md, PAGES);
	g->used = true;
}

static void step_snapshot(struct model *md)
{
	struct guest *g = any_guest(md);
	struct snapshot *s = &md->snapshots[roll(md, SNAPSHOTS)];
	struct account *fresh;

	if (!g || s->used || account_create(&md->w.pool, 0, g->budget, &fresh))
		return;
	CHECK_EQ(gmem_share(&g->m, &s->m, g->account), 0);
	s->account = g->account;
	g->account = g->m.account = fresh;
	memcpy(s->value, g->value, sizeof(s->value));
	s->used = true;
	if (roll(md, 2))
		CHECK_EQ(account_move(&md->w.pool, s->account, md->w.root_budget), 0);
}

static void step_rollback(struct model *md, unsigned core)
{
	struct guest *g = any_guest(md);
	struct snapshot *s = any_snapshot(md);

	if (!g || !s)
		return;
	CHECK_EQ(gmem_rollback(&g->m, core, &s->m), 0);
	memcpy(g->value, s->value, sizeof(g->value));
}

static void drop_guest(struct model *md, unsigned core, struct guest *g)
{
	gmem_drop(&g->m, core);
	end_guest(md, g);
}

static void drop_snapshot(struct model *md, unsigned core, struct snapshot *s)
{
	gmem_drop(&s->m, core);
	account_release(&md->w.pool, s->account);
	s->used = false;
}

/* The hypervisor writes into a stopped guest: to a page that is used, or to a new one beside it. No
 * fault tells the core of it. */
static void step_software_write(struct model *md, unsigned core)
{
	struct guest *g = any_guest(md);
	uint64_t v[2] = {test_random(&md->random), 0};
	unsigned page = roll(md, PAGES);
	bool beside = roll(md, 2);

	if (!g)
		return;
	gpa_t gpa = beside ? align_down(pages[page], 2 * MIB) + 0x40000 + roll(md, 64) * PAGE_SIZE
			   : pages[page] + 500 * sizeof(v[0]);
	int err = gmem_write(&g->m, core, gpa, v, (1 + roll(md, 2)) * sizeof(v[0]));

	if (err)
		CHECK(err == ERR_NOMEM || err == ERR_LIMIT || err == ERR_AGAIN);
	else if (!beside)
		g->value[page][1] = v[0];
}

static void step_odds(struct model *md, unsigned core)
{
	struct guest *g = any_guest(md);

	switch (roll(md, 7)) {
	case 0:
		frame_zero_some(&md->w.pool, core, 5);
		break;
	case 1:
		frame_core_drain(&md->w.pool, core);
		/* fall through */
	case 5:
		tlb_idle_enter(&md->w.cores[core]);
		break;
	case 2:
		tlb_promise(&md->w.cores[core]);
		break;
	case 3:
		if (g) /* lower or raise a limit */
			budget_set_limit(g->budget, BUDGET_PAGES, 10 + roll(md, 200));
		break;
	case 4: /* an entry that is given up before anything was flushed */
		if (g)
			tlb_enter(&md->w.cores[core], &g->tlb, g->m.tlb_gen, g->m.root_gen);
		tlb_enter_failed(&md->w.cores[core]);
		break;
	default:
		tlb_epoch_end(&md->w.tlb, md->w.tlb.epoch);
		break;
	}
}

static void step(struct model *md)
{
	unsigned core = roll(md, md->core_count), what = roll(md, 100);
	struct guest *g = any_guest(md);
	struct snapshot *s = any_snapshot(md);

	md->running[core] = NULL;
	if (what < 50 && g)
		step_run(md, core, g);
	else if (what < 55)
		step_create(md, core);
	else if (what < 66)
		step_fork(md);
	else if (what < 70)
		step_snapshot(md);
	else if (what < 75)
		step_rollback(md, core);
	else if (what < 82 && g)
		drop_guest(md, core, g);
	else if (what < 84 && s)
		drop_snapshot(md, core, s);
	else if (what < 89)
		gmem_reap(&md->w.pool, core, roll(md, 3000));
	else if (what < 95)
		step_software_write(md, core);
	else
		step_odds(md, core);
}

/* ---- the checks -------------------------------------------------------------------------------- */

static void check_values(const struct gmem *m, uint64_t value[PAGES][WORDS])
{
	for (size_t p = 0; p < PAGES; p++) {
		uint64_t words[501];

		CHECK_EQ(gmem_read(m, pages[p], words, sizeof(words)), 0);
		for (unsigned i = 0; i < WORDS; i++)
			CHECK_EQ(words[i * 500], value[p][i]);
	}
}

static void check_all_values(struct model *md)
{
	for (unsigned i = 0; i < GUESTS; i++) {
		if (md->guests[i].used)
			check_values(&md->guests[i].m, md->guests[i].value);
	}
	for (unsigned i = 0; i < SNAPSHOTS; i++) {
		if (md->snapshots[i].used)
			check_values(&md->snapshots[i].m, md->snapshots[i].value);
	}
}

static void mark(struct model *md, bool *is_free, const struct frame_list *l)
{
	uint32_t n = l->head;

	for (uint64_t i = 0; i < l->count; i++, n = md->w.pool.records[n].refs)
		is_free[n] = true;
}

/* What may be allocated is not cached, for whichever guest, on a core that is in guest mode. */
static void check_running(struct model *md)
{
	static bool is_free[FRAMES];
	struct frame_pool *p = &md->w.pool;

	memset(is_free, 0, sizeof(is_free));
	mark(md, is_free, &p->dirty);
	mark(md, is_free, &p->zeroed);
	for (unsigned c = 0; c < md->core_count; c++) {
		mark(md, is_free, &p->cores[c].dirty);
		mark(md, is_free, &p->cores[c].zeroed);
	}
	for (unsigned c = 0; c < md->core_count; c++) {
		for (unsigned i = 0; md->running[c] && i < CACHE_SIZE; i++) {
			const struct cached *e = &md->cores[c].cache[i];

			CHECK(e->kind == CACHED_NOTHING || !is_free[e->frame / PAGE_SIZE]);
			CHECK(e->kind == CACHED_NOTHING || !is_free[e->root / PAGE_SIZE]);
		}
	}
}

static void check_counts(struct model *md)
{
	struct gmem *trees[GUESTS + SNAPSHOTS];
	unsigned n = 0;

	world_reap_all(&md->w, md->core_count);
	for (unsigned i = 0; i < GUESTS; i++) {
		if (md->guests[i].used)
			trees[n++] = &md->guests[i].m;
	}
	for (unsigned i = 0; i < SNAPSHOTS; i++) {
		if (md->snapshots[i].used)
			trees[n++] = &md->snapshots[i].m;
	}
	world_check(&md->w, trees, n);
	world_check_free(&md->w);
}

static void run_model(uint64_t seed, unsigned cores, const struct pt_format *format,
	const struct tlb_caps *caps, uint32_t tags)
{
	struct model *md = calloc(1, sizeof(*md));

	md->random = seed;
	md->core_count = cores;
	md->format = format;
	md->keeps_tables = seed & 1;
	world_init(&md->w, FRAMES, cores, caps, tags);
	for (unsigned i = 0; i < STEPS; i++) {
		step(md);
		check_all_values(md);
		check_running(md);
		if (i % 64 == 0)
			check_counts(md);
	}
	for (unsigned i = 0; i < GUESTS; i++) {
		if (md->guests[i].used)
			drop_guest(md, 0, &md->guests[i]);
	}
	for (unsigned i = 0; i < SNAPSHOTS; i++) {
		if (md->snapshots[i].used)
			drop_snapshot(md, 0, &md->snapshots[i]);
	}
	check_counts(md);
	world_end(&md->w);
	printf("   %s, %u cores, %u tags: %" PRIu64 " accesses, %" PRIu64 " faults, %" PRIu64
	       " refused, %" PRIu64 " entries kept, %" PRIu64 " flushed one, %" PRIu64 " all\n",
		format->name, cores, tags, md->accesses, md->faults, md->refused,
		md->actions[TLB_KEEP], md->actions[TLB_FLUSH_GUEST], md->actions[TLB_FLUSH_ALL]);
	free(md);
}

TEST(ept_against_plain_copies)
{
	run_model(1, 1, &pt_format_ept, &world_caps_ept, 100);
	run_model(2, 2, &pt_format_ept, &world_caps_ept, 100);
	run_model(3, 3, &pt_format_ept, &world_caps_ept, 65535);
	run_model(4, 2, &pt_format_ept, &world_caps_ept, 3);
}

TEST(npt_against_plain_copies)
{
	run_model(5, 1, &pt_format_npt, &world_caps_npt, 65535);
	run_model(6, 2, &pt_format_npt, &world_caps_npt, 100);
	run_model(7, 3, &pt_format_npt, &world_caps_npt, 4);
}

TEST(npt_without_flush_by_tag)
{
	run_model(8, 2, &pt_format_npt, &world_caps_npt_old, 15);
	run_model(9, 1, &pt_format_npt, &world_caps_npt_old, 1000);
}

/* ---- what chance seldom finds ------------------------------------------------------------------ */

static void access_page(struct model *md, unsigned core, struct guest *g, unsigned page, bool write)
{
	struct model_core *mc = &md->cores[core];
	hpa_t frame;

	while (!(frame = translate(md, mc, g->tlb.tag, g->m.root, page, pages[page], write))) {
		drop_faulting(md, mc, g->tlb.tag, g->m.root, page, pages[page]);
		CHECK(handle_fault(md, core, g, pages[page], write ? GMEM_WRITE : GMEM_READ));
		enter(md, core, g);
	}
	uint64_t *words = frame_ptr(&md->w.pool, frame);

	CHECK_EQ(words[0], g->value[page][0]);
	if (write)
		words[0] = g->value[page][0] = test_random(&md->random);
}

static struct guest *scripted_guest(struct model *md, unsigned i)
{
	CHECK(begin_guest(md, &md->guests[i], md->w.root_budget));
	budget_set_limit(md->guests[i].budget, BUDGET_PAGES, 1000);
	return &md->guests[i];
}

/*
 * The hypervisor puts a page into a guest, into a table that is shared. The core knows the shared one,
 * whose other holder then has it alone, and changes it.
 */
static void pointers_to_a_copied_table(const struct pt_format *format, const struct tlb_caps *caps)
{
	struct model *md = calloc(1, sizeof(*md));
	uint64_t v = 1;

	md->core_count = 2;
	md->format = format;
	world_init(&md->w, FRAMES, 2, caps, 100);
	struct guest *a = scripted_guest(md, 0), *b = scripted_guest(md, 1);

	CHECK_EQ(gmem_create(&a->m, &md->w.pool, 0, format, a->account, extents,
			 ARRAY_SIZE(extents)), 0);
	enter(md, 0, a);
	access_page(md, 0, a, 0, true);
	access_page(md, 0, a, 6, true); /* in another table of the lowest level */
	CHECK_EQ(gmem_share(&a->m, &b->m, b->account), 0);
	memcpy(b->value, a->value, sizeof(b->value));
	enter(md, 0, a);
	access_page(md, 0, a, 6, true); /* now only the lowest table on the way to page 0 is shared */
	access_page(md, 0, a, 0, false);
	for (unsigned i = 0; i < CACHE_SIZE; i++) {
		if (md->cores[0].cache[i].kind != CACHED_TABLE)
			md->cores[0].cache[i].kind = CACHED_NOTHING;
	}
	CHECK_EQ(gmem_write(&a->m, 0, 0x40000, &v, sizeof(v)), 0);
	enter(md, 1, b);
	access_page(md, 1, b, 0, true);
	enter(md, 0, a);
	access_page(md, 0, a, 0, false);

	gmem_drop(&a->m, 0);
	gmem_drop(&b->m, 0);
	end_guest(md, a);
	end_guest(md, b);
	world_reap_all(&md->w, 2);
	world_end(&md->w);
	free(md);
}

TEST(pointers_to_a_copied_table_are_dropped)
{
	pointers_to_a_copied_table(&pt_format_ept, &world_caps_ept);
	pointers_to_a_copied_table(&pt_format_npt, &world_caps_npt);
	pointers_to_a_copied_table(&pt_format_npt, &world_caps_npt_old);
}
