/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descend(n): a chain of n calls above leaf(), of four kinds of frame by turns. From the leaf on:
 * saving (all registers that a callee saves, the frame pointer's among them, hold other things),
 * large (a frame beyond 16 bits), varying (sized at run time), aligned (arguments found through a
 * loaded register).
 */
#ifndef DEEP_H
#define DEEP_H

#include "chains.h"

#ifndef ROUNDS
#define ROUNDS 200000
#endif
#define PARAMETERS long n, long a, long b, long c, long d, long e, long f, long g

KEPT long leaf(void)
{
	burn(ROUNDS);
	return sink;
}

KEPT long saving(PARAMETERS);
KEPT long large(PARAMETERS);
KEPT long varying(PARAMETERS);
KEPT long aligned(PARAMETERS);

static inline __attribute__((always_inline)) long below(PARAMETERS)
{
	switch (n == 0 ? 4 : n % 4) {
	case 0: return aligned(n, b, c, d, e, f, g, a);
	case 1: return saving(n, b, c, d, e, f, g, a);
	case 2: return large(n, b, c, d, e, f, g, a);
	case 3: return varying(n, b, c, d, e, f, g, a);
	default: return leaf();
	}
}

long saving(PARAMETERS)
{
	long result = below(n - 1, a, b, c, d, e, f, g);
	return result + a * b + c * d + e * f + g * n;
}

long large(PARAMETERS)
{
	volatile char block[70000];

	block[(a & 1023) * 64] = n;
	return below(n - 1, a, b, c, d, e, f, g) + block[b & 1023];
}

long varying(PARAMETERS)
{
	volatile char block[n * 16 + (a & 15)];

	block[n] = b;
	return below(n - 1, a, b, c, d, e, f, g) + block[n & 15];
}

long aligned(PARAMETERS)
{
	_Alignas(64) volatile long block[16];

	block[n & 15] = a;
	return below(n - 1, a, b, c, d, e, f, g) + block[b & 15] + g;
}

static inline __attribute__((always_inline)) long descend(long n)
{
	return below(n, 1, 2, 3, 4, 5, 6, 7) + 1;
}

#endif
