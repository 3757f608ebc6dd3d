/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the collector is told to look at, and how often at most. */
#ifndef PARCA_AGENT_ANNOUNCE_H
#define PARCA_AGENT_ANNOUNCE_H

#include "identity.h"

#define MISS_INTERVAL 100000000ULL	/* ns between two events for the same reason */

/* Asks for a walk of a process that maps a file which the collector has not heard of: EVENT_MISS
 * if a sample shows it. */
static __always_inline void announce_file(__u32 type, __u64 file, const struct ranges_key *process,
					  struct counters *counters)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 *last = bpf_map_lookup_elem(&announced_files, &file);

	if (last && now - *last < MISS_INTERVAL)
		return;
	bpf_map_update_elem(&announced_files, &file, &now, BPF_ANY);
	send_event(type, process, counters);
}

/* Asks for a walk of a process whose ring is full. */
static __always_inline void announce_full(struct ranges *first, const struct ranges_key *process,
					  struct counters *counters)
{
	__u64 now = bpf_ktime_get_ns();

	if (now - first->asked < MISS_INTERVAL)
		return;
	first->asked = now;
	send_event(EVENT_MAPPED, process, counters);
}

#endif
