/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A user stack while it is walked, and what of it may be shown. */
#ifndef PARCA_AGENT_FRAMES_H
#define PARCA_AGENT_FRAMES_H

#include "ranges.h"

/* How a frame was reached, and what is known of it. */
enum frame_flag {
	IP_BEHIND = 1,		/* ip is behind what was left: a call, or the system call it is in */
	INTERRUPTED = 2,	/* it called nothing: it may be before its prologue or in its epilogue */
	FRAME_POINTER_LOST = 4,
	BY_ROW = 8,
	BY_BLIND_STEP = 16,	/* by frame pointer, from code of a file that has no table */
};

#define FRAME_WORDS 8		/* as many words around a frame are read at once */

/* One walk. Whoever begins it sets registers, flags and process, and calls begin(). */
struct unwinding {
	__u64 ip, sp, fp;	/* registers of the frame to be looked at next */
	__u32 flags;		/* enum frame_flag */
	__u32 seconds;		/* CLOCK_MONOTONIC */
	struct ranges_key process;
	struct stack stack;	/* frames found so far */
	__u32 by_row;		/* callers found so */
	__u32 by_frame_pointer;
	__u32 unknown_files;	/* frames in files that the collector has not heard of */
	__u32 reserved;
	struct place place;	/* of the frame just emitted */
	struct unwind_rule rule;
	__u64 words[FRAME_WORDS];
};

/* Memory of the process: of the task that runs, whoever wrote the address. */
static __always_inline bool read_words(__u64 *words, __u32 size, __u64 address)
{
	return bpf_probe_read_user(words, size, (void *)address) == 0;
}

static __always_inline bool ends(struct unwinding *u, enum stack_end end)
{
	u->stack.end = end;
	return false;
}

/* The frame in the registers is the first. */
static __always_inline void begin(struct unwinding *u, __u32 seconds)
{
	u->seconds = seconds;
	u->stack.length = 0;
	u->by_row = 0;
	u->by_frame_pointer = 0;
	u->unknown_files = 0;
}

/* Adds ip to the stack if it may leave; else says why the stack ends. Only here do words that were
 * read from memory get into a stack. `first` is chunk 0 of the process's ranges. */
static __always_inline bool emit(struct unwinding *u, struct ranges *first)
{
	__u32 depth = u->stack.length;
	__u64 address = u->flags & IP_BEHIND ? u->ip - 1 : u->ip;

	if (!find_place(first, &u->process, address, &u->place)) {
		if (u->ip == 0 && u->flags & BY_ROW)
			return ends(u, STACK_COMPLETE);
		return ends(u, u->flags & BY_BLIND_STEP ? STACK_NO_TABLE : STACK_OUTSIDE_MAPPINGS);
	}
	if (depth >= MAX_FRAMES)
		return ends(u, STACK_TRUNCATED);
	u->stack.addresses[depth] = u->ip;
	u->stack.length = depth + 1;
	u->unknown_files += u->place.unknown;
	return true;
}

#endif
