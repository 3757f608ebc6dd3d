/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Numbers for files: what is mapped, told apart without a name. */
#ifndef PARCA_AGENT_FILE_H
#define PARCA_AGENT_FILE_H

#include "agent.h"

/* struct inode's time of last change of contents, as it was called over the years. */
struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
} __attribute__((preserve_access_index));

struct inode___6_1 {			/* up to linux 6.6 */
	struct timespec64 i_mtime;
} __attribute__((preserve_access_index));

struct inode___6_7 {			/* 12cd44023651 */
	struct timespec64 __i_mtime;
} __attribute__((preserve_access_index));

struct inode___6_11 {			/* 3aa63a569c64 */
	__s64 i_mtime_sec;
	__u32 i_mtime_nsec;
} __attribute__((preserve_access_index));

static __always_inline __u64 mixed(__u64 hash, __u64 word)
{
	hash ^= word;
	hash *= 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 32);
}

static __always_inline __u64 changed_at(struct inode *inode)
{
	struct inode___6_11 *newest = (void *)inode;
	struct inode___6_7 *newer = (void *)inode;
	struct inode___6_1 *old = (void *)inode;

	if (bpf_core_field_exists(newest->i_mtime_sec))
		return (__u64)newest->i_mtime_sec << 30 ^ newest->i_mtime_nsec;
	if (bpf_core_field_exists(newer->__i_mtime))
		return (__u64)newer->__i_mtime.tv_sec << 30 ^ (__u64)newer->__i_mtime.tv_nsec;
	return (__u64)old->i_mtime.tv_sec << 30 ^ (__u64)old->i_mtime.tv_nsec;
}

/*
 * The number of what `vma` maps; 0: no file. Two files never share one but by a collision of 64
 * bits, which gives wrong stacks and no more. A file that is rewritten in place gets another,
 * unless it is mapped shared: memory that a runtime writes its code to changes all the time.
 */
static __always_inline __u64 file_number(struct vm_area_struct *vma)
{
	struct file *file = vma->vm_file;

	if (!file)
		return vma->vm_start == (__u64)vma->vm_mm->context.vdso ? FILE_VDSO : 0;
	struct inode *inode = file->f_inode;
	__u64 hash = mixed(inode->i_sb->s_dev, inode->i_ino);

	hash = mixed(hash, inode->i_generation);
	if (!(vma->vm_flags & VM_SHARED))
		hash = mixed(hash, changed_at(inode));
	return hash > FILE_VDSO ? hash : FILE_VDSO + 1;
}

#endif
