// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Executable mappings, recorded as they are made: before the first instruction in them can run. */
#include "upkeep.h"

/*
 * A process whose program began before this was attached has no ranges until it is walked: its
 * older mappings are known to nobody. So has the child of a fork, which has its parent's. What an
 * exec maps is mapped before start_code is set (load_elf_binary, linux 6.1 to 7.x), with the
 * exec id of the new program (begin_new_exec).
 */
static __always_inline struct ranges *ranges_to_fill(struct task_struct *task, struct ranges_key *process,
						     struct counters *counters)
{
	return task->mm->start_code ? ranges_of(process) : chunk_of(task, process, 0, counters);
}

/*
 * Called for every mapping that is made or whose protection changes, exec's and special ones too,
 * with the mmap_lock held for writing and whether or not a perf event is open (linux 6.1 to 7.x).
 * Not for mremap and munmap: a walk finds out, or another mapping in the same place.
 */
SEC("fentry/perf_event_mmap")
int BPF_PROG(record_mapping, struct vm_area_struct *vma)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!(vma->vm_flags & VM_EXEC) || vma->vm_mm != task->mm || task->flags & PF_KTHREAD)
		return 0;
	struct counters *counters = my_counters();
	struct ranges_key process = process_of(task);
	if (!counters || !process.tgid)
		return 0;
	struct ranges *first = ranges_to_fill(task, &process, counters);
	if (first)
		record(first, &process, vma, counters);
	return 0;
}
