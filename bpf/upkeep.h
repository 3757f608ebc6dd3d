/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The executable ranges: how they come, and how they go. */
#ifndef PARCA_AGENT_UPKEEP_H
#define PARCA_AGENT_UPKEEP_H

#include "announce.h"
#include "file.h"
#include "ranges.h"

/* 0 -> zeros: what a new chunk starts as. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ranges);
} no_ranges SEC(".maps");

/* Does `task` still run the program that `process` names? */
static __always_inline bool runs(struct task_struct *task, const struct ranges_key *process)
{
	return *(volatile __u64 *)&task->self_exec_id == process->exec_id &&
	       task->signal->live.counter > 0;
}

/* A chunk of the process's ranges, made if it is not there and the process still is: the process
 * programs remove what they find when a program ends, and nobody would remove what comes later. */
static __always_inline struct ranges *chunk_of(struct task_struct *task, struct ranges_key *process,
					       __u32 chunk, struct counters *counters)
{
	struct ranges_key key = *process;
	__u32 zero = 0;

	key.chunk = chunk;
	struct ranges *ranges = bpf_map_lookup_elem(&executable_ranges, &key);
	if (!ranges) {
		struct ranges *empty = bpf_map_lookup_elem(&no_ranges, &zero);
		if (!empty || bpf_map_update_elem(&executable_ranges, &key, empty, BPF_NOEXIST)) {
			counters->ranges_full++;
			return 0;
		}
		if (!runs(task, process)) {
			bpf_map_delete_elem(&executable_ranges, &key);
			return 0;
		}
		ranges = bpf_map_lookup_elem(&executable_ranges, &key);
		if (!ranges)
			return 0;
	}
	if (!ranges->tgid) {
		ranges->tgid = key.tgid;
		ranges->start_time = key.start_time;
		ranges->exec_id = key.exec_id;
	}
	/* removed since the lookup, and another's already? */
	return owned_by(ranges, process) ? ranges : 0;
}

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

/* Removes all chunks of a program run's ranges. */
static __always_inline void forget_ranges(const struct ranges_key *process)
{
	struct ranges_key key = *process;

	for (__u32 chunk = 0; chunk < RANGE_CHUNKS; chunk++) {
		key.chunk = chunk;
		if (bpf_map_delete_elem(&executable_ranges, &key))
			break;
	}
}

/* Leaves `first` to the collector, which may not have got to walk the process; with what only a
 * living process can tell. */
static __always_inline void keep_ended(struct task_struct *task, const struct ranges_key *process,
				       struct ranges *first, struct counters *counters)
{
	struct ranges_key key = *process;

	key.chunk = 0;
	if (bpf_map_update_elem(&ended_ranges, &key, first, BPF_ANY)) {
		counters->ended_ranges_full++;
		return;
	}
	struct ranges *ended = bpf_map_lookup_elem(&ended_ranges, &key);
	if (!ended)
		return;
	ended->parent_tgid = tgid_of(task->real_parent);
	ended->uid = task->real_cred->uid.val;
	ended->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
}

/* The program run is over. Was it one that the collector has heard of? */
static __always_inline bool retire(struct task_struct *task, const struct ranges_key *process,
				   struct counters *counters)
{
	struct ranges *first = ranges_of(process);

	if (first) {
		bool known = first->walked || first->sampled;
		if (first->sampled)
			keep_ended(task, process, first, counters);
		forget_ranges(process);
		return known;
	}
	struct ranges_key *owner = bpf_map_lookup_elem(&borrowed, process);
	if (!owner)
		return false;
	first = ranges_of(owner);
	if (first)
		keep_ended(task, process, first, counters);
	bpf_map_delete_elem(&borrowed, process);
	return true;
}

#endif
