/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The executable ranges that decide which words of user memory may leave the kernel: their search. */
#ifndef PARCA_AGENT_RANGES_H
#define PARCA_AGENT_RANGES_H

#include "maps.h"

/*
 * 1 if a < b, for numbers below 2^63, without a branch. clang must not see the comparison in the
 * difference: it makes branches of it, and the verifiers of linux 6.1 and 7.3 then give up. Nor may
 * it see what the bit is used for: it makes a mask by an arithmetic shift, of which the verifier of
 * linux 6.18 follows both outcomes.
 */
static __always_inline __u64 less(__u64 a, __u64 b)
{
	__u64 difference = a - b;

	barrier_var(difference);
	difference >>= 63;
	barrier_var(difference);
	return difference;
}

/* One read, so that it is a whole range. clang must not know the index: it would drop the mask
 * where it sees that none is needed, and the verifier of linux 6.1 does not see it. */
static __always_inline __u64 range_at(const __u64 *table, __u64 index)
{
	barrier_var(index);
	return *(volatile const __u64 *)&table[index & (RANGES_PER_CHUNK - 1)];
}

static __always_inline bool covers(__u64 range, __u64 page)
{
	return page - (range >> RANGE_LENGTH_BITS) < (range & RANGE_LENGTH_MASK);
}

/*
 * 1 + the index of the one of the first `count` ranges of `table` that `page` lies in; 0: none.
 * Ranges are sorted and disjoint. The search has no branch: with one, the verifier follows both
 * sides of every step.
 */
static __always_inline __u32 search_table(const __u64 *table, __u32 count, __u64 page)
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
		return 0;
	return covers(range_at(table, before - 1), page) ? before : 0;
}

/* Where an address of a process comes from. */
struct place {
	__u64 file;		/* number of the file, 0: none */
	__u64 offset;		/* in the file, bytes */
	__u32 table;		/* number of its unwind table, 0: none that is known here */
	__u32 unknown;		/* the collector has not heard of the file */
	__u64 address;		/* what was asked */
	__u64 range;		/* and the range it lies in */
};

/* Fills `place` for an address in `range`, and notes there which table the file has. */
static __always_inline void describe(struct place *place, __u64 range, struct range_file *file,
				     __u64 address)
{
	__u64 start = range >> RANGE_LENGTH_BITS;
	__u32 table = file->table, slot = table & (EXECUTABLES - 1);
	struct executable *executable = bpf_map_lookup_elem(&executables, &slot);

	place->address = address;
	place->range = range;
	place->file = file->file;
	place->offset = address - ((start - file->page_offset) << PAGE_SHIFT);
	place->unknown = 0;
	if (!table || !executable || executable->table != table) {
		__u64 key = place->file;	/* linux 6.1 takes no key from a caller's memory */
		__u32 *found = bpf_map_lookup_elem(&file_tables, &key);

		place->unknown = !found && place->file > FILE_VDSO;
		table = found ? *found : 0;
		*(volatile __u32 *)&file->table = table;
		/* the element may have become another file's meanwhile */
		if (*(volatile __u64 *)&file->file != place->file)
			*(volatile __u32 *)&file->table = 0;
	}
	place->table = table;
}

static __always_inline bool owned_by(const struct ranges *ranges, const struct ranges_key *process)
{
	return ranges->tgid == process->tgid && ranges->start_time == process->start_time &&
	       ranges->exec_id == process->exec_id;
}

/* 1 + the index in `recent` of the newest entry that has one of `pages` pages from `page` on; 0:
 * none. The newest, since it is what was mapped over the others. */
__noinline __attribute__((unused)) __u32 search_recent(struct ranges *first, __u64 page, __u64 pages)
{
	if (!first)
		return 0;
	__u32 head = *(volatile __u32 *)&first->recent_head, tail = *(volatile __u32 *)&first->recent_tail;

	for (__u32 back = 1; back <= RECENT_RANGES; back++) {
		__u32 number = head - back, index = number & (RECENT_RANGES - 1);

		if ((__s32)(number - tail) < 0)
			return 0;
		__u64 range = *(volatile __u64 *)&first->recent[index].range;
		__u64 start = range >> RANGE_LENGTH_BITS;
		if (start < page + pages && page < start + (range & RANGE_LENGTH_MASK))
			return index + 1;
	}
	return 0;
}

/* The chunk of a table of `count` ranges that `page` lies in, if in any: the last that begins at or
 * before it. 0: the element is gone. */
static __always_inline struct ranges *chunk_with(struct ranges *first, struct ranges_key *process,
						 __u32 active, __u32 count, __u64 page, __u32 *chunk)
{
	struct ranges_key key = *process;
	__u32 chunks = (count + RANGES_PER_CHUNK - 1) / RANGES_PER_CHUNK;

	*chunk = 0;
	if (chunks <= 1)
		return first;
	for (__u32 step = RANGE_CHUNKS / 2; step; step /= 2) {
		key.chunk = *chunk + step;
		if (key.chunk >= chunks)
			continue;
		struct ranges *ranges = bpf_map_lookup_elem(&executable_ranges, &key);
		if (ranges && range_at(ranges->table[active], 0) >> RANGE_LENGTH_BITS <= page)
			*chunk = key.chunk;
	}
	key.chunk = *chunk;
	return bpf_map_lookup_elem(&executable_ranges, &key);
}

/* Is `address` in a range that is recorded? */
static __always_inline bool in_ranges(struct ranges *first, struct ranges_key *process, __u64 address)
{
	__u64 page = address >> PAGE_SHIFT;
	__u32 chunk, active = first->active & 1, count = first->count[active];

	if (search_recent(first, page, 1))
		return true;
	struct ranges *ranges = chunk_with(first, process, active, count, page, &chunk);
	__u32 before = chunk * RANGES_PER_CHUNK;
	if (!ranges || count <= before)
		return false;
	count -= before;
	return search_table(ranges->table[active], count < RANGES_PER_CHUNK ? count : RANGES_PER_CHUNK, page);
}

/*
 * May `address`, found in memory of a process, be emitted? If so, `place` says where it comes
 * from. `first` and `process` are what ranges_for gave: a chunk 0 and its owner, who is compared
 * after the search, since an element may be reused while it is read. A global function: the
 * verifier looks at it once, not once for each frame.
 */
__noinline __attribute__((unused)) bool find_place(struct ranges *first, struct ranges_key *process,
						   __u64 address, struct place *place)
{
	if (!first || !process || !place)
		return false;
	__u64 page = address >> PAGE_SHIFT;
	__u32 found = search_recent(first, page, 1);

	if (found) {
		found--;
		barrier_var(found);
		found &= RECENT_RANGES - 1;
		struct recent_range *recent = &first->recent[found];
		describe(place, recent->range, &recent->file, address);
		return owned_by(first, process);
	}
	__u32 chunk, active = first->active & 1, count = first->count[active];
	struct ranges *ranges = chunk_with(first, process, active, count, page, &chunk);
	__u32 before = chunk * RANGES_PER_CHUNK;

	if (!ranges || count <= before)
		return false;
	count -= before;
	found = search_table(ranges->table[active], count < RANGES_PER_CHUNK ? count : RANGES_PER_CHUNK, page);
	if (!found || !owned_by(ranges, process))
		return false;
	found--;
	barrier_var(found);
	found &= RANGES_PER_CHUNK - 1;
	describe(place, ranges->table[active][found], &ranges->files[active][found], address);
	return owned_by(ranges, process);
}

/* Chunk 0 of the process's ranges, 0 if none are recorded. */
static __always_inline struct ranges *ranges_of(const struct ranges_key *process)
{
	struct ranges_key key = *process;

	key.chunk = 0;
	return bpf_map_lookup_elem(&executable_ranges, &key);
}

#endif
