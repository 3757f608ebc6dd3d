/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* x86-64: a task's user registers when it is sampled. */
#ifndef PARCA_AGENT_REGISTERS_X86_64_H
#define PARCA_AGENT_REGISTERS_X86_64_H

#include "frames.h"

#define PRIVILEGE_LEVEL 3	/* low bits of cs; 3: user mode */
#define SYSCALL 0x050f		/* the instruction, as a number of two bytes */
#define USER32_CS 0x23		/* __USER32_CS, arch/x86/include/asm/segment.h */

/* Was user code interrupted? Then there is no kernel stack. */
static __always_inline bool in_user_mode(struct bpf_perf_event_data *ctx)
{
	return (ctx->regs.cs & PRIVILEGE_LEVEL) == PRIVILEGE_LEVEL;
}

/* Is there a system call before this instruction? */
static __always_inline bool behind_call(__u64 ip)
{
	__u16 code;

	return bpf_probe_read_user(&code, sizeof(code), (void *)(ip - 2)) == 0 && code == SYSCALL;
}

/* What may hold the CFA for a few instructions: where functions align their stack. */
#define KEEP_REGISTERS(u, from) do { \
	(u)->registers[0] = (from)->ax; \
	(u)->registers[1] = (from)->dx; \
	(u)->registers[2] = (from)->cx; \
	(u)->registers[3] = (from)->bx; \
	(u)->registers[4] = (from)->si; \
	(u)->registers[5] = (from)->di; \
	(u)->registers[8] = (from)->r8; \
	(u)->registers[9] = (from)->r9; \
	(u)->registers[10] = (from)->r10; \
	(u)->registers[11] = (from)->r11; \
	(u)->registers[12] = (from)->r12; \
	(u)->registers[13] = (from)->r13; \
	(u)->registers[14] = (from)->r14; \
	(u)->registers[15] = (from)->r15; \
} while (0)

/*
 * Fills the first lines of `u`; false for a 32-bit process. What the kernel was entered with lies
 * at the top of the kernel stack; orig_ax is the number of a system call, negative where there was
 * none, and then ip is the instruction to go on with, not the one behind. So it is too once the
 * call has made way for a signal's handler or another program: orig_ax stays then.
 */
static __always_inline bool take_registers(struct bpf_perf_event_data *ctx, struct task_struct *task,
					   struct unwinding *u)
{
	__u64 cs = ctx->regs.cs;

	u->ip = ctx->regs.ip;
	u->sp = ctx->regs.sp;
	u->fp = ctx->regs.bp;
	u->flags = INTERRUPTED | (ctx->regs.ax ? 0 : GAVE_ZERO);
	KEEP_REGISTERS(u, &ctx->regs);
	if (!in_user_mode(ctx)) {
		struct pt_regs *saved = (struct pt_regs *)bpf_task_pt_regs(task);

		cs = saved->cs;
		u->ip = saved->ip;
		u->sp = saved->sp;
		u->fp = saved->bp;
		u->flags = INTERRUPTED | (saved->ax ? 0 : GAVE_ZERO);
		KEEP_REGISTERS(u, saved);
		if ((long)saved->orig_ax >= 0 && behind_call(saved->ip))
			u->flags |= IP_BEHIND;
	}
	return cs != USER32_CS;
}

#endif
