/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of executable ranges that decides which words of user memory may leave the kernel. */
#ifndef PARCA_AGENT_RANGES_H
#define PARCA_AGENT_RANGES_H

#include "maps.h"

/*
 * 1 if a < b, for numbers below 2^63, without a branch. clang must not see the comparison in the
 * difference: it makes branches of it, and the verifiers of linux 6.1 and 7.3 then give up.
 */
static __always_inline __u64 less(__u64 a, __u64 b)
{
	__u64 difference = a - b;

	barrier_var(difference);
	return difference >> 63;
}

/* One read, so that it is a whole range. clang must not know the index: it would drop the mask
 * where it sees that none is needed, and the verifier of linux 6.1 does not see it. */
static __always_inline __u64 range_at(const __u64 *table, __u64 index)
{
	barrier_var(index);
	return *(volatile const __u64 *)&table[index & (RANGES_PER_CHUNK - 1)];
}

/*
 * Is `page` in one of the first `count` ranges of `table`? Ranges are sorted and disjoint.
 * The search has no branch: with one, the verifier follows both sides of every step.
 */
static __always_inline bool table_covers(const __u64 *table, __u32 count, __u64 page)
{
	__u64 before = 0;	/* ranges known to start at or before page */

	for (__u64 step = RANGES_PER_CHUNK / 2; step; step /= 2) {
		__u64 index = before + step - 1;
		__u64 start = range_at(table, index) >> RANGE_LENGTH_BITS;

		before += step * (less(index, count) & less(start, page + 1));
	}
	/* the steps reach all but the last: look whether it too starts before page */
	__u64 range = range_at(table, before);
	before += less(before, count) & less(range >> RANGE_LENGTH_BITS, page + 1);
	if (before == 0)
		return false;
	range = range_at(table, before - 1);
	return page - (range >> RANGE_LENGTH_BITS) < (range & RANGE_LENGTH_MASK);
}

/*
 * May `address`, found in memory of `process`, be emitted? The owner is compared after the
 * search, since an element may be reused while it is read. A global function: the verifier
 * looks at it once, not once for each frame.
 */
__noinline __attribute__((unused)) bool range_covers(struct ranges_key *process, __u64 address)
{
	if (!process)
		return false;
	struct ranges_key key = *process;
	__u64 page = address >> PAGE_SHIFT;
	__u32 active = 0, left = 0;

	for (__u32 chunk = 0; chunk < RANGE_CHUNKS; chunk++) {
		key.chunk = chunk;
		struct ranges *ranges = bpf_map_lookup_elem(&executable_ranges, &key);
		if (!ranges)
			return false;
		if (chunk == 0) {
			active = ranges->active & 1;
			left = ranges->count[active];
		}
		__u32 here = left < RANGES_PER_CHUNK ? left : RANGES_PER_CHUNK;
		bool covered = table_covers(ranges->table[active], here, page);
		if (ranges->tgid != process->tgid || ranges->start_time != process->start_time)
			return false;
		if (covered)
			return true;
		left -= here;
		if (left == 0)
			return false;
	}
	return false;
}

static __always_inline bool ranges_known(struct ranges_key *process)
{
	struct ranges_key key = *process;

	key.chunk = 0;
	return bpf_map_lookup_elem(&executable_ranges, &key) != 0;
}

static __always_inline bool forget_ranges(const struct ranges_key *process)
{
	struct ranges_key key = *process;
	bool known = false;

	for (__u32 chunk = 0; chunk < RANGE_CHUNKS; chunk++) {
		key.chunk = chunk;
		if (bpf_map_delete_elem(&executable_ranges, &key))
			break;
		known = true;
	}
	return known;
}

#endif
