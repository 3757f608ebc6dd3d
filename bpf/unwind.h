/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whole user stacks: for each frame the rule of its code, from the tables that the collector loads,
 * and where there is none the frame pointer. What these say comes from hostile files: they decide
 * where the walk goes, and emit() decides what it shows. Why a walk ends is shown too. So memory is
 * read before anything is compared, for that must not tell how large a word is that is no address.
 *
 * Of the kernel this knows maps, bpf_loop and reads of user memory, so that tests can compile it
 * for the machine they run on.
 */
#ifndef PARCA_AGENT_UNWIND_H
#define PARCA_AGENT_UNWIND_H

#include "frames.h"
#include "unwind_x86_64.h"

enum verdict {
	RULE_NONE,
	RULE_FOUND,
	RULE_CHANGED,		/* a chunk was replaced while it was read */
};

/* The first word of a chunk's data, so that clang takes it for aligned. */
static __always_inline const volatile void *data_of(const struct unwind_chunk *chunk)
{
	return chunk->data;
}

static __always_inline __u64 row_start(const struct unwind_chunk *chunk, __u64 index)
{
	const volatile __u16 *starts = data_of(chunk);

	barrier_var(index);
	return starts[index & UNWIND_ROWS];
}

/* The rule that holds at `offset` of the chunk's page. The search has no branch, see ranges.h. */
static __always_inline enum verdict search_chunk(const struct unwind_chunk *chunk, __u64 offset,
						 struct unwind_rule *rule)
{
	const volatile __u8 *numbers = data_of(chunk);
	const volatile __u64 *words = data_of(chunk);
	__u64 rows = *(const volatile __u16 *)&chunk->rows & UNWIND_ROWS;
	__u64 before = 0;	/* rows known to start at or before offset */

	for (__u64 step = (UNWIND_ROWS + 1) / 2; step; step /= 2) {
		__u64 index = before + step - 1;

		before += step * (less(index, rows) & less(row_start(chunk, index), offset + 1));
	}
	if (before == 0)
		return RULE_NONE;
	__u64 row = before - 1;
	barrier_var(row);
	__u64 number = numbers[2 * rows + (row & UNWIND_ROWS)];
	__u64 word = words[UNWIND_DATA / 8 - 1 - number];
	__builtin_memcpy(rule, &word, sizeof(*rule));
	return RULE_FOUND;
}

/* Is this still the chunk that was looked up? Elements are reused without a grace period. */
static __always_inline bool holds(const struct unwind_chunk *chunk, const struct unwind_key *key)
{
	const volatile struct unwind_chunk *now = chunk;

	return now->key.table == key->table && now->key.page == key->page &&
	       now->key_again.table == key->table && now->key_again.page == key->page;
}

/* Which part of the page whose part 0 is `chunk` has the row for `offset`. */
static __always_inline __u32 part_of(const struct unwind_chunk *chunk, __u64 offset)
{
	const volatile __u16 *parts = chunk->parts;
	__u64 part = 0;

	for (int i = 0; i < UNWIND_PARTS - 1; i++) {
		__u64 start = parts[i];

		part += less(0, start) & less(start, offset + 1);
	}
	return part;
}

/* The rule for the place where the walk is. Global, so that the verifier looks at it once. */
__noinline int find_in_chunks(struct unwinding *u, __u32 page_shift)
{
	if (!u)
		return RULE_NONE;
	page_shift &= 31;
	__u64 page = u->place.offset >> page_shift;
	__u64 offset = u->place.offset & ((1ULL << page_shift) - 1);
	struct unwind_key key = { .table = u->place.table, .page = page << UNWIND_PART_BITS };

	if (page >> (32 - UNWIND_PART_BITS))
		return RULE_NONE;
	struct unwind_chunk *chunk = bpf_map_lookup_elem(&unwind_chunks, &key);
	if (!chunk)
		return RULE_NONE;
	__u32 part = part_of(chunk, offset);
	if (part) {
		if (!holds(chunk, &key))
			return RULE_CHANGED;
		key.page |= part;
		chunk = bpf_map_lookup_elem(&unwind_chunks, &key);
		if (!chunk)
			return RULE_CHANGED;
	}
	enum verdict verdict = search_chunk(chunk, offset, &u->rule);
	return holds(chunk, &key) ? verdict : RULE_CHANGED;
}

/* What was found lately: the same callers come again and again. A table's number is never used
 * again and its rows never change, so this needs no check. */
#define RECENT_RULES 1024
struct recent_rule {
	__u64 place;		/* table << 32 | file offset */
	struct unwind_rule rule;
};

struct recent_rules {
	struct recent_rule rules[RECENT_RULES];
};

/* 0 -> rules found by this CPU. Written and read by the unwinder. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct recent_rules);
} recent_rules SEC(".maps");

static __always_inline int find_rule(struct unwinding *u, struct recent_rules *recent)
{
	__u32 table = u->place.table, slot = table & (EXECUTABLES - 1);
	struct executable *executable = bpf_map_lookup_elem(&executables, &slot);

	if (!table || !executable || executable->table != table)
		return RULE_NONE;
	if (executable->last_used != u->seconds)
		executable->last_used = u->seconds;
	if (u->place.offset >> 32)
		return find_in_chunks(u, executable->page_shift);

	__u64 place = (__u64)table << 32 | u->place.offset;
	__u64 index = place * 0x9e3779b97f4a7c15ULL >> 32 & (RECENT_RULES - 1);
	struct recent_rule *known = &recent->rules[index];
	if (known->place == place) {
		u->rule = known->rule;
		return RULE_FOUND;
	}
	int verdict = find_in_chunks(u, executable->page_shift);
	if (verdict == RULE_FOUND) {
		known->place = place;
		known->rule = u->rule;
	}
	return verdict;
}

/*
 * By the frame pointer that the last function with one has set. Where the file has no table none
 * of this is certain, and whatever goes wrong, the reason is that there is no table.
 */
static __always_inline bool follow_frame_pointer(struct unwinding *u)
{
	bool blind = u->place.file && !u->place.table;
	__u64 fp = u->fp, sp = u->sp;

	if (u->flags & FRAME_POINTER_LOST)
		return ends(u, blind ? STACK_NO_TABLE : STACK_LOST_FRAME_POINTER);
	/* what was interrupted had a caller; if it has none it is known by its row */
	if (fp == 0 && !(u->flags & INTERRUPTED))
		return ends(u, blind ? STACK_NO_TABLE : STACK_COMPLETE);
	u->rule = frame_pointer_rule;
	if (!load_caller(u, fp + FRAME_RECORD))
		return ends(u, blind ? STACK_NO_TABLE : STACK_UNREADABLE);
	if (fp % 8 || fp < sp)
		return ends(u, blind ? STACK_NO_TABLE : STACK_BAD_FRAME_POINTER);
	u->flags = (u->flags & ~BY_ROW) | (blind ? BY_BLIND_STEP : 0);
	u->by_frame_pointer++;
	return true;
}

/* The CFA by a rule of one of the kinds that say where it is. */
static __always_inline bool find_cfa(struct unwinding *u, __u64 *cfa)
{
	const struct unwind_rule *rule = &u->rule;
	bool by_frame = rule->cfa == CFA_FRAME || rule->cfa == CFA_FRAME_LOADED;
	__u64 base = by_frame ? u->fp : u->sp;

	if (by_frame && u->flags & FRAME_POINTER_LOST)
		return ends(u, STACK_LOST_FRAME_POINTER);
	if (rule->cfa == CFA_STACK_LOADED || rule->cfa == CFA_FRAME_LOADED) {
		if (!load_word(u, base + (__s16)rule->offset, &base))
			return ends(u, STACK_UNREADABLE);
		*cfa = base + (rule->offset >> 16);
	} else if (rule->cfa == CFA_REGISTER) {
		if (u->stack.length > 1)
			return ends(u, STACK_UNSUPPORTED_ROW);
		*cfa = u->registers[rule->offset & (REGISTERS - 1)] + (rule->offset >> 16);
	} else if (rule->cfa == CFA_PLT) {
		*cfa = base + plt_offset(u->ip, rule->offset);
	} else {
		*cfa = base + rule->offset;
	}
	return true;
}

/* By a rule that says where the CFA is. */
static __always_inline bool follow_rule(struct unwinding *u)
{
	__u64 cfa, sp = u->sp;

	if (!find_cfa(u, &cfa))
		return false;
	if (!load_caller(u, cfa))
		return ends(u, STACK_UNREADABLE);
	if (cfa <= sp)
		return ends(u, STACK_STUCK);
	u->by_row++;
	return true;
}

/* By frame pointer, to where another stack was left. */
static __always_inline bool follow_switch(struct unwinding *u)
{
	if (u->flags & FRAME_POINTER_LOST)
		return ends(u, STACK_LOST_FRAME_POINTER);
	u->rule = frame_pointer_rule;
	if (!load_caller(u, u->fp + FRAME_RECORD))
		return ends(u, STACK_UNREADABLE);
	u->by_row++;
	return true;
}

static __always_inline bool find_caller(struct unwinding *u, struct recent_rules *recent)
{
	int verdict = find_rule(u, recent);

	if (verdict == RULE_CHANGED)
		return ends(u, STACK_TABLE_CHANGED);
	if (verdict == RULE_NONE || u->rule.cfa == CFA_END) {
		if (!(u->flags & INTERRUPTED) || !recognise_code(u))
			return follow_frame_pointer(u);
	}
	switch (u->rule.cfa) {
	case CFA_BOTTOM:
		return ends(u, STACK_COMPLETE);
	case CFA_SIGNAL:
		if (!load_signal_frame(u))
			return ends(u, STACK_UNREADABLE);
		u->by_row++;
		return true;
	case CFA_CLONED:
		if (u->flags & GAVE_ZERO)
			return ends(u, STACK_COMPLETE);
		u->rule = entry_rule();
		return follow_rule(u);
	case CFA_SWITCHED:
		return follow_switch(u);
	case CFA_STACK:
	case CFA_FRAME:
	case CFA_PLT:
	case CFA_STACK_LOADED:
	case CFA_FRAME_LOADED:
	case CFA_REGISTER:
		return follow_rule(u);
	}
	return ends(u, STACK_UNSUPPORTED_ROW);
}

struct unwind_loop {
	struct unwinding *unwinding;
	struct ranges *first;
	struct recent_rules *recent;
};

static long unwind_frame(__u32 index, struct unwind_loop *loop)
{
	struct unwinding *u = loop->unwinding;

	return !emit(u, loop->first) || !find_caller(u, loop->recent);
}

/* All frames of a walk that has begun. One round more than frames, to see that there is one. */
static __always_inline void unwind_stack(struct unwinding *u, struct ranges *first)
{
	__u32 zero = 0;
	struct unwind_loop loop = {
		.unwinding = u,
		.first = first,
		.recent = bpf_map_lookup_elem(&recent_rules, &zero),
	};

	if (loop.recent)
		bpf_loop(MAX_FRAMES + 1, unwind_frame, &loop, 0);
}

#endif
