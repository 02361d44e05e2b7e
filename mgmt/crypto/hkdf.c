#include "mgmt/crypto/hkdf.h"

#include "lib/wipe.h"

void hkdf(uint8_t out1[HKDF_SIZE], uint8_t out2[HKDF_SIZE], const uint8_t chaining_key[HKDF_SIZE],
	const void *input, size_t size)
{
	static const uint8_t one = 1, two = 2;
	struct hmac_blake2s hmac;
	uint8_t temp_key[HKDF_SIZE];

	/* temp_key = HMAC-HASH(chaining_key, input_key_material) */
	hmac_blake2s_init(&hmac, chaining_key);
	hmac_blake2s_update(&hmac, input, size);
	hmac_blake2s_final(&hmac, temp_key);
	/* output1 = HMAC-HASH(temp_key, byte(0x01)) */
	hmac_blake2s_init(&hmac, temp_key);
	hmac_blake2s_update(&hmac, &one, 1);
	hmac_blake2s_final(&hmac, out1);
	/* output2 = HMAC-HASH(temp_key, output1 || byte(0x02)) */
	hmac_blake2s_init(&hmac, temp_key);
	hmac_blake2s_update(&hmac, out1, HKDF_SIZE);
	hmac_blake2s_update(&hmac, &two, 1);
	hmac_blake2s_final(&hmac, out2);
	wipe(temp_key, sizeof(temp_key));
}
