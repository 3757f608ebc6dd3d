/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a process may be looked into by others of its user: prctl(2), PR_SET_DUMPABLE. */
#ifndef PARCA_AGENT_DUMPABLE_H
#define PARCA_AGENT_DUMPABLE_H

#include "agent.h"

#define DUMPABLE_MASK 3		/* MMF_DUMPABLE_MASK, include/linux/mm_types.h */
#define SUID_DUMP_USER 1	/* include/linux/sched/coredump.h; also TASK_DUMPABLE_OWNER */

/* Where the kernel keeps it. The releases are those in which it was seen. */
struct mm_struct___6_1 {		/* 6.1, 6.12 */
	unsigned long flags;
} __attribute__((preserve_access_index));

struct mm_flags {
	unsigned long __mm_flags[1];
} __attribute__((preserve_access_index));

struct mm_struct___6_18 {		/* 6.18 */
	struct mm_flags flags;
} __attribute__((preserve_access_index));

enum task_dumpable {
	TASK_DUMPABLE_OFF,
	TASK_DUMPABLE_OWNER,
	TASK_DUMPABLE_ROOT,
};

struct task_exec_state {
	enum task_dumpable dumpable;
} __attribute__((preserve_access_index));

struct task_struct___7_3 {		/* 7.3: in the mm's flags no more */
	struct task_exec_state *exec_state;
} __attribute__((preserve_access_index));

/* Where it is found nowhere, nobody is. */
static __always_inline bool is_dumpable(struct task_struct *task)
{
	struct task_struct___7_3 *newest = (void *)task;
	struct mm_struct *mm = task->mm;
	struct mm_struct___6_18 *newer = (void *)mm;
	struct mm_struct___6_1 *old = (void *)mm;

	if (bpf_core_field_exists(newest->exec_state)) {
		struct task_exec_state *state = newest->exec_state;

		return state && state->dumpable == SUID_DUMP_USER;
	}
	if (!mm)
		return false;
	if (bpf_core_field_exists(newer->flags.__mm_flags))
		return (newer->flags.__mm_flags[0] & DUMPABLE_MASK) == SUID_DUMP_USER;
	if (bpf_core_field_exists(old->flags))
		return (old->flags & DUMPABLE_MASK) == SUID_DUMP_USER;
	return false;
}

#endif
