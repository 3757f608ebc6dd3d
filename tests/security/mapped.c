/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process with something of everything in its memory. Prints "name address" lines and then
 * waits; a line of input makes it closed to debuggers, as an agent for keys does.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SIZE 8192

static const char *const relocated[512] = { "a", "b", "c" };	/* written by the dynamic linker */
static char written[SIZE] = "not only zeros";

static void say(const char *name, const void *address)
{
	printf("%s %lu\n", name, (unsigned long)address);
}

static void *map(const char *path, int protection, int flags)
{
	int fd = open(path, O_RDONLY);
	void *address = mmap(0, SIZE, protection, flags, fd, 0);

	if (address == MAP_FAILED)
		exit(1);
	close(fd);
	return address;
}

int main(int count, char **paths)
{
	char *own = paths[1], *other = paths[2], *data = paths[3], line[8];
	int on_stack = 0;
	char *touched = map(own, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	*(volatile char *)(touched + 4000) ^= 1;
	mprotect(touched, SIZE, PROT_READ);
	say("code", (void *)main);
	say("heap", malloc(1 << 20));
	say("stack", &on_stack);
	say("vdso", (void *)getauxval(AT_SYSINFO_EHDR));
	say("vvar", (void *)(getauxval(AT_SYSINFO_EHDR) - 4096));
	say("relocated", relocated);
	say("variables", written);
	say("anonymous", mmap(0, SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	say("data", map(data, PROT_READ, MAP_PRIVATE));
	say("data_shared", map(data, PROT_READ, MAP_SHARED));
	say("data_executable", map(data, PROT_READ | PROT_EXEC, MAP_PRIVATE));
	say("other_elf", map(other, PROT_READ, MAP_PRIVATE));
	say("own", map(own, PROT_READ, MAP_PRIVATE));
	say("own_shared", map(own, PROT_READ, MAP_SHARED));
	say("own_writable", map(own, PROT_READ | PROT_WRITE, MAP_PRIVATE));
	say("own_touched", touched);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		prctl(PR_SET_DUMPABLE, line[0] == '1');
		puts("done");
		fflush(stdout);
	}
	return count == 4 ? 0 : 1;
}
