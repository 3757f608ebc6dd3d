/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs with known call chains share. Their functions are neither inlined nor cloned,
 * and are built without frame pointers: only unwind tables lead from one to the next.
 */
#ifndef CHAINS_H
#define CHAINS_H

#include <stdlib.h>
#include <unistd.h>

#define KEPT __attribute__((noipa))

static volatile unsigned long sink;

/* Keeps the CPU for about 2 ns a round, without a call. */
static inline __attribute__((always_inline)) void burn(unsigned long rounds)
{
	for (unsigned long i = 0; i < rounds; i++)
		sink++;
}

/* PROGRAM SECONDS: the time to live, by a signal that nobody handles. */
static inline __attribute__((always_inline)) void live(int count, char **arguments)
{
	alarm(count > 1 ? atoi(arguments[1]) : 1);
}

#endif
