/* A backend whose guests are programs of struct fake_op; see fake_vm.h. */
#include "tests/fake_vm.h"

#include "hv/cpu.h"
#include "tests/unit/test.h"

#define POISON 0xdeaddeaddeaddeadull

struct vm_exit fake_exit;
bool (*fake_host_op)(struct core *core, struct vcpu *v, struct vm_exit *out);

/* The control block: what struct vcpu does not hold while it is loaded. */
struct block {
	struct vcpu v;
	bool loaded;
};

static struct block blocks[FAKE_MAX_CORES];

uint64_t fake_op_ticks = FAKE_OP_TICKS;

static struct block *block_of(struct core *core)
{
	return &blocks[core->id];
}

static int probe(struct vm_caps *caps, char *why, size_t why_size)
{
	(void)why;
	(void)why_size;
	*caps = (struct vm_caps){.tag_count = 7,
		.cr4_possible = UINT64_MAX,
		.has_slice_timer = true,
		.traps_control_regs = true,
		.tlb = {.root_tagged = true, .flush_by_tag = true}};
	return OK;
}

static int core_start(struct core *core, struct frame_pool *pool)
{
	(void)pool;
	blocks[core->id] = (struct block){0};
	return OK;
}

/* All but the general registers, and what the core sets for the next entry, leaves struct vcpu. */
static void load(struct core *core, struct vcpu *v)
{
	struct block *b = block_of(core);

	CHECK(!b->loaded);
	b->v = *v;
	b->loaded = true;
	fake_loaded = true;
	v->rip = v->rsp = v->cr0 = v->cr3 = v->cr4 = v->efer = v->dr6 = v->xcr0 = POISON;
}

static void store(struct core *core, struct vcpu *v)
{
	struct block *b = block_of(core);
	struct vcpu current = *v;

	CHECK(b->loaded);
	*v = b->v;
	memcpy(v->regs, current.regs, sizeof(v->regs));
	v->pending = current.pending;
	v->want_window = current.want_window;
	b->loaded = false;
	fake_loaded = false;
}

/* The entry that maps `gpa`, as the processor walks; 0 when a right is missing. */
static uint64_t translate(hpa_t root, gpa_t gpa, bool write)
{
	uint64_t v = root | PT_WRITE;

	for (unsigned level = 4; level > 0 && v; level--) {
		const uint64_t *table = frame_ptr(&hv.pool, align_down(v, PAGE_SIZE));

		v = __atomic_load_n(&table[gpa >> (PAGE_SHIFT + 9 * (level - 1)) & 511],
			__ATOMIC_RELAXED);
		if (write && !(v & PT_WRITE))
			return 0;
	}
	return v;
}

/* NULL and an exit when the tree does not allow the access. */
static void *access(hpa_t root, gpa_t gpa, enum gmem_access how, struct vm_exit *out)
{
	uint64_t v = gpa >> GMEM_ADDRESS_BITS ? 0 : translate(root, gpa, how == GMEM_WRITE);

	if (v)
		return (uint8_t *)frame_ptr(&hv.pool, align_down(v, PAGE_SIZE)) + gpa % PAGE_SIZE;
	out->kind = EXIT_MEMORY;
	out->memory.gpa = gpa;
	out->memory.access = how;
	out->memory.table_walk = false;
	return NULL;
}

static bool call(struct vcpu *v, const uint64_t a[7], struct vm_exit *out)
{
	v->regs[REG_RAX] = a[0];
	v->regs[REG_RDI] = a[1];
	v->regs[REG_RSI] = a[2];
	v->regs[REG_RDX] = a[3];
	v->regs[REG_R10] = a[4];
	v->regs[REG_R8] = a[5];
	v->regs[REG_R9] = a[6];
	out->kind = EXIT_IO;
	out->io.port = CREEL_PORT;
	out->io.size = 4;
	out->io.in = false;
	return true;
}

/* One operation; true: it exits. */
static bool execute(struct core *core, struct vcpu *v, hpa_t root, uint64_t slice_tsc,
	const struct fake_op *op, struct vm_exit *out)
{
	struct block *b = block_of(core);
	uint64_t *reg = &v->regs[op->reg % REG_COUNT], a[7], next = out->next_rip;
	uint64_t *word;

	for (unsigned i = 0; i < 7; i++)
		a[i] = op->from_reg & 1u << i ? v->regs[op->a[i] % REG_COUNT] : op->a[i];
	switch ((enum fake_op_kind)op->op) {
	case FAKE_CALL:
		return call(v, a, out);
	case FAKE_SET:
		*reg = a[0];
		break;
	case FAKE_ADD:
		*reg += a[0];
		break;
	case FAKE_LOAD:
		word = access(root, a[0] & ~7ull, GMEM_READ, out);
		if (!word)
			return true;
		*reg = *word;
		break;
	case FAKE_STORE:
		word = access(root, a[0] & ~7ull, GMEM_WRITE, out);
		if (!word)
			return true;
		*word = a[1];
		break;
	case FAKE_JUMP:
		next = FAKE_CODE + a[0] * sizeof(*op);
		break;
	case FAKE_JUMP_0:
		if (!*reg)
			next = FAKE_CODE + a[0] * sizeof(*op);
		break;
	case FAKE_WORK:
		fake_advance(MIN(a[0], slice_tsc > fake_now() ? slice_tsc - fake_now() : 0));
		break;
	case FAKE_SPIN:
		fake_advance(1000);
		next = out->rip;
		break;
	case FAKE_VECTOR:
		fake_vector = a[0];
		break;
	case FAKE_EXIT: {
		uint64_t rip = out->rip;

		*out = fake_exit;
		out->kind = (enum vm_exit_kind)(a[0] % EXIT_KINDS); /* a guest may write over its program */
		out->rip = rip;
		out->next_rip = next;
		return true;
	}
	case FAKE_HOST:
		if (fake_host_op(core, v, out))
			return true;
		break;
	}
	b->v.rip = next;
	return false;
}

static void run(struct core *core, struct vcpu *v, hpa_t root, uint32_t tag, enum tlb_action flush,
	uint64_t slice_tsc, struct vm_exit *out)
{
	struct block *b = block_of(core);

	(void)flush;
	CHECK(b->loaded);
	CHECK(tag != 0);
	v->pending.kind = EVENT_NONE;
	for (;;) {
		*out = (struct vm_exit){
			.rip = b->v.rip, .next_rip = b->v.rip + sizeof(struct fake_op)};
		if (__atomic_load_n(&core->sched.attention, __ATOMIC_SEQ_CST)) {
			out->kind = EXIT_INTERRUPT;
			return;
		}
		if (slice_tsc && fake_now() >= slice_tsc) {
			out->kind = EXIT_SLICE;
			return;
		}
		const struct fake_op *op = access(root, b->v.rip, GMEM_EXEC, out);

		if (!op)
			return;
		const struct fake_op copy = *op;

		fake_advance(fake_op_ticks);
		if (execute(core, v, root, slice_tsc, &copy, out))
			return;
	}
}

static void skip(struct core *core, struct vcpu *v, const struct vm_exit *out)
{
	(void)v;
	CHECK(block_of(core)->loaded);
	block_of(core)->v.rip = out->next_rip;
}

static uint64_t get_cr(struct core *core, unsigned number)
{
	const struct vcpu *v = &block_of(core)->v;

	return number == 0 ? v->cr0 : number == 8 ? v->cr8 : v->cr4;
}

static void set_cr(struct core *core, struct vcpu *v, unsigned number, uint64_t value)
{
	(void)v;
	CHECK(block_of(core)->loaded);
	if (number == 0)
		block_of(core)->v.cr0 = value;
	else if (number == 4)
		block_of(core)->v.cr4 = value;
	else
		block_of(core)->v.cr8 = value;
}

static bool interruptible(struct core *core, struct vcpu *v)
{
	(void)core;
	(void)v;
	return true;
}

static void flush_all(struct core *core)
{
	(void)core;
}

const struct vm_ops fake_vm = {
	.name = "paper",
	.format = &pt_format_ept,
	.probe = probe,
	.core_start = core_start,
	.load = load,
	.store = store,
	.run = run,
	.skip = skip,
	.get_cr = get_cr,
	.set_cr = set_cr,
	.interruptible = interruptible,
	.flush_all = flush_all,
};
