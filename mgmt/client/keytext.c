/* Keys as text: 64 hexadecimal digits. */
#include "mgmt/client/creel.h"

#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void creel_key_text(char text[CREEL_KEY_TEXT_SIZE], const uint8_t key[CREEL_KEY_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < CREEL_KEY_SIZE; i++) {
		text[2 * i] = digits[key[i] >> 4];
		text[2 * i + 1] = digits[key[i] & 15];
	}
	text[2 * CREEL_KEY_SIZE] = 0;
}

bool creel_key_parse(uint8_t key[CREEL_KEY_SIZE], const char *text)
{
	if (strlen(text) != 2 * CREEL_KEY_SIZE)
		return false;
	for (size_t i = 0; i < CREEL_KEY_SIZE; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		key[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
