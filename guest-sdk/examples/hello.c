/* Says hello, with its arguments and where it is. */
#include <creel/creel.h>

int main(int argc, char **argv)
{
	struct creel_info info;

	creel_info(&info);
	printf("hello from guest %llu, %llu MiB of memory\n", info.id, info.memory >> 20);
	for (int i = 0; i < argc; i++)
		printf("argument %d: %s\n", i, argv[i]);
	return 0;
}
