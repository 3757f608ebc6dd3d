// SPDX-License-Identifier: Apache-2.0
/*
 * Reads a secret of 32 bytes from stdin and works for ever with it in registers and on the stack.
 * Without frame pointers rbp is a register like the others. Each step leaves something else for a
 * frame-pointer walk to find: the secret; a place in the stack that holds it where the caller's
 * rbp and the return address would be; good frames before that; the same while the kernel runs.
 */
#include <sys/syscall.h>
#include <unistd.h>

static unsigned long secret[4];

/* `instructions` over and over with rbp = value, and the secret in the other saved registers. */
#define WORK(steps, instructions, value)                                                          \
	do {                                                                                      \
		unsigned long left = steps;                                                       \
		asm volatile("push %%rbp\n push %%rbx\n push %%r12\n push %%r13\n push %%r14\n"   \
			     "mov %%rdi, %%rbp\n"                                                 \
			     "mov 0(%%rsi), %%rbx\n mov 8(%%rsi), %%r12\n"                        \
			     "mov 16(%%rsi), %%r13\n mov 24(%%rsi), %%r14\n"                      \
			     "1: " instructions " dec %%rdx\n jnz 1b\n"                           \
			     "pop %%r14\n pop %%r13\n pop %%r12\n pop %%rbx\n pop %%rbp\n"        \
			     : "+d"(left)                                                         \
			     : "D"(value), "S"(secret)                                            \
			     : "rax", "rcx", "r11", "memory", "cc");                              \
	} while (0)
#define USER(value) WORK(20000000, "", value)
#define KERNEL(value) WORK(50000, "mov $39, %%eax\n syscall\n", value)	/* getpid */

__attribute__((noinline)) int inside_code(void)
{
	return getpid();
}

__attribute__((noinline)) void run(void)
{
	volatile unsigned long stack[512];
	unsigned long *frame = (unsigned long *)stack + 64;

	for (int i = 0; i < 512; i++)
		stack[i] = secret[i & 3];
	USER(secret[0]);
	USER(secret[1] & ~7UL);
	USER(secret[2] & 0x00007ffffffffff8UL);
	USER(frame);
	frame[0] = (unsigned long)(frame + 16);
	frame[1] = (unsigned long)inside_code + 1;
	USER(frame);		/* a good frame, then the secret as the next one's */
	frame[16] = secret[3] | 1;
	frame[17] = (unsigned long)inside_code + 2;
	USER(frame);		/* two good frames, then the secret as a frame pointer */
	frame[16] = (unsigned long)(frame + 8);
	USER(frame);		/* a frame pointer that does not grow */
	KERNEL(secret[0]);
	KERNEL(frame);
	KERNEL((unsigned long *)stack + 128);
}

int main(void)
{
	if (read(0, secret, sizeof(secret)) != sizeof(secret))
		return 1;
	for (;;)
		run();
}
