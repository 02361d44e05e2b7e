/*
 * Solves the n queens problem by forking itself: at each of the first rows, every place that is still
 * free becomes a guest of its own, which goes on from there with all that its parent knew. A guest
 * that need not divide any more counts the rest by itself. Each tells its parent how many solutions
 * it found, and the parent adds them up. If one ends without an answer, so do those above it.
 *
 *	explore [N] [ROWS]	N queens (8); fork at the first ROWS rows (3)
 */
#include <creel/creel.h>

#define MAX_N      16
#define MAX_ALIVE  32 /* forks of one guest that live at once */

struct board {
	int n;
	uint32_t columns, left, right; /* taken columns and diagonals, as seen from the next row */
};

static uint32_t free_places(const struct board *b)
{
	return ~(b->columns | b->left | b->right) & ((1u << b->n) - 1);
}

static struct board place(const struct board *b, uint32_t bit)
{
	return (struct board){
		.n = b->n,
		.columns = b->columns | bit,
		.left = (b->left | bit) << 1,
		.right = (b->right | bit) >> 1,
	};
}

static uint64_t count_alone(const struct board *b, int row)
{
	uint64_t sum = 0;

	if (row == b->n)
		return 1;
	for (uint32_t rest = free_places(b); rest; rest &= rest - 1) {
		struct board next = place(b, rest & -rest);

		sum += count_alone(&next, row + 1);
	}
	return sum;
}

static uint64_t gather(int answers)
{
	uint64_t sum = 0;

	for (; answers > 0; answers--) {
		uint64_t part, from;
		int64_t size = creel_gather(&part, sizeof(part), &from, CREEL_FOREVER);

		if (size == CREEL_EPIPE) {
			eprintf("explore: %d forks ended without an answer\n", answers);
			creel_exit(1);
		}
		if (size != sizeof(part))
			creel_crash("a fork sent something else than its count");
		sum += part;
	}
	return sum;
}

/* The part of a child: it never returns from here. */
__attribute__((noreturn)) static void answer_parent(uint64_t part)
{
	if (creel_send(0, &part, sizeof(part), CREEL_FOREVER))
		creel_crash("the parent takes no answer");
	creel_exit(0);
}

static uint64_t count_by_forking(const struct board *b, int row, int fork_rows)
{
	uint64_t sum = 0;
	int asked = 0;

	if (row == b->n || row >= fork_rows)
		return count_alone(b, row);
	for (uint32_t rest = free_places(b); rest; rest &= rest - 1) {
		struct board next = place(b, rest & -rest);

		creel_children(MAX_ALIVE - 1, CREEL_FOREVER);
		int64_t id = creel_fork();

		if (id == 0)
			answer_parent(count_by_forking(&next, row + 1, fork_rows));
		if (id > 0)
			asked++;
		else /* the budget is used up: what can't be a guest of its own is done here */
			sum += count_alone(&next, row + 1);
	}
	return sum + gather(asked);
}

int main(int argc, char **argv)
{
	struct board b = {.n = argc > 1 ? atoi(argv[1]) : 8};
	int fork_rows = argc > 2 ? atoi(argv[2]) : 3;

	if (b.n < 1 || b.n > MAX_N) {
		eprintf("explore: %d queens: 1 to %d can be placed\n", b.n, MAX_N);
		return 2;
	}
	printf("%lu solutions for %d queens\n", count_by_forking(&b, 0, fork_rows), b.n);
	return 0;
}
