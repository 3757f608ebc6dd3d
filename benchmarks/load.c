/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load MODE N: what the agent is measured against; runs until it is killed, children and all.
 *
 *   busy N      N processes that never wait, 100 call paths each
 *   sleep N     N processes that wait
 *   fork N      N processes that start a program each every ten seconds on average
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile unsigned long sink;

__attribute__((noinline)) static void leaf(void)
{
	for (int i = 0; i < 20000; i++)
		sink++;
}

/* A call path for each number: left or right at every level. */
__attribute__((noinline)) static void right(int path, int depth);
__attribute__((noinline)) static void left(int path, int depth)
{
	if (depth == 0)
		leaf();
	else if (path & 1)
		left(path / 2, depth - 1);
	else
		right(path / 2, depth - 1);
	sink++;
}

static void right(int path, int depth)
{
	if (depth == 0)
		leaf();
	else if (path & 1)
		left(path / 2, depth - 1);
	else
		right(path / 2, depth - 1);
	sink++;
}

static void busy(void)
{
	for (int path = 0;; path = (path + 1) % 100)
		left(path, 12);
}

static void fork_and_wait(void)
{
	for (;;) {
		usleep(rand() % 20000000);
		if (fork() == 0) {
			execl("/bin/true", "true", (char *)0);
			_exit(1);
		}
		wait(0);
	}
}

int main(int count, char **arguments)
{
	const char *mode = count == 3 ? arguments[1] : "";
	int children = count == 3 ? atoi(arguments[2]) : 0;

	for (int i = 0; i < children; i++) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		srand(i);
		if (!strcmp(mode, "busy"))
			busy();
		if (!strcmp(mode, "fork"))
			fork_and_wait();
		for (;;)
			pause();
	}
	for (;;)
		pause();
}
