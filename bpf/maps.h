/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map that outlives a program run, once. Each comment gives four facts: key -> value; who
 * writes; who reads; what bounds it. Every object declares them all; the loader creates them
 * with the first object and hands them to the later ones by name.
 */
#ifndef PARCA_AGENT_MAPS_H
#define PARCA_AGENT_MAPS_H

#include "agent.h"

/* The words of struct ranges. */
#define RANGE_LENGTH_BITS 19
#define RANGE_LENGTH_MASK ((1ULL << RANGE_LENGTH_BITS) - 1)

/* A walk over mappings in progress: whose ranges it fills, what it has written, and where the
 * process's ring stood when it began. */
struct walk {
	struct ranges_key process;
	__u32 count;
	__u32 records;
	__u32 recent_head;
	__u32 refused;
	__u32 incomplete;
	__u32 reserved;
	__u64 exec_pages;
};

/* key: window's low bit via active_set -> number of samples. Written by the sampler into the
 * active set; read and emptied by the collector in the other. Bounded by max_entries, which the
 * loader sets from CPUs and rate; a full map is the outcome lost_samples_full. */
struct samples {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sample_key);
	__type(value, __u64);
};
struct samples samples_0 SEC(".maps"), samples_1 SEC(".maps");

/* hash of a stack -> the stack. Writers, readers and bound as samples_N; full is the outcome
 * lost_stacks_full. */
struct stacks {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct stack);
};
struct stacks stacks_0 SEC(".maps"), stacks_1 SEC(".maps");

/* 0 -> its own number, 0 or 1. Written once by the loader, then frozen; read by the sampler
 * through active_set. One entry. */
struct set_number {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};
struct set_number set_0 SEC(".maps"), set_1 SEC(".maps");

/* 0 -> set_0 or set_1. Replaced by the collector: that update returns only when no program
 * still uses the old inner map (maybe_wait_bpf_programs, linux 4.20), so one system call both
 * flips and waits. Read by the sampler. One entry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct set_number);
} active_set SEC(".maps") = { .values = { &set_0 } };

/* 0 -> struct control. Written by the collector; read by the sampler and, after a restart, by
 * the collector. One entry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control SEC(".maps");

/* 0 -> struct counters, one per CPU. Written by all programs; read by the collector. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* struct event, in order. Written by sampler and process programs; read by the collector.
 * 256 KiB; what does not fit is counted in events_lost. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 262144);
} events SEC(".maps");

/* {process, chunk} -> executable ranges. Written by the task_vma iterator and, as mappings are
 * made, by the program on perf_event_mmap; removed by the process programs; read by the sampler;
 * pinned for nobody, so user space cannot widen it. Allocated on demand, 8192 chunks at most; full
 * is counted in ranges_full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct ranges_key);
	__type(value, struct ranges);
} executable_ranges SEC(".maps");

/* process -> chunk 0 of its ranges as they were when it ended or became another, if it had been
 * sampled. Written by the process programs; read and emptied by the collector, which did not get to
 * walk it. Allocated on demand, 1024 processes; full is counted in ended_ranges_full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct ranges_key);
	__type(value, struct ranges);
} ended_ranges SEC(".maps");

/* process without ranges of its own -> the one it was forked from, whose ranges its samples were
 * taken with. Written by the sampler; read by the process programs. 1024 processes, least recently
 * used first out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct ranges_key);
	__type(value, struct ranges_key);
} borrowed SEC(".maps");

/* file number -> number of its unwind table, 0: it has none. Written by the collector; read by the
 * unwinder, which asks for what is not here. 16384 files; what is full the collector counts. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} file_tables SEC(".maps");

/* slot -> the executable whose table is loaded there. Written by the collector, last_used by the
 * unwinder; read by both. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EXECUTABLES);
	__type(key, __u32);
	__type(value, struct executable);
} executables SEC(".maps");

/* {table, page, part} -> rows. Written by the collector, never over a live key; read by the
 * unwinder. Allocated on demand in 4 KiB; the loader sets max_entries from the memory that tables
 * may take. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct unwind_key);
	__type(value, struct unwind_chunk);
} unwind_chunks SEC(".maps");

/* 0 -> what to read next. Written by the collector; read by read_memory, once for each answer, and
 * believed in nothing. One entry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct memory_request);
} memory_request SEC(".maps");

/* 0 -> up to when answers are given out already (monotonic ns). Written and read by read_memory;
 * pinned for nobody, so that user space cannot hasten it. One entry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} memory_rate SEC(".maps");

/* process -> when a miss was last announced (monotonic ns). Written and read by the sampler.
 * 4096 processes, least recently used first out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ranges_key);
	__type(value, __u64);
} announced SEC(".maps");

/* number of a file that is not in file_tables -> when a process that maps it was last announced
 * (monotonic ns). Written and read by sampler and mappings. 1024 files, least recently used first
 * out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} announced_files SEC(".maps");

/* iterator session -> its walk. Written and read by the iterators. 64 sessions, oldest out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, struct walk);
} walks SEC(".maps");

/* 0 -> address of _text. Written once by the bootstrap program, which the loader runs without
 * reading what it found; read by sampler and ksym; pinned for nobody. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} kernel_base SEC(".maps");

#endif
