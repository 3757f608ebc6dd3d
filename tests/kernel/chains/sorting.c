// SPDX-License-Identifier: Apache-2.0
/* sorting SECONDS: compare() called back by the C library's qsort(). */
#include "chains.h"

#define VALUES 256

KEPT long leaf(void)
{
	burn(5000);
	return sink;
}

KEPT int compare(const void *a, const void *b)
{
	leaf();
	return *(const int *)a - *(const int *)b;
}

KEPT void root(void)
{
	int values[VALUES];

	for (;;) {
		for (int i = 0; i < VALUES; i++)
			values[i] = rand();
		qsort(values, VALUES, sizeof(values[0]), compare);
	}
}

int main(int count, char **arguments)
{
	live(count, arguments);
	root();
}
