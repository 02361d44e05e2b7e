/* main() of every unit test program: runs all tests, or those whose name holds the argument. */
#include "tests/unit/test.h"

struct test *test_first, **test_last = &test_first;

int main(int argc, char **argv)
{
	for (struct test *t = test_first; t; t = t->next) {
		if (argc > 1 && !strstr(t->name, argv[1]))
			continue;
		t->run();
		printf("ok %s\n", t->name);
		fflush(stdout);
	}
	return 0;
}
