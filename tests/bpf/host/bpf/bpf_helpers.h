/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libbpf's header of this name gives the kernel programs, for the machine that tests run on.
 * Maps stay declarations, told apart by their address; replay.c says what they hold.
 */
#ifndef PARCA_AGENT_HOST_HELPERS_H
#define PARCA_AGENT_HOST_HELPERS_H

#define SEC(name)
#define __uint(name, value) int (*name)[value]
#define __type(name, value) __typeof__(value) *name
#define __array(name, value) __typeof__(value) *name[]
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline, unused))
#define barrier_var(variable) __asm__ volatile("" : "+r"(variable))

void *bpf_map_lookup_elem(const void *map, const void *key);
long bpf_map_delete_elem(const void *map, const void *key);
long bpf_probe_read_user(void *to, __u32 size, const void *from);
long bpf_loop(__u32 rounds, void *step, void *context, __u64 flags);

#endif
