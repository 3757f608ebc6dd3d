/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * On-CPU sampling: who ran, with which kernel and user stack, counted in the active set. How a user
 * stack is walked is the including object's: it defines walk_user_stack.
 */
#ifndef PARCA_AGENT_SAMPLE_H
#define PARCA_AGENT_SAMPLE_H

#include "lender.h"
#include "record.h"
#include "registers_x86_64.h"

/* Set at load time from the loader's `threads`: whether samples tell threads apart. */
const volatile bool tell_threads = false;
/* Set at load time from `window_seconds`: a heartbeat older than this stops the sampling. */
const volatile __u64 heartbeat_limit = 30000000000ULL;

#define PROBES 3			/* stacks may share a hash; so many slots are tried */
/* MISS_INTERVAL and this: ns between two EVENT_MISS of one process. What runs outside the recorded
 * ranges is code for certain; what looks like a caller there is mostly no address at all, in code without frame
 * pointers, and comes with every sample. */
#define CALLER_MISS_INTERVAL 10000000000ULL
#define NEVER (~0ULL)
#define DISCOVERIES 4			/* mappings that one walk may find */
#define NANOSECONDS 1000000000ULL

/* Everything of one sample. Per CPU: a sampling interrupt is not interrupted by another. */
struct scratch {
	struct sample_key key;
	struct unwinding user;
	struct stack kernel;
	__u64 raw[MAX_FRAMES];
	__u64 now;		/* CLOCK_MONOTONIC, ns */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} sample_scratch SEC(".maps");

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash ^= word;
	hash *= 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 29);
}

__noinline __u64 hash_stack(struct stack *stack)
{
	if (!stack)
		return 1;
	__u64 hash = mix(0x243f6a8885a308d3ULL, (__u64)stack->end << 32 | stack->length);

	for (__u32 i = 0; i < MAX_FRAMES && i < stack->length; i++)
		hash = mix(hash, stack->addresses[i]);
	return hash ? hash : 1;
}

__noinline bool same_stack(struct stack *a, struct stack *b)
{
	if (!a || !b || a->length != b->length || a->end != b->end)
		return false;
	for (__u32 i = 0; i < MAX_FRAMES && i < a->length; i++)
		if (a->addresses[i] != b->addresses[i])
			return false;
	return true;
}

/* Whatever a longer stack of this CPU left behind `length` stays here: it may be of another process. */
__noinline int clear_rest(struct stack *stack)
{
	if (!stack)
		return 0;
	for (__u32 i = 0; i < MAX_FRAMES; i++)
		if (i >= stack->length)
			stack->addresses[i] = 0;
	return 0;
}

/* Key under which `stack` stands in the set, 0 after raising the outcome that says why not. */
static __always_inline __u64 store_stack(void *stacks, struct stack *stack, struct counters *counters)
{
	__u64 key = hash_stack(stack);

	for (int probe = 0; probe < PROBES; probe++, key++) {
		struct stack *known = bpf_map_lookup_elem(stacks, &key);
		if (!known) {
			clear_rest(stack);
			long error = bpf_map_update_elem(stacks, &key, stack, BPF_NOEXIST);
			if (!error) {
				counters->stacks_stored++;
				return key;
			}
			if (error == -E2BIG) {
				counters->lost_stacks_full++;
				return 0;
			}
			if (error != -EEXIST) {
				counters->lost_map_busy++;
				return 0;
			}
			/* another CPU came first: look again */
			known = bpf_map_lookup_elem(stacks, &key);
			if (!known)
				continue;
		}
		if (same_stack(known, stack))
			return key;
	}
	counters->lost_stack_collision++;
	return 0;
}

static __always_inline void count_sample(void *samples, struct sample_key *key, struct counters *counters)
{
	__u64 one = 1;
	__u64 *count = bpf_map_lookup_elem(samples, key);

	if (!count) {
		long error = bpf_map_update_elem(samples, key, &one, BPF_NOEXIST);
		if (!error) {
			counters->samples_stored++;
			counters->recorded++;
			return;
		}
		if (error == -E2BIG) {
			counters->lost_samples_full++;
			return;
		}
		count = error == -EEXIST ? bpf_map_lookup_elem(samples, key) : 0;
		if (!count) {
			counters->lost_map_busy++;
			return;
		}
	}
	__sync_fetch_and_add(count, 1);
	counters->recorded++;
}

/* Kernel frames become signed offsets from _text, so that no address leaves. */
static __always_inline void take_kernel_stack(void *ctx, struct scratch *s)
{
	__u32 zero = 0;
	__u64 *base = bpf_map_lookup_elem(&kernel_base, &zero);

	s->kernel.length = 0;
	s->kernel.end = STACK_KERNEL;
	if (in_user_mode(ctx) || !base || !*base)
		return;
	long bytes = bpf_get_stack(ctx, s->raw, sizeof(s->raw), 0);
	if (bytes <= 0)
		return;
	for (__u32 i = 0; i < MAX_FRAMES && i < (__u32)bytes / 8; i++) {
		s->kernel.addresses[i] = s->raw[i] - *base;
		s->kernel.length = i + 1;
	}
}

/* Tells the collector of a process's first sample, unless it has walked it, and again after `interval`. */
static __always_inline void announce(struct scratch *s, const struct ranges *first, __u64 interval,
				     struct counters *counters)
{
	if (interval == NEVER && first && first->walked && owned_by(first, &s->user.process))
		return;
	__u64 *last = bpf_map_lookup_elem(&announced, &s->user.process);

	if (last && s->now - *last < interval)
		return;
	bpf_map_update_elem(&announced, &s->user.process, &s->now, BPF_ANY);
	send_event(EVENT_MISS, &s->user.process, counters);
}

/* The stack from the registers in `u` on, or on from where it ended outside the ranges; `first` is
 * chunk 0 of the process's ranges. */
static __always_inline void walk_user_stack(struct unwinding *u, struct ranges *first);

/* Does the process have executable pages that were not there when it was walked? Always, if it was not. */
static __always_inline bool has_more_pages(struct task_struct *task, const struct ranges *first)
{
	return !first->walked || first->exec_pages != task->mm->exec_vm;
}

/*
 * A walk that ended outside the ranges may have come to a mapping that nobody has recorded: memory that
 * was written to before it was run, or read before. If so it is recorded now, and the walk goes on. To
 * ask is dear: so where code runs, where there must be more than is known, and else once a second, for
 * memory that is writable too is not in exec_vm. Global, so that the verifier looks at it once.
 */
__noinline bool discover(struct unwinding *u, struct ranges *first)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!u || !first || !task->mm)
		return false;
	struct ranges_key process = u->process;
	__u64 address = u->flags & IP_BEHIND ? u->ip - 1 : u->ip;

	if (u->stack.end != STACK_OUTSIDE_MAPPINGS || !owned_by(first, &process))
		return false;
	if (u->stack.length && !has_more_pages(task, first) && first->looked == u->seconds)
		return false;
	record_at(task, &process, address);
	if (in_ranges(first, &process, address))
		return true;
	first->looked = u->seconds;
	return false;
}

/* Global as well. */
__noinline int walk(struct unwinding *u, struct ranges *first)
{
	if (u && first)
		walk_user_stack(u, first);
	return 0;
}

/* True if there were mappings to be discovered. */
static __always_inline bool walk_and_discover(struct unwinding *u, struct ranges *first)
{
	int found = 0;

	walk(u, first);
	for (; found < DISCOVERIES && discover(u, first); found++)
		walk(u, first);
	return found > 0;
}

/* After how long the collector wants to hear of a process again that has such a stack. Not only
 * where something is missing: what is unmapped is seen by no program, but its pages are counted. */
static __always_inline __u64 interval_after(const struct unwinding *u, struct task_struct *task,
					    const struct ranges *first, bool discovered)
{
	if (u->stack.length == 0 || discovered || (first && first->walked && has_more_pages(task, first)))
		return MISS_INTERVAL;
	return u->stack.end == STACK_OUTSIDE_MAPPINGS ? CALLER_MISS_INTERVAL : NEVER;
}

static __always_inline void take_user_stack(struct bpf_perf_event_data *ctx, struct task_struct *task,
					    struct scratch *s, struct counters *counters)
{
	struct unwinding *u = &s->user;
	bool supported = take_registers(ctx, task, u), discovered = false;
	u->owner = u->process;
	struct ranges *first = ranges_for(task, &u->owner);

	begin(u, s->now / NANOSECONDS);
	if (first)
		note_sampled(first, &u->process, &u->owner);
	if (!first)
		ends(u, STACK_UNMAPPED_PROCESS);
	else if (supported)
		discovered = walk_and_discover(u, first);
	else if (emit(u, first))
		ends(u, STACK_COMPAT);
	counters->frames_by_row += u->by_row;
	counters->frames_by_frame_pointer += u->by_frame_pointer;
	announce(s, first, interval_after(u, task, first, discovered), counters);
	if (u->unknown_file)
		announce_file(EVENT_MISS, u->unknown_file, &u->process, counters);
}

/* Has `task` a program of its own? Amid an exec it has not: its memory is the next program's,
 * empty so far, while its registers, and for a while its exec id, are still those of the last. */
static __always_inline bool has_program(struct task_struct *task)
{
	return !(task->flags & PF_KTHREAD) && task->mm && task->mm->start_code;
}

static __always_inline void count_end(const struct stack *user, struct counters *counters)
{
	switch (user->end) {
	case STACK_COMPLETE: counters->user_complete++; break;
	case STACK_TRUNCATED: counters->user_truncated++; break;
	case STACK_OUTSIDE_MAPPINGS: counters->user_outside_mappings++; break;
	case STACK_UNMAPPED_PROCESS: counters->user_unmapped_process++; break;
	case STACK_UNREADABLE: counters->user_unreadable++; break;
	case STACK_BAD_FRAME_POINTER: counters->user_bad_frame_pointer++; break;
	case STACK_NO_TABLE: counters->user_no_table++; break;
	case STACK_UNSUPPORTED_ROW: counters->user_unsupported_row++; break;
	case STACK_TABLE_CHANGED: counters->user_table_changed++; break;
	case STACK_STUCK: counters->user_stuck++; break;
	case STACK_LOST_FRAME_POINTER: counters->user_lost_frame_pointer++; break;
	case STACK_COMPAT: counters->user_compat++; break;
	}
}

/* Fills the key's identity; false after raising the outcome that says why there is none. */
static __always_inline bool identify(struct task_struct *task, struct scratch *s, struct counters *counters)
{
	struct pid *pid = task->group_leader->thread_pid;

	if (task->pid == 0) {
		counters->skipped_idle++;
		return false;
	}
	if (!pid) {
		counters->skipped_exiting++;
		return false;
	}
	s->user.process = process_of(task);
	if (s->user.process.tgid == 0) {
		counters->skipped_pid_namespace++;
		return false;
	}
	s->key.tgid = s->user.process.tgid;
	s->key.tid = tell_threads ? number_of(task->thread_pid) : 0;
	s->key.start_time = s->user.process.start_time;
	s->key.exec_id = s->user.process.exec_id;
	__builtin_memcpy(s->key.comm, tell_threads ? task->comm : task->group_leader->comm, COMM_LENGTH);
	return true;
}

static __always_inline bool collector_alive(__u64 now)
{
	__u32 zero = 0;
	struct control *c = bpf_map_lookup_elem(&control, &zero);

	return c && c->heartbeat && now - c->heartbeat < heartbeat_limit;
}

/* The number of the active set, or -1. */
static __always_inline int active_set_number(void)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&active_set, &zero);
	__u32 *number = inner ? bpf_map_lookup_elem(inner, &zero) : 0;

	return number ? (int)*number : -1;
}

SEC("perf_event")
int sample(struct bpf_perf_event_data *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct counters *counters = my_counters();
	__u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&sample_scratch, &zero);

	if (!counters || !s)
		return 0;
	s->now = bpf_ktime_get_ns();
	if (!collector_alive(s->now)) {
		counters->skipped_no_heartbeat++;
		return 0;
	}
	if (!identify(task, s, counters))
		return 0;

	int set = active_set_number();
	void *stacks = set == 0 ? (void *)&stacks_0 : (void *)&stacks_1;
	void *samples = set == 0 ? (void *)&samples_0 : (void *)&samples_1;
	if (set < 0) {
		counters->lost_internal++;
		return 0;
	}

	s->key.kernel_stack = 0;
	s->key.user_stack = 0;
	take_kernel_stack(ctx, s);
	if (s->kernel.length) {
		s->key.kernel_stack = store_stack(stacks, &s->kernel, counters);
		if (!s->key.kernel_stack)
			return 0;
	}
	if (has_program(task)) {
		take_user_stack(ctx, task, s, counters);
		s->key.user_stack = store_stack(stacks, &s->user.stack, counters);
		if (!s->key.user_stack)
			return 0;
		count_end(&s->user.stack, counters);
	}
	count_sample(samples, &s->key, counters);
	return 0;
}

#endif
