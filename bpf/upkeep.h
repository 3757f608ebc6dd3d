/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The executable ranges of a program run: how they begin, and how they end. */
#ifndef PARCA_AGENT_UPKEEP_H
#define PARCA_AGENT_UPKEEP_H

#include "record.h"

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
