// SPDX-License-Identifier: Apache-2.0
/* deep SECONDS: leaf() at the end of DEPTH calls. */
#include "deep.h"

KEPT void root(void)
{
	for (;;)
		sink += descend(DEPTH);
}

int main(int count, char **arguments)
{
	live(count, arguments);
	root();
}
