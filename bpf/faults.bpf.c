// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Executable mappings, recorded when code in them is first run: where a kernel refuses `mappings`.
 * The first time, the page is not present; the fault tells its address. Memory that was written to
 * or locked before it is run is not seen so: the collector's walk has to find it.
 */
#include "upkeep.h"

#define FAULT_INSTRUCTION 16	/* X86_PF_INSTR, asm/trap_pf.h */

/* Before the new program's first instruction: itself, its interpreter, the vDSO. Without what was
 * mapped since the exec, a process's ranges would have gaps: so only here they are begun. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(record_exec, struct task_struct *task)
{
	struct counters *counters = my_counters();
	struct ranges_key process = process_of(task);

	if (!counters || !process.tgid || !task->mm || !chunk_of(task, &process, 0, counters))
		return 0;
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	record_at(task, &process, task->mm->start_code);
	record_at(task, &process, regs->ip);
	record_at(task, &process, (__u64)task->mm->context.vdso);
	return 0;
}

/* For each page fault of user code. In it interrupts are off, and the lock that bpf_find_vma took
 * is given back by an interrupt of its own: dear, and so once for each mapping. */
SEC("tp_btf/page_fault_user")
int BPF_PROG(record_fault, unsigned long address, struct pt_regs *regs, unsigned long code)
{
	if (!(code & FAULT_INSTRUCTION))
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	struct ranges_key process = process_of(task);
	struct ranges *first = process.tgid ? ranges_of(&process) : 0;

	if (first && !in_ranges(first, &process, address))
		record_at(task, &process, address);
	return 0;
}
