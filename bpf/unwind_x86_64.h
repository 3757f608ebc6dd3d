/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * x86-64: where frames keep what. A call pushes the return address, so it lies 8 below the CFA.
 * Layouts: System V psABI for AMD64 §3.4; arch/x86/include/uapi/asm/{ucontext,sigcontext}.h.
 */
#ifndef PARCA_AGENT_UNWIND_X86_64_H
#define PARCA_AGENT_UNWIND_X86_64_H

#include "frames.h"

/* What a handler returns to has struct ucontext at its stack pointer; rbp, rsp and rip in there. */
#define SIGNAL_FP 120
#define SIGNAL_SP 160
#define SIGNAL_IP 168

/* Instructions, as numbers of four bytes. */
#define ENDBR64 0xfa1e0ff3
#define PUSH_FP 0x55
#define RET 0xc3
#define MOVE_SP_TO_FP 0xe58948	/* both encodings of mov %rsp, %rbp */
#define MOVE_SP_TO_FP_2 0xec8b48

/* As a function is entered. */
static __always_inline struct unwind_rule entry_rule(void)
{
	return (struct unwind_rule){ .cfa = CFA_STACK, .offset = 8 };
}

/* A lazy PLT's stub in its slot of 16 bytes: behind byte `pushed` there is a word more. */
static __always_inline __u64 plt_offset(__u64 ip, __s32 pushed)
{
	return (__s32)(ip & 15) >= pushed ? 16 : 8;
}

/* What a function with a frame pointer has pushed: the caller's, and above it the return address. */
#define FRAME_RECORD 16
static const struct unwind_rule frame_pointer_rule = {
	.cfa = CFA_FRAME,
	.offset = FRAME_RECORD,
	.frame = FRAME_AT,
	.frame_offset = -FRAME_RECORD,
};

/* Frame pointer and return address of the caller, in the order in which they lie in memory. */
static __always_inline bool load_caller(struct unwinding *u, __u64 cfa)
{
	const struct unwind_rule *rule = &u->rule;
	__u32 lost = u->flags & FRAME_POINTER_LOST;

	if (rule->frame == FRAME_AT || (rule->frame == FRAME_AT_FRAME && !lost)) {
		__u64 base = rule->frame == FRAME_AT ? cfa : u->fp;

		lost = load_word(u, base + rule->frame_offset, &u->fp) ? 0 : FRAME_POINTER_LOST;
	} else if (rule->frame != FRAME_SAME) {
		lost = FRAME_POINTER_LOST;
	}
	if (!load_word(u, cfa - 8, &u->ip))
		return false;
	u->sp = cfa;
	u->flags = IP_BEHIND | BY_ROW | lost;
	return true;
}

/* What a signal interrupted. Its stack may be another, above or below. */
static __always_inline bool load_signal_frame(struct unwinding *u)
{
	__u64 sp = u->sp;

	if (!load_word(u, sp + SIGNAL_FP, &u->fp) || !load_word(u, sp + SIGNAL_SP, &u->sp) ||
	    !load_word(u, sp + SIGNAL_IP, &u->ip))
		return false;
	u->flags = INTERRUPTED;
	return true;
}

/*
 * At the first instructions of a function with a frame pointer, and at its last, the frame pointer
 * is the caller's still or again: by it the caller would be left out. What the instruction is tells
 * where the return address lies. Code that was made at run time has no other sign.
 */
static __always_inline bool recognise_code(struct unwinding *u)
{
	__u32 code;

	if (bpf_probe_read_user(&code, sizeof(code), (void *)u->ip))
		return false;
	struct unwind_rule rule = entry_rule();
	__u32 move = code & 0xffffff;

	if (move == MOVE_SP_TO_FP || move == MOVE_SP_TO_FP_2) {
		rule.offset = 16;
		rule.frame = FRAME_AT;
		rule.frame_offset = -16;
	} else if (code != ENDBR64 && (code & 0xff) != PUSH_FP && (code & 0xff) != RET) {
		return false;
	}
	u->rule = rule;
	return true;
}

#endif
