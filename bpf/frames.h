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
	GAVE_ZERO = 32,		/* a call, of the system or not, has 0 for its result */
	BY_BLIND_STEP = 16,	/* by frame pointer, from code of a file that has no table */
};

#define PAGE_SIZE 4096
#define WINDOW_WORDS 128
#define REGISTERS 16

/*
 * One walk. Whoever begins it sets registers, flags and process, and calls begin(). To read user
 * memory costs much the same for a word and for a kilobyte, so frames are read by the window.
 */
struct unwinding {
	__u64 ip, sp, fp;	/* registers of the frame to be looked at next */
	__u32 flags;		/* enum frame_flag */
	__u32 seconds;		/* CLOCK_MONOTONIC */
	struct ranges_key process;
	struct ranges_key owner;	/* of the ranges: the process, or one it was forked from */
	struct stack stack;	/* frames found so far */
	__u32 by_row;		/* callers found so */
	__u32 by_frame_pointer;
	__u64 unknown_file;	/* one the stack goes through and the collector has not heard of; 0 */
	__u64 registers[REGISTERS];	/* of the leaf, by DWARF's numbers; sp, fp and ip stand above */
	struct place place;	/* of the frame just emitted */
	struct unwind_rule rule;
	__u64 window;		/* where words were read from */
	__u64 window_size;	/* bytes, 0: nothing is there */
	__u64 words[WINDOW_WORDS];
};

/* Memory of the task that runs, from `address` up to the end of its page: as much is there as the
 * first word is. */
__noinline bool read_window(struct unwinding *u, __u64 address)
{
	if (!u)
		return false;
	__u64 size = (PAGE_SIZE - (address & (PAGE_SIZE - 1))) & ~7ULL;

	if (size == 0)		/* a word across two pages */
		size = 8;
	if (size > sizeof(u->words))
		size = sizeof(u->words);
	u->window = address;
	u->window_size = 0;
	if (bpf_probe_read_user(u->words, size, (void *)address))
		return false;
	u->window_size = size;
	return true;
}

static __always_inline bool load_word(struct unwinding *u, __u64 address, __u64 *word)
{
	__u64 at = address - u->window;

	if (at & 7 || at >= u->window_size) {
		if (!read_window(u, address))
			return false;
		at = 0;
	}
	*word = u->words[at / 8 & (WINDOW_WORDS - 1)];
	return true;
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
	u->place.range = 0;
	u->window_size = 0;
	u->by_row = 0;
	u->by_frame_pointer = 0;
	u->unknown_file = 0;
}

/* Adds ip to the stack if it may leave; else says why the stack ends. Only here do words that were
 * read from memory get into a stack. `first` is chunk 0 of the process's ranges. */
static __always_inline bool emit(struct unwinding *u, struct ranges *first)
{
	__u32 depth = u->stack.length;
	__u64 address = u->flags & IP_BEHIND ? u->ip - 1 : u->ip;

	if (covers(u->place.range, address >> PAGE_SHIFT)) {	/* as the frame before */
		u->place.offset += address - u->place.address;
		u->place.address = address;
	} else if (!find_place(first, &u->owner, address, &u->place)) {
		if (u->ip == 0 && u->flags & BY_ROW)
			return ends(u, STACK_COMPLETE);
		return ends(u, u->flags & BY_BLIND_STEP ? STACK_NO_TABLE : STACK_OUTSIDE_MAPPINGS);
	}
	if (depth >= MAX_FRAMES)
		return ends(u, STACK_TRUNCATED);
	u->stack.addresses[depth] = depth ? address + 1 : u->ip;
	u->stack.length = depth + 1;
	if (u->place.unknown)
		u->unknown_file = u->place.file;
	return true;
}

#endif
