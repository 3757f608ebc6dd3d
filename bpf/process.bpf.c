// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Processes that change what they run, or end. */
#include "upkeep.h"

/* The program that ran before the process became what it is, if it has not been retired yet: an
 * exec that fails past the point of no return ends the process and is no exec to the tracepoint. */
static __always_inline void retire_before(struct task_struct *task, const struct ranges_key *process,
					  struct counters *counters)
{
	struct ranges_key before = *process;

	before.exec_id--;
	if (retire(task, &before, counters))
		send_event(EVENT_EXIT, &before, counters);
}

/* Called in the process that ran execve, after its self_exec_id was raised by begin_new_exec. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task)
{
	struct counters *counters = my_counters();
	struct ranges_key process = process_of(task);

	if (!counters || !process.tgid)
		return 0;
	retire_before(task, &process, counters);
	if (!ranges_of(&process))
		send_event(EVENT_EXEC, &process, counters);
	return 0;
}

/* Called for each thread that ends; `live` has been lowered before (do_exit, linux 6.1 to 7.x). */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct counters *counters = my_counters();
	struct ranges_key process = process_of(task);

	if (!counters || !process.tgid || task->signal->live.counter > 0)
		return 0;
	retire_before(task, &process, counters);
	if (retire(task, &process, counters))
		send_event(EVENT_EXIT, &process, counters);
	return 0;
}
