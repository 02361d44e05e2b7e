/* Gives back every byte of its input, as it comes. */
#include <creel/creel.h>

int main(int argc, char **argv)
{
	static char buf[16384];
	int64_t n;

	(void)argc;
	(void)argv;
	while ((n = creel_read(buf, sizeof(buf), CREEL_FOREVER)) > 0) {
		if (creel_write_all(CREEL_STDOUT, buf, (size_t)n))
			return 1;
	}
	return n < 0;
}
