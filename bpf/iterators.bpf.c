// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What an unprivileged reader may ask the kernel: executable mappings, tasks, kernel symbols.
 * The programs run in the reader's task, so they see only its pid namespace and below.
 */
#include "upkeep.h"

#define SHOW_AGAIN 1	/* an iterator's answer: read(2) says EAGAIN and comes back to this object */
#define MAX_SPLIT 4	/* a mapping over 2 GiB takes several ranges, 8 GiB at most */

struct path_scratch {
	__u32 busy;
	__u32 reserved;
	struct mapping_record record;
	char path[PATH_LENGTH];
};

/* Per CPU; `busy` makes a second reader wait that preempted the first on the same CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct path_scratch);
} iterator_scratch SEC(".maps");

/* Not inlined, so that BTF knows the records and a test can compare them with user space's. */
static __noinline long write_task(struct seq_file *seq, struct task_record *record)
{
	return bpf_seq_write(seq, record, sizeof(*record));
}

static __noinline long write_end_record(struct seq_file *seq, struct end_record *record)
{
	return bpf_seq_write(seq, record, sizeof(*record));
}

static __always_inline void write_end(struct bpf_iter_meta *meta, __u64 records)
{
	struct end_record end = { .kind = RECORD_END, .size = sizeof(end), .records = records };

	write_end_record(meta->seq, &end);
}

/*
 * May mappings of `vma` be told of `process`? A walk holds on to the memory it began with, so
 * after an exec it goes on through the old program's; and during an exec the memory is the new
 * program's while exec id, registers, or both are still the old one's.
 */
static __always_inline bool belongs(struct task_struct *task, struct vm_area_struct *vma,
				    const struct ranges_key *process)
{
	if (bpf_core_field_exists(task->in_execve) && BPF_CORE_READ_BITFIELD(task, in_execve))
		return false;
	return vma->vm_mm == task->mm && runs(task, process);
}

/*
 * The process's walk is complete: what it filled becomes the active table, and stands for what the
 * ring held when it began. What found the ring full since then may be in neither.
 */
static __always_inline void publish(struct walk *walk, struct counters *counters)
{
	struct ranges_key key = walk->process;

	key.chunk = 0;
	struct ranges *ranges = bpf_map_lookup_elem(&executable_ranges, &key);
	if (!ranges)
		return;
	__u32 next = (ranges->active & 1) ^ 1;
	ranges->count[next] = walk->count;
	ranges->walked = 1;
	ranges->exec_pages = walk->exec_pages;
	barrier();
	*(volatile __u32 *)&ranges->active = next;
	barrier();
	if (walk->incomplete)
		return;
	*(volatile __u32 *)&ranges->recent_tail = walk->recent_head;
	if (ranges->refused != walk->refused)
		announce_full(ranges, &walk->process, counters);
}

/* Adds a range to the table the walk fills, or to the one before it there; false: no room. */
static __always_inline bool add_range(struct task_struct *task, struct walk *walk, struct ranges *first,
				      __u64 page, __u64 pages, struct range_file *file,
				      struct counters *counters)
{
	__u32 filling = (first->active & 1) ^ 1;

	if (walk->count) {
		__u32 last = walk->count - 1, slot = last & (RANGES_PER_CHUNK - 1);
		struct ranges *ranges = last < RANGES_PER_CHUNK ? first :
			chunk_of(task, &walk->process, last / RANGES_PER_CHUNK, counters);
		if (!ranges)
			return false;
		__u64 range = ranges->table[filling][slot], start = range >> RANGE_LENGTH_BITS;
		if (start < page && continues(range, &ranges->files[filling][slot], page, file) &&
		    page + pages - start <= RANGE_LENGTH_MASK) {
			ranges->table[filling][slot] = start << RANGE_LENGTH_BITS | (page + pages - start);
			return true;
		}
	}
	__u32 chunk = walk->count / RANGES_PER_CHUNK, slot = walk->count & (RANGES_PER_CHUNK - 1);

	if (chunk >= RANGE_CHUNKS) {
		counters->ranges_truncated++;
		return true;
	}
	struct ranges *ranges = chunk == 0 ? first : chunk_of(task, &walk->process, chunk, counters);
	if (!ranges)
		return false;
	ranges->files[filling][slot] = *file;
	*(volatile __u64 *)&ranges->table[filling][slot] = page << RANGE_LENGTH_BITS | pages;
	walk->count++;
	return true;
}

static __always_inline void add_mapping(struct task_struct *task, struct walk *walk,
					struct vm_area_struct *vma, struct counters *counters)
{
	__u64 page = vma->vm_start >> PAGE_SHIFT, pages = (vma->vm_end - vma->vm_start) >> PAGE_SHIFT;
	struct range_file file = file_of(vma);
	struct ranges *first = chunk_of(task, &walk->process, 0, counters);

	for (int i = 0; i < MAX_SPLIT && pages; i++) {
		__u64 length = pages < RANGE_LENGTH_MASK ? pages : RANGE_LENGTH_MASK;

		if (!first || !add_range(task, walk, first, page, length, &file, counters)) {
			walk->incomplete = 1;
			return;
		}
		page += length;
		file.page_offset += length;
		pages -= length;
	}
	if (pages)
		counters->ranges_truncated++;
}

static __always_inline bool same_process(const struct ranges_key *a, const struct ranges_key *b)
{
	return a->tgid == b->tgid && a->start_time == b->start_time && a->exec_id == b->exec_id;
}

/* Notes where the ring of the walk's process stands. The walk holds the mmap_lock, so nothing is
 * being mapped at this moment; what is mapped after it will not be dropped with the walk's end. */
static __always_inline void begin(struct walk *walk, struct task_struct *task)
{
	struct ranges *first = ranges_of(&walk->process);

	walk->recent_head = walk->refused = 0;
	walk->exec_pages = task->mm->exec_vm;
	if (!first)
		return;
	walk->recent_head = first->recent_head;
	walk->refused = first->refused;
	first->sealed = first->recent_head;
}

/* The session's walk, moved on to `process`; 0 when the map refuses. */
static __always_inline struct walk *walk_of(__u64 session, struct task_struct *task,
					    struct ranges_key *process, struct counters *counters)
{
	struct walk *walk = bpf_map_lookup_elem(&walks, &session);

	if (!walk) {
		struct walk fresh = { .process = *process };

		begin(&fresh, task);
		bpf_map_update_elem(&walks, &session, &fresh, BPF_ANY);
		return bpf_map_lookup_elem(&walks, &session);
	}
	if (!same_process(&walk->process, process)) {
		publish(walk, counters);
		walk->process = *process;
		walk->count = walk->incomplete = 0;
		begin(walk, task);
	}
	return walk;
}

static __always_inline void describe_file(struct mapping_record *record, struct vm_area_struct *vma,
					  struct file *file)
{
	struct inode *inode = file->f_inode;
	struct super_block *sb = inode->i_sb;

	record->offset = vma->vm_pgoff << PAGE_SHIFT;
	record->inode = inode->i_ino;
	record->file_size = inode->i_size;
	record->device = sb->s_dev;
	record->fs_magic = sb->s_magic;
}

static __always_inline void write_mapping(struct seq_file *seq, struct vm_area_struct *vma,
					  struct path_scratch *s, struct ranges_key *process)
{
	struct mapping_record *record = &s->record;
	struct file *file = vma->vm_file;
	__u64 flags = vma->vm_flags;
	long length = 0;

	__builtin_memset(record, 0, sizeof(*record));
	record->kind = RECORD_MAPPING;
	record->tgid = process->tgid;
	record->start_time = process->start_time;
	record->exec_id = process->exec_id;
	record->start = vma->vm_start;
	record->end = vma->vm_end;
	record->file = file_number(vma);
	record->flags = (flags & VM_WRITE ? MAPPING_WRITABLE : 0) | (flags & VM_SHARED ? MAPPING_SHARED : 0);
	if (file) {
		describe_file(record, vma, file);
		length = bpf_d_path(&file->f_path, s->path, sizeof(s->path));
		if (length < 0) {
			record->flags |= MAPPING_PATH_TRUNCATED;
			length = 0;
		}
	} else {
		record->flags |= MAPPING_ANONYMOUS;
		if (vma->vm_start == (__u64)vma->vm_mm->context.vdso)
			record->flags |= MAPPING_VDSO;
	}
	if (length > 0)
		length--;	/* the NUL */
	length &= PATH_LENGTH - 1;
	record->size = sizeof(*record) + length;
	bpf_seq_write(seq, record, sizeof(*record));
	if (length)
		bpf_seq_write(seq, s->path, length);
}

/* Executable mappings, of all processes or of the one its link names; also what fills the
 * executable ranges. Ranges change only when the walk of their process is complete. */
SEC("iter/task_vma")
int task_vma(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	__u64 session = ctx->meta->session_id;
	struct counters *counters = my_counters();
	__u32 zero = 0;

	if (!counters)
		return 0;
	if (!task || !vma) {
		struct walk *walk = bpf_map_lookup_elem(&walks, &session);
		__u64 records = walk ? walk->records : 0;

		if (walk)
			publish(walk, counters);
		bpf_map_delete_elem(&walks, &session);
		write_end(ctx->meta, records);
		return 0;
	}
	if (task->pid != task->tgid)
		return 0;

	struct ranges_key process = process_of(task);
	struct path_scratch *s = bpf_map_lookup_elem(&iterator_scratch, &zero);
	if (!process.tgid || !s || !belongs(task, vma, &process))
		return 0;
	struct walk *walk = walk_of(session, task, &process, counters);
	if (!walk || !(vma->vm_flags & VM_EXEC))
		return 0;
	if (__sync_val_compare_and_swap(&s->busy, 0, 1) != 0)
		return SHOW_AGAIN;
	write_mapping(ctx->meta->seq, vma, s, &process);
	s->busy = 0;
	add_mapping(task, walk, vma, counters);
	walk->records++;
	return 0;
}

SEC("iter/task")
int task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_record record = { .kind = RECORD_TASK, .size = sizeof(record) };

	if (!task) {
		write_end(ctx->meta, ctx->meta->seq_num);
		return 0;
	}
	if (task->pid != task->tgid)
		return 0;
	struct ranges_key process = process_of(task);
	if (!process.tgid)
		return 0;
	record.tgid = process.tgid;
	record.tid = number_of(task->thread_pid);
	record.start_time = process.start_time;
	record.exec_id = process.exec_id;
	record.cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	record.parent_tgid = tgid_of(task->real_parent);
	record.uid = task->real_cred->uid.val;
	record.kernel_thread = (task->flags & PF_KTHREAD) != 0;
	__builtin_memcpy(record.comm, task->comm, COMM_LENGTH);
	write_task(ctx->meta->seq, &record);
	return 0;
}

/* Functions of kernel, modules and BPF programs, one line each: signed offset from _text, type,
 * name, module. The iterator shows addresses whatever kptr_restrict says, so none is printed. */
SEC("iter/ksym")
int ksym(struct bpf_iter__ksym *ctx)
{
	struct kallsym_iter *symbol = ctx->ksym;
	__u32 zero = 0;
	__u64 *base = bpf_map_lookup_elem(&kernel_base, &zero);

	if (!symbol || !base || !*base)
		return 0;
	char type = symbol->type;
	if (type != 't' && type != 'T' && type != 'w' && type != 'W')
		return 0;
	__s64 offset = symbol->value - *base;
	if (symbol->module_name[0])
		BPF_SEQ_PRINTF(ctx->meta->seq, "%lld %c %s [%s]\n", offset, type, symbol->name, symbol->module_name);
	else
		BPF_SEQ_PRINTF(ctx->meta->seq, "%lld %c %s [vmlinux]\n", offset, type, symbol->name);
	return 0;
}
