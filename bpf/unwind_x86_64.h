/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * x86-64: where frames keep what. A call pushes the return address, so it lies 8 below the CFA.
 * Layouts: System V psABI for AMD64 §3.4; arch/x86/include/uapi/asm/{ucontext,sigcontext}.h.
 */
#ifndef PARCA_AGENT_UNWIND_X86_64_H
#define PARCA_AGENT_UNWIND_X86_64_H

#include "frames.h"

/* What a handler returns to has struct ucontext at its stack pointer; rbp, rsp and rip in there. */
#define SIGNAL_REGISTERS 120
#define SIGNAL_FP 0		/* words from there */
#define SIGNAL_SP 5
#define SIGNAL_IP 6
#define SIGNAL_WORDS 7

/* Instructions, as numbers of four bytes. */
#define ENDBR64 0xfa1e0ff3
#define PUSH_FP 0x55
#define RET 0xc3
#define MOVE_SP_TO_FP 0xe58948	/* both encodings of mov %rsp, %rbp */
#define MOVE_SP_TO_FP_2 0xec8b48

/* A lazy PLT's stub in its slot of 16 bytes: behind byte `pushed` there is a word more. */
static __always_inline __u64 plt_offset(__u64 ip, __s32 pushed)
{
	return (__s32)(ip & 15) >= pushed ? 16 : 8;
}

/* What a function with a frame pointer pushed: the caller's, and above it the return address. */
static __always_inline bool load_frame_record(struct unwinding *u, __u64 fp)
{
	if (!read_words(u->words, 16, fp))
		return false;
	u->sp = fp + 16;
	u->fp = u->words[0];
	u->ip = u->words[1];
	return true;
}

/* Bytes from the saved frame pointer up to the CFA, if they can be read at once; else 0. */
static __always_inline __u32 span(const struct unwind_rule *rule)
{
	__u32 size = -(__s32)rule->frame_offset;

	return rule->frame == FRAME_AT && size <= 8 * FRAME_WORDS && size % 8 == 0 ? size : 0;
}

/* Return address and frame pointer of the caller. */
static __always_inline bool load_caller(struct unwinding *u, __u64 cfa)
{
	const struct unwind_rule *rule = &u->rule;
	__u32 lost = u->flags & FRAME_POINTER_LOST;
	__u32 together = span(rule), size = together ? together : 8;

	if (!read_words(u->words, size, cfa - size))
		return false;
	u->ip = u->words[(size / 8 - 1) & (FRAME_WORDS - 1)];
	if (together) {
		u->fp = u->words[0];
		lost = 0;
	} else if (rule->frame == FRAME_LOST) {
		lost = FRAME_POINTER_LOST;
	} else if (rule->frame == FRAME_AT || (rule->frame == FRAME_AT_FRAME && !lost)) {
		__u64 base = rule->frame == FRAME_AT ? cfa : u->fp;

		lost = read_words(&u->fp, 8, base + rule->frame_offset) ? 0 : FRAME_POINTER_LOST;
	}
	u->sp = cfa;
	u->flags = IP_BEHIND | BY_ROW | lost;
	return true;
}

/* What a signal interrupted. Its stack may be another, above or below. */
static __always_inline bool load_signal_frame(struct unwinding *u)
{
	if (!read_words(u->words, 8 * SIGNAL_WORDS, u->sp + SIGNAL_REGISTERS))
		return false;
	u->fp = u->words[SIGNAL_FP];
	u->sp = u->words[SIGNAL_SP];
	u->ip = u->words[SIGNAL_IP];
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
	struct unwind_rule rule = { .cfa = CFA_STACK, .offset = 8 };
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
