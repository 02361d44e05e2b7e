#include "hv/random.h"

#include "hv/clock.h"
#include "hv/core.h"
#include "hv/cpu.h"
#include "hv/log.h"
#include "lib/string.h"
#include "lib/wipe.h"

#define SEED_BITS      256
#define SEED_WORDS     8  /* of 64 bits, from each of the processor's sources */
#define HARDWARE_TRIES 32 /* Intel, "Digital Random Number Generator Software Implementation Guide": 10 */
#define JITTER_SAMPLES 256

/* What a 64-bit word is credited with. RDRAND stretches its seed, so it counts half. */
#define RDSEED_BITS 64
#define RDRAND_BITS 32

#define RESEED_US    (60 * 1000000ull)
#define RESEED_BYTES (1 * MIB)

static unsigned credited_bits;
static bool has_rdseed, has_rdrand;

/* A source that repeats itself is broken (some processors answered with all ones after a suspend). */
static bool draw(bool (*source)(uint64_t *), uint64_t *out, uint64_t previous)
{
	for (unsigned i = 0; i < HARDWARE_TRIES; i++) {
		if (source(out) && *out != previous && *out != 0 && *out != UINT64_MAX)
			return true;
		cpu_relax();
	}
	return false;
}

static bool from_rdseed(uint64_t *out)
{
	return rdseed64(out);
}

static bool from_rdrand(uint64_t *out)
{
	return rdrand64(out);
}

/* Mix `words` words in; returns how many there were. */
static unsigned mix_source(struct csprng *g, bool (*source)(uint64_t *), unsigned words)
{
	uint64_t word, previous = 0;
	unsigned n = 0;

	while (n < words && draw(source, &word, previous)) {
		csprng_mix(g, &word, sizeof(word));
		previous = word;
		n++;
	}
	wipe(&word, sizeof(word));
	return n;
}

/* Timing of memory and instructions against the TSC. On an emulator this may be no secret at all, so
 * it is mixed in but credited with nothing. */
static void mix_jitter(struct csprng *g)
{
	uint64_t samples[8];

	for (unsigned i = 0; i < JITTER_SAMPLES; i++) {
		samples[i % ARRAY_SIZE(samples)] = rdtsc_ordered();
		if (i % ARRAY_SIZE(samples) == ARRAY_SIZE(samples) - 1)
			csprng_mix(g, samples, sizeof(samples));
	}
}

void random_init(struct boot_info *info)
{
	struct csprng *g = &this_core()->random;
	unsigned rdseed_words = 0, rdrand_words = 0;
	uint64_t now[3];

	has_rdseed = cpuid(CPUID_EXTENDED).ebx & CPUID_7_EBX_RDSEED;
	has_rdrand = cpuid(CPUID_FEATURES).ecx & CPUID_1_ECX_RDRAND;
	csprng_init(g);
	csprng_mix(g, info->entropy, info->entropy_size);
	credited_bits = info->entropy_size * 8;
	if (has_rdseed)
		rdseed_words = mix_source(g, from_rdseed, SEED_WORDS);
	if (has_rdrand)
		rdrand_words = mix_source(g, from_rdrand, SEED_WORDS);
	credited_bits += rdseed_words * RDSEED_BITS + rdrand_words * RDRAND_BITS;
	now[0] = rdtsc();
	now[1] = info->tsc_at_entry;
	now[2] = clock_wall_ns();
	csprng_mix(g, now, sizeof(now));
	mix_jitter(g);
	this_core()->random_reseed_tsc = rdtsc() + clock_us_to_tsc(RESEED_US);
	wipe(info->entropy, sizeof(info->entropy));

	log_info("random: firmware %u bytes, RDSEED %u words, RDRAND %u words", info->entropy_size,
		rdseed_words, rdrand_words);
	info->entropy_size = 0;
	if (!random_seeded())
		log_warn("this machine has no source of random numbers that can be trusted");
}

void random_add(const void *data, size_t size, bool trusted)
{
	csprng_mix(&this_core()->random, data, size);
	if (trusted)
		credited_bits += (unsigned)size * 8;
}

bool random_seeded(void)
{
	return credited_bits >= SEED_BITS;
}

void random_seed_core(struct core *core)
{
	uint8_t seed[2 * CHACHA20_KEY_SIZE];

	random_bytes(seed, sizeof(seed));
	csprng_init(&core->random);
	csprng_mix(&core->random, seed, sizeof(seed));
	core->random_reseed_tsc = rdtsc() + clock_us_to_tsc(RESEED_US);
	wipe(seed, sizeof(seed));
}

static void reseed(struct core *core)
{
	uint64_t now = rdtsc();

	if (has_rdseed)
		mix_source(&core->random, from_rdseed, 4);
	if (has_rdrand)
		mix_source(&core->random, from_rdrand, 4);
	csprng_mix(&core->random, &now, sizeof(now));
	core->random_reseed_tsc = now + clock_us_to_tsc(RESEED_US);
	core->random_drawn = 0;
}

void random_bytes(void *buf, size_t size)
{
	struct core *core = this_core();

	if (core->random_drawn >= RESEED_BYTES || rdtsc() > core->random_reseed_tsc)
		reseed(core);
	core->random_drawn += size;
	csprng_read(&core->random, buf, size);
}

uint64_t random_u64(void)
{
	uint64_t v;

	random_bytes(&v, sizeof(v));
	return v;
}
