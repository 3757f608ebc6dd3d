// SPDX-License-Identifier: Apache-2.0
/* clocks SECONDS: reads the clock through the vDSO. */
#include <time.h>

#include "chains.h"

KEPT void read_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sink += now.tv_nsec;
}

KEPT void root(void)
{
	for (;;)
		read_clock();
}

int main(int count, char **arguments)
{
	live(count, arguments);
	root();
}
