// SPDX-License-Identifier: Apache-2.0
/* threads SECONDS: two threads at a time, each of which ends after about a millisecond. */
#include <pthread.h>

#include "chains.h"

KEPT void leaf(void)
{
	burn(500000);
}

KEPT void *body(void *argument)
{
	leaf();
	sink++;
	return argument;
}

KEPT void root(void)
{
	pthread_t threads[2];

	for (;;) {
		for (int i = 0; i < 2; i++)
			pthread_create(&threads[i], 0, body, 0);
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], 0);
	}
}

int main(int count, char **arguments)
{
	live(count, arguments);
	root();
}
