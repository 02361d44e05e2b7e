/* Vector state of paper: one word. What hv/xstate.c does takes instructions that only a kernel may run. */
#include "hv/xstate.h"
#include "tests/fake_vm.h"
#include "tests/unit/test.h"

#define OFFERED 7 /* x87, SSE, AVX */

_Thread_local uint64_t fake_vector;
_Thread_local bool fake_loaded;

int xstate_init(size_t room)
{
	return room >= sizeof(fake_vector) ? OK : ERR_UNSUPPORTED;
}

void xstate_core_init(void)
{
}

uint64_t xstate_offered(void)
{
	return OFFERED;
}

size_t xstate_size(void)
{
	return sizeof(fake_vector);
}

uint32_t xstate_standard_size(uint64_t xcr0)
{
	return xcr0 & 4 ? 832 : 576;
}

uint32_t xstate_compacted_size(uint64_t xcr0)
{
	return xstate_standard_size(xcr0);
}

void xstate_reset(void *image)
{
	memset(image, 0, sizeof(fake_vector));
}

/* load() leaves the guest's XCR0 in the processor, so both come while no vCPU is loaded. */
void xstate_save(void *image)
{
	CHECK(!fake_loaded);
	memcpy(image, &fake_vector, sizeof(fake_vector));
}

void xstate_restore(const void *image)
{
	CHECK(!fake_loaded);
	memcpy(&fake_vector, image, sizeof(fake_vector));
}
