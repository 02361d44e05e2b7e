#include "hv/xstate.h"

#include "hv/cpu.h"
#include "lib/bytes.h"
#include "lib/string.h"

/* SDM Vol 1, "XSAVE Area". */
#define LEGACY_SIZE      512
#define LEGACY_FCW       0
#define LEGACY_MXCSR     24
#define FCW_RESET        0x37f
#define MXCSR_RESET      0x1f80
#define HEADER_XSTATE_BV LEGACY_SIZE
#define HEADER_XCOMP_BV  (LEGACY_SIZE + 8)
#define HEADER_RESERVED  (LEGACY_SIZE + 16)
#define XCOMP_COMPACTED  (1ull << 63)
#define FIRST_EXTENDED   576 /* legacy area and header */
#define COMPONENTS       63
#define AVX              2 /* components by their numbers */
#define OPMASK           5
#define AREA_MAX         3072 /* of the standard format, with all that is offered */

/* Not offered: MPX (gone from the architecture), PKRU, CET, AMX. */
#define XCR0_WANTED                                                                                \
	(XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)
#define XCR0_AVX512 (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)

static uint64_t offered;
static size_t image_size;
static bool compact; /* XSAVEC is there: images are compacted, and untouched components not written */
/*
 * The standard format has a hole where MPX lies, behind AVX. Where it takes the room of AVX-512, images are
 * without it. (Processors with AVX-512 have XSAVEC; Bochs 2.7's doesn't work.)
 */
static size_t hole_at, hole_size; /* 0: images have it */
static bool keeps_pointers; /* XRSTOR may leave what the last x87 instruction and its operand were */

static uint32_t standard_end(unsigned component)
{
	struct cpuid_regs r = cpuid_sub(CPUID_XSAVE, component);

	return r.eax + r.ebx;
}

uint32_t xstate_standard_size(uint64_t xcr0)
{
	uint32_t size = FIRST_EXTENDED;

	for (unsigned i = 2; i < COMPONENTS; i++) {
		if (xcr0 & 1ull << i)
			size = MAX(size, standard_end(i));
	}
	return size;
}

/* SDM Vol 1, "Compacted Format of an XSAVE Area". */
static size_t compact_size(uint64_t xcr0)
{
	size_t size = FIRST_EXTENDED;

	for (unsigned i = 2; i < COMPONENTS; i++) {
		if (!(xcr0 & 1ull << i))
			continue;
		struct cpuid_regs r = cpuid_sub(CPUID_XSAVE, i);

		if (r.ecx & 2)
			size = align_up(size, 64);
		size += r.eax;
	}
	return size;
}

uint32_t xstate_compacted_size(uint64_t xcr0)
{
	return compact ? (uint32_t)compact_size(xcr0) : 0;
}

static size_t size_of(uint64_t xcr0)
{
	return compact ? compact_size(xcr0) : xstate_standard_size(xcr0);
}

static void find_hole(size_t room)
{
	size_t size = size_of(offered);

	hole_at = hole_size = 0;
	if (compact || size <= room || size > AREA_MAX || (offered & XCR0_AVX512) != XCR0_AVX512)
		return;
	hole_at = standard_end(AVX);
	hole_size = cpuid_sub(CPUID_XSAVE, OPMASK).ebx - hole_at;
}

static void choose(size_t room)
{
	struct cpuid_regs r = cpuid_sub(CPUID_XSAVE, 0);

	offered = XCR0_WANTED & (r.eax | (uint64_t)r.edx << 32);
	find_hole(room);
	room += hole_size;
	if ((offered & XCR0_AVX512) != XCR0_AVX512 || size_of(offered) > room)
		offered &= ~XCR0_AVX512;
	if (size_of(offered) > room)
		offered &= ~XCR0_AVX;
	image_size = align_up(size_of(offered) - hole_size, 8);
}

static NOINLINE void save_without_hole(uint8_t *image)
{
	uint8_t area[AREA_MAX] ALIGNED(64);

	memset(area + LEGACY_SIZE, 0, FIRST_EXTENDED - LEGACY_SIZE);
	xsave(area, offered);
	memcpy(image, area, hole_at);
	memcpy(image + hole_at, area + hole_at + hole_size, image_size - hole_at);
}

static NOINLINE void restore_without_hole(const uint8_t *image)
{
	uint8_t area[AREA_MAX] ALIGNED(64);

	memcpy(area, image, hole_at);
	memcpy(area + hole_at + hole_size, image + hole_at, image_size - hole_at);
	xrstor(area, offered);
}

/*
 * With all components in use, is the header as XRSTOR wants it? Bochs 2.7 writes vector registers over
 * its reserved part. SDM Vol 1, "XSAVE Header" and "Operation of XSAVEC".
 */
static bool xsavec_works(void)
{
	static uint8_t image[PAGE_SIZE] ALIGNED(64);
	uint32_t dirty = 0;

	memset(image, 0xff, sizeof(image));
	memset(image, 0, FIRST_EXTENDED);
	store_le16(image + LEGACY_FCW, FCW_RESET);
	store_le32(image + LEGACY_MXCSR, MXCSR_RESET);
	store_le64(image + HEADER_XSTATE_BV, offered);
	xrstor(image, offered);
	memset(image, 0, sizeof(image));
	xsavec(image, offered);
	for (unsigned i = HEADER_RESERVED; i < FIRST_EXTENDED; i++)
		dirty |= image[i];
	xstate_reset(image);
	memset(image + HEADER_XCOMP_BV, 0, sizeof(uint64_t));
	xrstor(image, offered);
	return !dirty;
}

/* APM Vol 2, "XSAVE/XRSTOR" with "RstrFpErrPtrs": AMD's restore them only with an x87 exception
 * pending, unless CPUID says otherwise. */
static bool pointers_stay(void)
{
	return (cpuid(CPUID_EXT_FEATURES).ecx & CPUID_X1_ECX_SVM) &&
	       !(cpuid(CPUID_ADDRESS_SIZES).ebx & CPUID_X8_EBX_XSAVE_ERR_PTR);
}

int xstate_init(size_t room)
{
	if (!(cpuid(CPUID_FEATURES).ecx & CPUID_1_ECX_XSAVE))
		return ERR_UNSUPPORTED;
	keeps_pointers = pointers_stay();
	compact = cpuid_sub(CPUID_XSAVE, 1).eax & CPUID_D1_EAX_XSAVEC;
	choose(room);
	xstate_core_init();
	if (compact && !xsavec_works()) {
		compact = false;
		choose(room);
	}
	return OK;
}

void xstate_core_init(void)
{
	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE);
	xsetbv(0, offered);
}

uint64_t xstate_offered(void)
{
	return offered;
}

size_t xstate_size(void)
{
	return image_size;
}

void xstate_reset(void *image)
{
	uint8_t *p = image;

	memset(p, 0, image_size);
	store_le16(p + LEGACY_FCW, FCW_RESET);
	store_le32(p + LEGACY_MXCSR, MXCSR_RESET);
	if (compact)
		store_le64(p + HEADER_XCOMP_BV, XCOMP_COMPACTED | offered);
}

static void own_all_components(void)
{
	if (xgetbv(0) != offered)
		xsetbv(0, offered);
}

void xstate_save(void *image)
{
	own_all_components();
	if (compact)
		xsavec(image, offered);
	else if (hole_size)
		save_without_hole(image);
	else
		xsave(image, offered);
}

void xstate_restore(const void *image)
{
	own_all_components();
	if (keeps_pointers)
		fninit();
	if (hole_size)
		restore_without_hole(image);
	else
		xrstor(image, offered);
}
