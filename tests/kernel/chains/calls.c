// SPDX-License-Identifier: Apache-2.0
/* calls SECONDS: calls of a library's function that returns at once. */
#include "chains.h"

int tiny(int value);

KEPT void caller(int n)
{
	for (int i = 0; i < n; i++)
		sink += tiny(i);
}

KEPT void root(void)
{
	for (;;)
		caller(100000);
}

int main(int count, char **arguments)
{
	live(count, arguments);
	root();
}
