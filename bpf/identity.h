/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who a task is, in the agent's own numbers. */
#ifndef PARCA_AGENT_IDENTITY_H
#define PARCA_AGENT_IDENTITY_H

#include "maps.h"

/* Set at load time from the bootstrap program's answer: nesting level and inode number of the
 * agent's own pid namespace. Level 0 is the initial namespace, whose descendants are all. */
const volatile __u32 agent_pid_level = 0;
const volatile __u32 agent_pid_namespace = 0;

#define NUMBER_AT(pid, depth)                                                                     \
	((pid)->numbers[depth].ns->ns.inum == agent_pid_namespace ? (__u32)(pid)->numbers[depth].nr : 0)

/*
 * The number of `pid` in the agent's namespace, 0 if it has none there: then it lives in another
 * branch of the namespace tree, or is past release_task and has no number at all. The levels are
 * spelled out because a typed BTF load needs a constant offset.
 */
static __always_inline __u32 number_of(struct pid *pid)
{
	if (agent_pid_level == 0)
		return pid->numbers[0].nr;
	if (pid->level < agent_pid_level)
		return 0;
	switch (agent_pid_level) {
	case 1: return NUMBER_AT(pid, 1);
	case 2: return NUMBER_AT(pid, 2);
	case 3: return NUMBER_AT(pid, 3);
	case 4: return NUMBER_AT(pid, 4);
	}
	return 0;
}

static __always_inline __u32 tgid_of(struct task_struct *task)
{
	return number_of(task->group_leader->thread_pid);
}

/* Identity of a task's process; tgid 0 when it has no number in the agent's namespace. */
static __always_inline struct ranges_key process_of(struct task_struct *task)
{
	struct ranges_key key = {
		.tgid = tgid_of(task),
		.start_time = task->group_leader->start_boottime,
		.exec_id = task->self_exec_id,
	};
	return key;
}

/* Not inlined, so that BTF knows struct event and a test can compare it with user space's. */
static __noinline __attribute__((unused)) long write_event(struct event *event)
{
	return bpf_ringbuf_output(&events, event, sizeof(*event), 0);
}

static __always_inline void send_event(__u32 type, const struct ranges_key *process,
				       struct counters *counters)
{
	struct event event = {
		.type = type,
		.tgid = process->tgid,
		.start_time = process->start_time,
		.exec_id = process->exec_id,
	};
	if (write_event(&event))
		counters->events_lost++;
	else
		counters->events_sent++;
}

static __always_inline struct counters *my_counters(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&counters, &zero);
}

#endif
