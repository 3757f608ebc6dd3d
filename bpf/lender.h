/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose ranges a sample is taken with. */
#ifndef PARCA_AGENT_LENDER_H
#define PARCA_AGENT_LENDER_H

#include "identity.h"
#include "ranges.h"

#define MOST_FORKS 3	/* since the process whose ranges are recorded */

/* Has `parent` forked `task`, and have both run the same program since? Their memory was laid out by
 * one exec, at addresses that no other exec would choose but by chance. */
static __always_inline bool same_program(struct task_struct *task, struct task_struct *parent)
{
	struct mm_struct *mm = task->mm, *other = parent->mm;

	return mm && other && parent->self_exec_id == task->self_exec_id && mm->start_code &&
	       mm->start_code == other->start_code && mm->start_stack == other->start_stack &&
	       mm->arg_start == other->arg_start;
}

/*
 * Chunk 0 of the ranges for samples of `task`, 0: none are recorded. `owner` is its process, and
 * becomes the process that the ranges are of: a child that runs what its parent runs has none of
 * its own before it is walked, and its parent's mappings until it makes others.
 */
static __always_inline struct ranges *ranges_for(struct task_struct *task, struct ranges_key *owner)
{
	struct ranges *ranges = ranges_of(owner);
	struct task_struct *parent = task->group_leader;

	for (int i = 0; i < MOST_FORKS && !ranges; i++) {
		parent = parent->real_parent;
		if (!same_program(task, parent))
			break;
		struct ranges_key key = process_of(parent);
		ranges = ranges_of(&key);
		if (ranges)
			*owner = key;
	}
	return ranges;
}

/* Keeps in mind that the end of `process` concerns the collector. */
static __always_inline void note_sampled(struct ranges *ranges, const struct ranges_key *process,
					 const struct ranges_key *owner)
{
	if (owner->tgid == process->tgid && owner->start_time == process->start_time)
		ranges->sampled = 1;
	else if (!bpf_map_lookup_elem(&borrowed, process))
		bpf_map_update_elem(&borrowed, process, owner, BPF_ANY);
}

#endif
