/* Frames of the link to the agent in Linux guests: what is written is read, what is cut is not. */
#include "guest-sdk/linux/agent_link.h"
#include "tests/unit/test.h"

static uint8_t payload[AGENT_PAYLOAD], wire[AGENT_WIRE + 1];

static void fill(unsigned pattern, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		payload[i] = pattern == 0 ? 0 : pattern == 1 ? (uint8_t)(i % 255 + 1) : (uint8_t)(i * 7);
}

TEST(frames_come_back_as_they_were)
{
	const uint32_t sizes[] = {0, 1, 244, 245, 246, 253, 254, 255, 256, 508, 509, 510, 3999, AGENT_PAYLOAD};

	for (unsigned pattern = 0; pattern < 3; pattern++) {
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			struct agent_frame f;

			fill(pattern, sizes[i]);
			wire[AGENT_WIRE] = 0xa5;
			uint32_t n = agent_encode(wire, AGENT_DATA, 0x1122334455667788, payload, sizes[i]);

			CHECK(n <= AGENT_WIRE && wire[AGENT_WIRE] == 0xa5);
			CHECK(memchr(wire, 0, n) == wire + n - 1);
			CHECK(agent_decode(wire, n - 1, &f));
			CHECK_EQ(f.type, AGENT_DATA);
			CHECK_EQ(f.session, 0x1122334455667788);
			CHECK_EQ(f.size, sizes[i]);
			CHECK(memcmp(f.payload, payload, sizes[i]) == 0);
		}
	}
}

TEST(what_is_no_frame_is_refused)
{
	struct agent_frame f;
	uint8_t runs[] = {5, 1, 2, 3};

	CHECK(!agent_decode(wire, 0, &f));
	CHECK(!agent_decode(runs, sizeof(runs), &f)); /* a run beyond the end */
	memset(wire, 1, sizeof(wire));
	CHECK(!agent_decode(wire, AGENT_WIRE, &f)); /* longer than any */
	memset(wire, 1, sizeof(wire));
	CHECK(!agent_decode(wire, AGENT_HEAD - 1, &f)); /* no whole head */
	memset(wire, 1, sizeof(wire));
	CHECK(!agent_decode(wire, AGENT_HEAD + AGENT_PAYLOAD + 2, &f)); /* more payload than allowed */
}

TEST(a_head_that_was_cut_off_is_no_frame_of_another_type)
{
	struct agent_frame f;

	fill(1, 600);
	uint32_t n = agent_encode(wire, AGENT_DATA, 1, payload, 600);
	uint8_t copy[AGENT_WIRE];

	/* Cut anywhere: refused, or shorter, but never more than was there. */
	for (uint32_t cut = 0; cut < n - 1; cut++) {
		memcpy(copy, wire, cut);
		CHECK(!agent_decode(copy, cut, &f) || f.size < 600);
	}
}
