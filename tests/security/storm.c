/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that map and unmap without a pause; prints each half second how often they did. */
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS 4

static unsigned long rounds[THREADS];

static void *storm(void *argument)
{
	unsigned long *count = argument;

	for (;;) {
		char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		*(volatile char *)page = 1;
		munmap(page, 4096);
		__atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
	}
}

int main(void)
{
	pthread_t thread;

	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread, 0, storm, &rounds[i]);
	for (;;) {
		unsigned long total = 0;

		usleep(500000);
		for (int i = 0; i < THREADS; i++)
			total += __atomic_load_n(&rounds[i], __ATOMIC_RELAXED);
		printf("%lu\n", total);
		fflush(stdout);
	}
}
