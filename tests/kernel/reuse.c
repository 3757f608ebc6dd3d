// SPDX-License-Identifier: Apache-2.0
/*
 * reuse MILLISECONDS COUNT A B: COUNT children one after the other, all under one pid, that run
 * the programs A and B by turns. Prints the pid.
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < atoi(argv[2]); i++) {
		struct clone_args arguments = { .exit_signal = SIGCHLD, .set_tid = (unsigned long)&pid,
						.set_tid_size = 1 };
		char *program = argv[3 + i % 2];
		long child = syscall(SYS_clone3, &arguments, sizeof(arguments));
		if (child == 0) {
			execl(program, program, argv[1], NULL);
			_exit(1);
		}
		int status;
		if (child != pid || waitpid(pid, &status, 0) != pid || status)
			return 1;
	}
	printf("%d\n", pid);
	return 0;
}
