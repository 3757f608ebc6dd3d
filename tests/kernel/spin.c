// SPDX-License-Identifier: Apache-2.0
/*
 * Two programs made of this have the same functions at the same addresses, under other names: a
 * frame that is looked up in the wrong one gets a wrong name instead of none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#define JOIN(a, b) a##b
#define NAME(a, b) JOIN(a, b)
static volatile unsigned long n;
__attribute__((noinline)) void NAME(PROGRAM, _leaf)(void)
{ for (int i = 0; i < 20000; i++) n++; }
__attribute__((noinline)) void NAME(PROGRAM, _caller)(void)
{ NAME(PROGRAM, _leaf)(); n++; }
__attribute__((noinline)) void NAME(PROGRAM, _root)(long ms)
{
	for (clock_t end = clock() + ms * CLOCKS_PER_SEC / 1000; ms < 0 || clock() < end; n++)
		NAME(PROGRAM, _caller)();
}
/* program MILLISECONDS [COUNT OTHER]: spins, then, COUNT times in all, becomes OTHER */
int main(int argc, char **argv)
{
	NAME(PROGRAM, _root)(atol(argv[1]));
	if (argc < 4 || atoi(argv[2]) == 0)
		return 0;
	char left[20];
	snprintf(left, sizeof(left), "%d", atoi(argv[2]) - 1);
	execl(argv[3], argv[3], argv[1], left, argv[0], NULL);
	return 1;
}
