// SPDX-License-Identifier: Apache-2.0
/*
 * signals SECONDS: a timer's signal interrupts code that is 21 calls deep, and its handler works
 * as long again; with ALTERNATE on a stack of its own. TIMER and SIGNAL say which.
 */
#include <signal.h>
#include <sys/time.h>

#define ROUNDS 10000
#include "deep.h"

KEPT void in_handler(void)
{
	burn(1000000);
}

KEPT void handler(int number)
{
	in_handler();
	sink += number;
}

KEPT void root(void)
{
	for (;;)
		sink += descend(20);
}

int main(int count, char **arguments)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	struct itimerval every = { { 0, 4000 }, { 0, 4000 } };
#ifdef ALTERNATE
	stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };

	action.sa_flags |= SA_ONSTACK;
	sigaltstack(&stack, 0);
#endif
	sigaction(SIGNAL, &action, 0);
	setitimer(TIMER, &every, 0);
	root();
	return count + !arguments;
}
