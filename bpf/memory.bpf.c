// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Bytes of executables that are mapped, for who cannot open their files. Who asks is not trusted:
 * all that decides stands here. It gives bytes of a file, never of a process: nothing that was
 * ever written to, nothing shared, and only of an ELF file that the process also executes.
 *
 * An iterator over tasks, never over mappings: that one holds the mmap lock while the program
 * runs, the copy takes it again, and a writer queued between the two stops the process for good
 * (linux 6.1 to 7.2). Here the lock is only tried, and given back before the copy.
 */
#include "identity.h"
#include "dumpable.h"

#define VM_MAYSHARE 0x80		/* include/linux/mm.h; all that MAP_SHARED of a read-only file leaves */
#define VM_PFNMAP 0x400
#define VM_IO 0x4000
#define ELF_MAGIC 0x464c457f	/* as read by a little-endian CPU */
#define SECOND 1000000000ULL
#define PACE (SECOND / MEMORY_PER_SECOND)
#define SLOTS 8
#define TRIES 4

struct answer {
	__u32 busy;
	__u32 reserved;
	struct memory_record record;
	char bytes[MEMORY_BYTES];
};

/* session's low bits -> where its answer is put together. Not per CPU: the copy may sleep. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct answer);
} answers SEC(".maps");

/* What the answer depends on. The first three are pointers that are only compared. */
struct seen {
	void *mm;
	struct inode *inode;
	void *anon_vma;
	__u64 start;
	__u64 end;
	__u64 flags;
	__u64 page;
};

static long see(struct task_struct *task, struct vm_area_struct *vma, void *context)
{
	struct seen *seen = context;
	struct file *file = vma->vm_file;

	seen->mm = vma->vm_mm;
	seen->anon_vma = vma->anon_vma;
	seen->start = vma->vm_start;
	seen->end = vma->vm_end;
	seen->flags = vma->vm_flags;
	seen->page = vma->vm_pgoff;
	if (file)
		seen->inode = file->f_inode;
	return 0;
}

/* The mapping at an address. bpf_find_vma only tries the lock. */
static __always_inline __u32 look(struct task_struct *task, __u64 address, struct seen *seen)
{
	__builtin_memset(seen, 0, sizeof(*seen));
	switch (bpf_find_vma(task, address, see, seen, 0)) {
	case 0: return MEMORY_READ;
	case -EBUSY: return MEMORY_DENIED_BUSY;
	}
	return MEMORY_DENIED_UNMAPPED;
}

static __always_inline bool same(const struct seen *a, const struct seen *b)
{
	return a->mm == b->mm && a->inode == b->inode && a->anon_vma == b->anon_vma &&
	       a->start == b->start && a->end == b->end && a->flags == b->flags && a->page == b->page;
}

/* One word says it all: when the bucket would be full again. The rest is compare and exchange. */
static __always_inline bool take_token(void)
{
	__u32 zero = 0;
	__u64 *rate = bpf_map_lookup_elem(&memory_rate, &zero);
	__u64 now = bpf_ktime_get_ns();

	if (!rate)
		return false;
	for (int i = 0; i < TRIES; i++) {
		__u64 before = *(volatile __u64 *)rate;
		__u64 after = (before > now ? before : now) + PACE;

		if (after > now + MEMORY_BURST * PACE)
			return false;
		if (__sync_val_compare_and_swap(rate, before, after) == before)
			return true;
	}
	return false;
}

/* During an exec the memory is the new program's already and the exec id still the old one's. */
static __always_inline bool is_process(struct task_struct *task, const struct memory_request *request)
{
	struct ranges_key process = process_of(task);

	if (bpf_core_field_exists(task->in_execve) && BPF_CORE_READ_BITFIELD(task, in_execve))
		return false;
	return process.tgid && process.tgid == request->tgid && process.start_time == request->start_time &&
	       process.exec_id == request->exec_id;
}

/* Who may be read at all. Refused without looking at the process, but for the last. */
static __always_inline __u32 refuse_process(struct task_struct *task, const struct memory_request *request)
{
	__u64 end = request->address + request->length;

	if (!request->length || request->length > MEMORY_BYTES || end < request->address)
		return MEMORY_DENIED_LENGTH;
	if (!is_process(task, request))
		return MEMORY_DENIED_PROCESS;
	if (task->flags & PF_KTHREAD || !task->mm)
		return MEMORY_DENIED_KERNEL_THREAD;
	if (!take_token())
		return MEMORY_DENIED_RATE;
	return is_dumpable(task) ? MEMORY_READ : MEMORY_DENIED_NOT_DUMPABLE;
}

static __always_inline __u32 refuse_mapping(const struct seen *seen, const struct seen *executable,
					    const struct memory_request *request)
{
	if (!seen->inode)
		return MEMORY_DENIED_ANONYMOUS;
	if (seen->inode != executable->inode || seen->mm != executable->mm)
		return MEMORY_DENIED_OTHER_FILE;
	if (seen->flags & VM_WRITE)
		return MEMORY_DENIED_WRITABLE;
	if (seen->flags & (VM_SHARED | VM_MAYSHARE))
		return MEMORY_DENIED_SHARED;
	if (seen->flags & (VM_IO | VM_PFNMAP))
		return MEMORY_DENIED_SPECIAL;
	if (seen->anon_vma)
		return MEMORY_DENIED_PRIVATE;
	return request->length > seen->end - request->address ? MEMORY_DENIED_OUTSIDE : MEMORY_READ;
}

/* Is the file an ELF file, by the 4 bytes it begins with? */
static __always_inline __u32 refuse_file(struct task_struct *task, const struct seen *executable,
					 const struct memory_request *request)
{
	struct seen header;
	__u32 magic = 0, denial = look(task, request->header, &header);

	if (denial)
		return denial;
	if (header.inode != executable->inode || header.start != request->header || header.page ||
	    header.flags & (VM_WRITE | VM_SHARED | VM_MAYSHARE | VM_IO | VM_PFNMAP) || header.anon_vma)
		return MEMORY_DENIED_NOT_ELF;
	if (bpf_copy_from_user_task(&magic, sizeof(magic), (void *)request->header, task, 0))
		return MEMORY_DENIED_UNREADABLE;
	return magic == ELF_MAGIC ? MEMORY_READ : MEMORY_DENIED_NOT_ELF;
}

/* Copies what is asked for, unless something speaks against it. What was looked at may change
 * until it is copied, so it is looked at again. */
static __always_inline __u32 read_checked(struct task_struct *task, const struct memory_request *request,
					  struct answer *answer)
{
	struct seen executable, before, after;
	__u32 denial = refuse_process(task, request);
	__u64 length = request->length;

	if (denial || (denial = look(task, request->executable, &executable)))
		return denial;
	if (!(executable.flags & VM_EXEC) || !executable.inode)
		return MEMORY_DENIED_NOT_EXECUTABLE;
	if ((denial = look(task, request->address, &before)))
		return denial;
	if ((denial = refuse_mapping(&before, &executable, request)))
		return denial;
	if ((denial = refuse_file(task, &executable, request)))
		return denial;
	barrier_var(length);	/* which the verifier lost sight of */
	if (length > MEMORY_BYTES ||
	    bpf_copy_from_user_task(answer->bytes, length, (void *)request->address, task, 0))
		return MEMORY_DENIED_UNREADABLE;
	if ((denial = look(task, request->address, &after)))
		return denial;
	return same(&before, &after) && is_process(task, request) && is_dumpable(task)
		       ? MEMORY_READ
		       : MEMORY_DENIED_CHANGED;
}

/* Other readers may be on this CPU: the program is preempted, and sleeps. */
static __always_inline void count(__u32 status, __u32 length)
{
	struct counters *counters = my_counters();

	if (!counters || status >= MEMORY_STATUSES)
		return;
	__sync_fetch_and_add(&counters->memory_read + status, 1);
	if (status == MEMORY_READ)
		__sync_fetch_and_add(&counters->memory_bytes, length);
}

static __always_inline void take_request(struct memory_request *request, const struct memory_request *shared)
{
	const volatile struct memory_request *from = shared;

	request->tgid = from->tgid;
	request->start_time = from->start_time;
	request->exec_id = from->exec_id;
	request->executable = from->executable;
	request->header = from->header;
	request->address = from->address;
	request->length = from->length;
}

/* Answers what stands in `memory_request`, of the one thread that the link names. */
SEC("iter.s/task")
int read_memory(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 zero = 0, slot = ctx->meta->session_id & (SLOTS - 1);
	struct memory_request request, *shared = bpf_map_lookup_elem(&memory_request, &zero);
	struct answer *answer = bpf_map_lookup_elem(&answers, &slot);

	if (!task || !shared || !answer)
		return 0;
	take_request(&request, shared);
	if (__sync_val_compare_and_swap(&answer->busy, 0, 1) != 0) {
		struct memory_record record = { .kind = RECORD_MEMORY, .size = sizeof(record),
						.status = MEMORY_DENIED_BUSY };

		bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
		count(MEMORY_DENIED_BUSY, 0);
		return 0;
	}
	__u32 status = read_checked(task, &request, answer);
	__u64 length = status == MEMORY_READ ? request.length : 0;

	answer->record.kind = RECORD_MEMORY;
	answer->record.status = status;
	answer->record.size = sizeof(answer->record) + length;
	barrier_var(length);
	if (length <= MEMORY_BYTES)
		bpf_seq_write(ctx->meta->seq, &answer->record, sizeof(answer->record) + length);
	answer->busy = 0;
	count(status, length);
	return 0;
}
