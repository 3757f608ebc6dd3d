// SPDX-License-Identifier: Apache-2.0
/*
 * throwing SECONDS: an exception through twelve frames, each with a destructor to run. The time
 * goes into the C++ run time, into the destructors on the way, and into the handler.
 */
#include <stdexcept>

extern "C" {
#include "chains.h"

KEPT void cleaning(void)
{
	burn(5000);
}

KEPT void handling(void)
{
	burn(50000);
}

KEPT void descending(int n);
KEPT void catching(void);
KEPT void root(void);
}

struct Guard {
	~Guard() { cleaning(); }
};

void descending(int n)
{
	Guard guard;

	if (n == 0)
		throw std::runtime_error("the bottom");
	descending(n - 1);
	sink = sink + 1;
}

void catching(void)
{
	try {
		descending(11);
	} catch (const std::exception &) {
		handling();
	}
	sink = sink + 1;
}

void root(void)
{
	for (;;)
		catching();
}

int main(int count, char **arguments)
{
	live(count, arguments);
	root();
}
