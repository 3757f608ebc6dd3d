/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every program of the agent includes: types, the shared ABI, and what ties its limits. */
#ifndef PARCA_AGENT_AGENT_H
#define PARCA_AGENT_AGENT_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "abi.h"

#define PF_KTHREAD 0x00200000	/* include/linux/sched.h */
#define VM_WRITE 0x2		/* include/linux/mm.h */
#define VM_EXEC 0x4
#define VM_SHARED 0x8
#define PAGE_SHIFT 12		/* ranges count in 4 KiB whatever the page size */
#define EEXIST 17
#define EBUSY 16
#define E2BIG 7

_Static_assert(sizeof(struct sample_key) == 56, "keys are hashed whole: no padding may hide in one");
_Static_assert(sizeof(struct stack) == 8 + 8 * MAX_FRAMES, "a stack is a header and its addresses");
_Static_assert(__builtin_offsetof(struct counters, user_complete) == 8 * OUTCOMES,
	       "the outcomes are the first fields of struct counters");
_Static_assert(sizeof(struct unwind_chunk) <= 4096 - 48 - sizeof(struct unwind_key) - 8,
	       "a hash element with its header takes 4096 bytes of slab, not 8192");
_Static_assert(1 << EXECUTABLE_BITS == EXECUTABLES, "a table number holds a slot");
_Static_assert(sizeof(struct ranges) <= 4096 - 48 - sizeof(struct ranges_key) - 8,
	       "a hash element with its header takes 4096 bytes of slab, not 8192");
_Static_assert((RECENT_RANGES & (RECENT_RANGES - 1)) == 0, "the ring's indexes are masked");
_Static_assert((RANGES_PER_CHUNK & (RANGES_PER_CHUNK - 1)) == 0, "the range search masks its indexes");
_Static_assert(sizeof(struct mapping_record) + PATH_LENGTH < 32768,
	       "an iterator call that writes more than half the seq_file buffer truncates the walk");

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
