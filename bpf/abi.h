/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Everything that crosses between the kernel programs and user space: every constant, enum
 * and struct, once. clang reads this file through agent.h, cffi reads the same bytes, and a
 * test compares the layouts the two made of it. So it keeps to what cffi's parser accepts:
 * no include guard, no expression in a #define, no static assert (those are in agent.h).
 *
 * tgid and tid are numbers at the agent's pid namespace level. Times are nanoseconds since
 * boot, suspend included (CLOCK_BOOTTIME), unless a name says otherwise.
 */

#define COMM_LENGTH 16
#define MAX_FRAMES 127
/* A process's executable ranges: chunks of a power of two, so that indexes can be masked. */
#define RANGES_PER_CHUNK 64
#define RANGE_CHUNKS 256
#define RECENT_RANGES 32
#define PATH_LENGTH 4096
#define FILE_VDSO 1		/* file number of the vDSO, whatever process maps it */
/* Unwind tables. A table's number is version << EXECUTABLE_BITS | slot in `executables`. */
#define EXECUTABLES 8192
#define EXECUTABLE_BITS 13
#define UNWIND_DATA 3968	/* a chunk with its key and the kernel's header fits 4096 bytes of slab */
#define UNWIND_ROWS 1023
#define UNWIND_PARTS 8
#define UNWIND_PART_BITS 3
#define MEMORY_BYTES 4096	/* of one answer of read_memory */
#define MEMORY_PER_SECOND 256	/* answers; as many as MEMORY_BURST at once after a pause */
#define MEMORY_BURST 2048
#define MEMORY_STATUSES 19

/* Why a user stack ends where it does. */
enum stack_end {
	STACK_COMPLETE = 0,		/* the bottom was reached: frame pointer 0 */
	STACK_TRUNCATED = 1,		/* MAX_FRAMES and more to come */
	STACK_OUTSIDE_MAPPINGS = 2,	/* next address is in no recorded executable range */
	STACK_UNMAPPED_PROCESS = 3,	/* the process has no recorded ranges yet */
	STACK_UNREADABLE = 4,		/* stack memory absent or paged out */
	STACK_KERNEL = 5,		/* not a user stack: signed offsets from _text */
	STACK_BAD_FRAME_POINTER = 6,	/* frame pointer does not grow: code without one */
	STACK_NO_TABLE = 7,		/* bad frame pointer, or what it led to, in a file without a table */
	STACK_UNSUPPORTED_ROW = 8,	/* the file says what no rule expresses */
	STACK_TABLE_CHANGED = 9,	/* a chunk was replaced while it was read */
	STACK_STUCK = 10,		/* the caller's frame would not lie above */
	STACK_LOST_FRAME_POINTER = 11,	/* a row wants the frame pointer, which was lost below */
	STACK_COMPAT = 12,		/* a 32-bit process: not unwound */
};

/* How a rule finds the canonical frame address (CFA): the stack pointer before the call. */
enum unwind_cfa {
	CFA_END = 0,			/* no function here: go on by frame pointer */
	CFA_BOTTOM = 1,			/* nothing called this: the stack is complete */
	CFA_STACK = 2,			/* stack pointer + offset */
	CFA_FRAME = 3,			/* frame pointer + offset */
	CFA_PLT = 4,			/* a stub that pushes before byte `offset` of its slot */
	CFA_SIGNAL = 5,			/* the kernel's signal frame */
	CFA_UNSUPPORTED = 6,
	CFA_STACK_LOADED = 7,		/* [stack pointer + n] + m: low and high half of offset */
	CFA_FRAME_LOADED = 8,		/* [frame pointer + n] + m */
	CFA_CLONED = 9,			/* behind clone(): as on entry, in what it made the bottom */
	CFA_SWITCHED = 10,		/* by frame pointer, to another stack, which may lie below */
	CFA_REGISTER = 11,		/* a register of the leaf, its number the low half of offset, + m */
};

/* How a rule finds the caller's frame pointer. */
enum unwind_frame {
	FRAME_SAME = 0,			/* it is the present one */
	FRAME_AT = 1,			/* at CFA + frame_offset */
	FRAME_LOST = 2,
	FRAME_AT_FRAME = 3,		/* at the present one + frame_offset */
};

/* How the caller of a row's code is found. All-zero is END. */
struct unwind_rule {
	__u8 cfa;			/* enum unwind_cfa */
	__u8 frame;			/* enum unwind_frame */
	__s16 frame_offset;
	__s32 offset;
};

/* page: file offset >> the table's page_shift << UNWIND_PART_BITS | part. */
struct unwind_key {
	__u32 table;
	__u32 page;
};

/*
 * Rows of one page of a file, or of a part of it. data: `rows` starts (__u16, from the page's
 * begin, ascending; the first is where the part begins), as many rule numbers (__u8), and at the
 * end of data, growing down, the rules they number: rule r, 8 bytes, at UNWIND_DATA - 8 * (r + 1).
 * parts: where parts 1 to 7 of the page begin, 0 where there is none; in part 0 only.
 */
struct unwind_chunk {
	struct unwind_key key;		/* repeated at both ends: elements are reused while they are read */
	__u16 rows;
	__u16 parts[UNWIND_PARTS - 1];
	__u8 data[UNWIND_DATA];
	struct unwind_key key_again;
};

/* One slot of `executables`: the table that is loaded there. All of it but last_used is the
 * collector's, which also finds here after a restart what it had loaded. */
struct executable {
	__u32 table;			/* its number, 0: the slot is free */
	__u32 page_shift;
	__u64 last_used;		/* seconds of CLOCK_MONOTONIC, stamped by the unwinder */
	__u64 id[2];			/* what it was made from: 16 bytes of a SHA-256 */
	__u32 chunks;
	__u32 rows;
	__u32 version;			/* of the newest table that was ever here, for the next one */
	__u32 reserved;
};

/* Identity of one chunk of a process's executable ranges. */
struct ranges_key {
	__u32 tgid;
	__u32 chunk;
	__u64 start_time;
	__u64 exec_id;
};

/* What a range maps: file number (0: none), first page of the file, and the number of the file's
 * unwind table as the unwinder last found it (0: look it up). */
struct range_file {
	__u64 file;
	__u32 page_offset;
	__u32 table;
};

struct recent_range {
	__u64 range;
	struct range_file file;
};

/*
 * Executable ranges of a process, sorted. A range is one word, so that no reader ever sees
 * half of one:  start / 4096 in the upper 45 bits, length / 4096 in the lower 19.
 * Two tables: a walk fills the inactive one and then switches. `active` and `count` of chunk 0
 * speak for all chunks of the process. What was mapped since the walk began, or since the exec,
 * stands in `recent` of chunk 0, a ring: entries recent_tail up to recent_head count, the newest
 * first, and all of them before the table.
 */
struct ranges {
	__u32 tgid;			/* owner, as in the key: elements are reused without a grace period */
	__u32 active;
	__u64 start_time;
	__u64 exec_id;
	__u32 count[2];
	__u32 recent_head;
	__u32 recent_tail;
	__u32 refused;			/* mappings that found the ring full */
	__u32 walked;			/* the collector knows this process by a walk, */
	__u32 sampled;			/* or by a sample */
	__u32 parent_tgid;		/* these three in ended_ranges only */
	__u64 cgroup_id;
	__u32 uid;
	__u32 sealed;			/* recent_head when the newest walk began: no entry before it grows */
	__u64 asked;			/* monotonic ns of the last EVENT_MAPPED */
	__u64 exec_pages;		/* in executable mappings when the newest walk began */
	__u32 busy;			/* somebody adds to the ring */
	__u32 looked;			/* CLOCK_MONOTONIC s of the last look for a mapping that there was none */
	__u64 table[2][RANGES_PER_CHUNK];
	struct range_file files[2][RANGES_PER_CHUNK];
	struct recent_range recent[RECENT_RANGES];
};

/* One instruction pointer list, leaf first. Return addresses are as found on the stack; what a
 * signal interrupted is 1 more, so that the byte before lies in the code in each frame but the first. */
struct stack {
	__u32 length;
	__u32 end;			/* enum stack_end */
	__u64 addresses[MAX_FRAMES];
};

/* What samples are counted by. The three identity fields tell pid reuse and exec apart. */
struct sample_key {
	__u32 tgid;
	__u32 tid;			/* 0 unless threads are told apart */
	__u64 start_time;
	__u64 exec_id;
	__u64 user_stack;		/* key in stacks_N, 0: none */
	__u64 kernel_stack;		/* key in stacks_N, 0: none */
	char comm[COMM_LENGTH];
};

/* What the collector tells the programs. */
struct control {
	__u64 heartbeat;		/* CLOCK_MONOTONIC ns of the collector's last sign of life */
	__u64 sequence;			/* number of the window being filled; its low bit is the set */
};

/*
 * One counter struct per CPU. The first OUTCOMES fields are the outcomes: every sample raises
 * exactly one of them. Field names are metric names.
 */
#define OUTCOMES 10
struct counters {
	__u64 recorded;
	__u64 skipped_idle;
	__u64 skipped_no_heartbeat;
	__u64 skipped_pid_namespace;
	__u64 skipped_exiting;
	__u64 lost_stacks_full;
	__u64 lost_samples_full;
	__u64 lost_stack_collision;
	__u64 lost_map_busy;
	__u64 lost_internal;

	/* How the user stacks of recorded samples ended. */
	__u64 user_complete;
	__u64 user_truncated;
	__u64 user_outside_mappings;
	__u64 user_unmapped_process;
	__u64 user_unreadable;
	__u64 user_bad_frame_pointer;
	__u64 user_no_table;
	__u64 user_unsupported_row;
	__u64 user_table_changed;
	__u64 user_stuck;
	__u64 user_lost_frame_pointer;
	__u64 user_compat;

	/* How the callers in user stacks were found. */
	__u64 frames_by_row;
	__u64 frames_by_frame_pointer;

	/* How full the active set is: elements inserted since the load. */
	__u64 stacks_stored;
	__u64 samples_stored;

	__u64 events_sent;
	__u64 events_lost;
	__u64 ranges_truncated;
	__u64 ranges_full;

	/* What was mapped and recorded at once, and what waits for a walk. */
	__u64 ranges_recorded;
	__u64 ranges_recent_full;
	__u64 ended_ranges_full;

	/* What became of requests for memory, in the order of enum memory_denial; and bytes given. */
	__u64 memory_read;
	__u64 memory_denied_length;
	__u64 memory_denied_process;
	__u64 memory_denied_kernel_thread;
	__u64 memory_denied_rate;
	__u64 memory_denied_not_dumpable;
	__u64 memory_denied_busy;
	__u64 memory_denied_unmapped;
	__u64 memory_denied_not_executable;
	__u64 memory_denied_anonymous;
	__u64 memory_denied_other_file;
	__u64 memory_denied_writable;
	__u64 memory_denied_shared;
	__u64 memory_denied_special;
	__u64 memory_denied_private;
	__u64 memory_denied_outside;
	__u64 memory_denied_not_elf;
	__u64 memory_denied_unreadable;
	__u64 memory_denied_changed;
	__u64 memory_bytes;
};

enum event_type {
	EVENT_EXEC = 1,			/* a process runs a new program whose ranges are not recorded */
	EVENT_EXIT = 2,			/* a program run that was walked or sampled is over */
	EVENT_MISS = 3,			/* first sample of a process, or an address in no recorded range */
	EVENT_MAPPED = 4,		/* a process mapped a file nobody knows, or more than `recent` holds */
};

struct event {
	__u32 type;			/* enum event_type */
	__u32 tgid;
	__u64 start_time;
	__u64 exec_id;
};

/* Iterators write a sequence of records; each begins with its kind and its size in bytes. */
enum record_kind {
	RECORD_MAPPING = 1,
	RECORD_TASK = 2,
	RECORD_END = 3,
	RECORD_MEMORY = 4,
};

enum mapping_flag {
	MAPPING_WRITABLE = 1,
	MAPPING_SHARED = 2,
	MAPPING_ANONYMOUS = 4,
	MAPPING_VDSO = 8,
	MAPPING_PATH_TRUNCATED = 16,
};

/* An executable mapping; the path, without a NUL, follows up to `size`. */
struct mapping_record {
	__u32 kind;
	__u32 size;
	__u32 tgid;
	__u32 flags;			/* enum mapping_flag */
	__u64 start_time;
	__u64 exec_id;
	__u64 start;
	__u64 end;
	__u64 offset;			/* in the file, bytes */
	__u64 inode;
	__u64 file_size;
	__u64 fs_magic;			/* super_block.s_magic */
	__u64 file;			/* number of the file, see bpf/file.h; 0: none */
	__u32 device;			/* kernel dev_t: major << 20 | minor */
	__u32 reserved;
};

struct task_record {
	__u32 kind;
	__u32 size;
	__u32 tgid;
	__u32 tid;
	__u64 start_time;
	__u64 exec_id;
	__u64 cgroup_id;
	__u32 parent_tgid;
	__u32 uid;
	__u32 kernel_thread;
	__u32 reserved;
	char comm[COMM_LENGTH];
};

/* The last record of a complete walk: how many records went before. */
struct end_record {
	__u32 kind;
	__u32 size;
	__u64 records;
};

/* Why read_memory gave nothing. Each has a counter of its name. */
enum memory_denial {
	MEMORY_READ = 0,		/* it did give */
	MEMORY_DENIED_LENGTH = 1,	/* none, above MEMORY_BYTES, or past the end of the address space */
	MEMORY_DENIED_PROCESS = 2,	/* another process, or another program by now */
	MEMORY_DENIED_KERNEL_THREAD = 3, /* no memory: a kernel thread, or what has ended */
	MEMORY_DENIED_RATE = 4,		/* too many requests */
	MEMORY_DENIED_NOT_DUMPABLE = 5,	/* a debugger of the same user would be refused, too */
	MEMORY_DENIED_BUSY = 6,		/* somebody changes the mappings: ask again */
	MEMORY_DENIED_UNMAPPED = 7,	/* nothing is mapped at one of the three addresses */
	MEMORY_DENIED_NOT_EXECUTABLE = 8, /* `executable` is in no executable mapping of a file */
	MEMORY_DENIED_ANONYMOUS = 9,	/* `address` is in no mapping of a file */
	MEMORY_DENIED_OTHER_FILE = 10,	/* than the one at `executable` */
	MEMORY_DENIED_WRITABLE = 11,
	MEMORY_DENIED_SHARED = 12,
	MEMORY_DENIED_SPECIAL = 13,	/* of a device */
	MEMORY_DENIED_PRIVATE = 14,	/* pages may differ from the file's: relocated, written before */
	MEMORY_DENIED_OUTSIDE = 15,	/* goes on behind the end of the mapping */
	MEMORY_DENIED_NOT_ELF = 16,	/* `header` is not where the file begins, or that is no ELF header */
	MEMORY_DENIED_UNREADABLE = 17,	/* the pages cannot be had */
	MEMORY_DENIED_CHANGED = 18,	/* the mapping or the process did, meanwhile */
};

/* What the collector asks of read_memory: `length` bytes at `address` of the file of which
 * `executable` is an address in an executable mapping and `header` the address of its first byte. */
struct memory_request {
	__u64 start_time;
	__u64 exec_id;
	__u64 executable;
	__u64 header;
	__u64 address;
	__u32 length;
	__u32 tgid;
};

/* The answer; if the status is MEMORY_READ the bytes follow up to `size`. */
struct memory_record {
	__u32 kind;
	__u32 size;
	__u32 status;			/* enum memory_denial */
	__u32 reserved;
};
