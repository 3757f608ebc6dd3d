/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One executable mapping of a process into the ring of its ranges. */
#ifndef PARCA_AGENT_RECORD_H
#define PARCA_AGENT_RECORD_H

#include "announce.h"
#include "file.h"
#include "ranges.h"

static __always_inline struct range_file file_of(struct vm_area_struct *vma)
{
	struct range_file file = {
		.file = file_number(vma),
		.page_offset = vma->vm_file ? vma->vm_pgoff : 0,
	};
	return file;
}

/* Is [page, page + pages) of `file` what `range` says is there already? */
static __always_inline bool repeats(__u64 range, const struct range_file *known, __u64 page,
				    __u64 pages, const struct range_file *file)
{
	__u64 start = range >> RANGE_LENGTH_BITS, before = page - start;

	return page >= start && before + pages <= (range & RANGE_LENGTH_MASK) &&
	       known->file == file->file && (!file->file || known->page_offset + before == file->page_offset);
}

/* Does what begins at `page` of `file` continue `range`, or go beyond it from the same start? */
static __always_inline bool continues(__u64 range, const struct range_file *known, __u64 page,
				      const struct range_file *file)
{
	__u64 start = range >> RANGE_LENGTH_BITS, before = page - start;

	return (before == 0 || before == (range & RANGE_LENGTH_MASK)) && known->file == file->file &&
	       (!file->file || known->page_offset + before == file->page_offset);
}

/* Do the ranges say already that this is mapped here? Only the first chunk of a walk's table is
 * looked at: what is not found is recorded once more. */
static __always_inline bool is_recorded(struct ranges *first, __u64 page, __u64 pages,
					const struct range_file *file)
{
	__u32 found = search_recent(first, page, pages);

	if (found) {
		struct recent_range *recent = &first->recent[(found - 1) & (RECENT_RANGES - 1)];
		return repeats(recent->range, &recent->file, page, pages, file);
	}
	__u32 active = first->active & 1, count = first->count[active];

	found = search_table(first->table[active], count < RANGES_PER_CHUNK ? count : RANGES_PER_CHUNK, page);
	if (!found)
		return false;
	found = (found - 1) & (RANGES_PER_CHUNK - 1);
	return repeats(first->table[active][found], &first->files[active][found], page, pages, file);
}

/*
 * Adds a mapping to the ring. There is one writer; walks only move the tail up, past entries that
 * no longer grow. A reader on another CPU sees the head after the entry.
 */
static __always_inline void append(struct ranges *first, const struct ranges_key *process, __u64 page,
				   __u64 pages, const struct range_file *file, struct counters *counters)
{
	__u32 head = first->recent_head, tail = *(volatile __u32 *)&first->recent_tail;
	struct recent_range *last = &first->recent[(head - 1) & (RECENT_RANGES - 1)];
	__u64 end = page + pages;

	if (is_recorded(first, page, pages, file))
		return;
	counters->ranges_recorded++;
	if (head != tail && head != first->sealed && continues(last->range, &last->file, page, file)) {
		__u64 start = last->range >> RANGE_LENGTH_BITS;
		if (end - start <= RANGE_LENGTH_MASK) {
			*(volatile __u64 *)&last->range = start << RANGE_LENGTH_BITS | (end - start);
			return;
		}
	}
	if (head - tail >= RECENT_RANGES) {
		first->refused++;
		counters->ranges_recent_full++;
		announce_full(first, process, counters);
		return;
	}
	struct recent_range *next = &first->recent[head & (RECENT_RANGES - 1)];
	next->file = *file;
	*(volatile __u64 *)&next->range = page << RANGE_LENGTH_BITS | pages;
	barrier();
	*(volatile __u32 *)&first->recent_head = head + 1;
}

/* Records a mapping of the process `task`, which is the current one. */
static __always_inline void record(struct ranges *first, const struct ranges_key *process,
				   struct vm_area_struct *vma, struct counters *counters)
{
	__u64 page = vma->vm_start >> PAGE_SHIFT, pages = (vma->vm_end - vma->vm_start) >> PAGE_SHIFT;
	struct range_file file = file_of(vma);

	if (pages > RANGE_LENGTH_MASK) {	/* a walk splits it */
		pages = RANGE_LENGTH_MASK;
		announce_full(first, process, counters);
	}
	if (__sync_val_compare_and_swap(&first->busy, 0, 1) != 0)
		return;
	append(first, process, page, pages, &file, counters);
	first->busy = 0;
	if (file.file > FILE_VDSO && !bpf_map_lookup_elem(&file_tables, &file.file))
		announce_file(EVENT_MAPPED, file.file, process, counters);
}

static __attribute__((unused)) long record_found(struct task_struct *task, struct vm_area_struct *vma,
						 struct ranges_key *process)
{
	struct counters *counters = my_counters();
	struct ranges_key key = *process;
	struct ranges *first = ranges_of(&key);

	if (counters && first && vma->vm_flags & VM_EXEC)
		record(first, &key, vma, counters);
	return 0;
}

/* Records the executable mapping at `address`, if there is one. bpf_find_vma only tries for the
 * mmap_lock: where it is taken, another time. With interrupts off the lock is given back by an
 * interrupt of its own, 12 to 20 us on an emulated controller. */
static __always_inline void record_at(struct task_struct *task, struct ranges_key *process, __u64 address)
{
	bpf_find_vma(task, address, record_found, process, 0);
}

#endif
