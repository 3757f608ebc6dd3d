// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Run once by the loader, before the other objects: what they need to know of this kernel. */
#include "maps.h"

struct host {
	__u32 pid_level;
	__u32 pid_namespace;
};

/* 0 -> the loader's own pid namespace. Written by find_base; read by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct host);
} host SEC(".maps");

static __always_inline bool is_text(const struct kallsym_iter *symbol)
{
	const char *name = symbol->name;

	return name[0] == '_' && name[1] == 't' && name[2] == 'e' && name[3] == 'x' && name[4] == 't' &&
	       name[5] == '\0' && !symbol->module_name[0];
}

static __always_inline __u32 namespace_at(struct pid *pid, __u32 level)
{
	switch (level) {
	case 1: return pid->numbers[1].ns->ns.inum;
	case 2: return pid->numbers[2].ns->ns.inum;
	case 3: return pid->numbers[3].ns->ns.inum;
	case 4: return pid->numbers[4].ns->ns.inum;
	}
	return 0;
}

/* Finds _text; its address goes into a map the loader never reads. */
SEC("iter/ksym")
int find_base(struct bpf_iter__ksym *ctx)
{
	struct kallsym_iter *symbol = ctx->ksym;
	__u32 zero = 0;

	if (!symbol || !is_text(symbol))
		return 0;
	__u64 *base = bpf_map_lookup_elem(&kernel_base, &zero);
	if (base)
		*base = symbol->value;
	return 0;
}

/* Notes the pid namespace of the task that reads this iterator: the loader. */
SEC("iter/task")
int find_namespace(struct bpf_iter__task *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 zero = 0;
	struct host *found = bpf_map_lookup_elem(&host, &zero);

	if (ctx->task || !found)
		return 0;
	struct pid *pid = task->thread_pid;
	found->pid_level = pid->level;
	if (found->pid_level)
		found->pid_namespace = namespace_at(pid, found->pid_level);
	return 0;
}
