// SPDX-License-Identifier: Apache-2.0
/*
 * The unwinder on this machine: reads cases from standard input, walks each, and writes a line with
 * what came of it. Maps and memory are those of the case. tests/stacks/walker.py builds, feeds and
 * reads this; what is allocated here has exactly the size the kernel gives it, so that the address
 * sanitizer sees every step beside it.
 *
 * A case: struct head, then the ranges, files, tables, chunks and memory areas it counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unwind.h"

#define MANY 20000
#define AREAS 64

/* What happens to a chunk while it is searched. */
enum fault {
	FAULT_NONE,
	FAULT_LAST_KEY,		/* its last key is another's */
	FAULT_FIRST_KEY,
	FAULT_GONE,		/* it is not found, though it was there before */
};

struct head {
	__u64 ip, sp, fp;
	__u32 flags;
	__u32 ranges, files, tables, chunks, areas;
	__u32 fault, fault_at;	/* at this lookup of a chunk, the first is 1 */
};

struct case_range {
	__u64 start, end, file, offset;
};

struct case_file {
	__u64 file;
	__u32 table, reserved;
};

struct case_table {
	__u32 table, page_shift;
};

struct area {
	__u64 start, size;
	unsigned char *bytes;
};

static struct head head;
static struct recent_rules *remembered;
static struct ranges *chunks_of_ranges[RANGE_CHUNKS];
static struct case_file *files;
static struct executable *slots;
static struct unwind_chunk **chunks;
static struct area areas[AREAS];
static __u32 lookups;
static struct unwind_key keys[MANY];
static __u64 unreadable;

static void take(void *to, size_t size)
{
	if (size && fread(to, size, 1, stdin) != 1) {
		fprintf(stderr, "a case ends in its middle\n");
		exit(2);
	}
}

static void *take_new(size_t size)
{
	void *bytes = malloc(size ? size : 1);

	take(bytes, size);
	return bytes;
}

static int by_key(const void *a, const void *b)
{
	const struct unwind_key *key = a;
	const struct unwind_chunk *chunk = *(struct unwind_chunk *const *)b;

	if (key->table != chunk->key.table)
		return key->table < chunk->key.table ? -1 : 1;
	return (key->page > chunk->key.page) - (key->page < chunk->key.page);
}

static void *lookup_chunk(const void *key)
{
	const struct unwind_key *wanted = key;
	struct unwind_chunk **found = bsearch(key, chunks, head.chunks, sizeof(*chunks), by_key);

	if (lookups < MANY)
		keys[lookups] = *wanted;
	lookups++;
	if (!found || lookups != head.fault_at)
		return found ? *found : 0;
	if (head.fault == FAULT_LAST_KEY)
		(*found)->key_again.page ^= 8;
	if (head.fault == FAULT_FIRST_KEY)
		(*found)->key.table ^= 1 << EXECUTABLE_BITS;
	return head.fault == FAULT_GONE ? 0 : *found;
}

static void *lookup_file(const void *key)
{
	for (__u32 i = 0; i < head.files; i++)
		if (!memcmp(&files[i].file, key, sizeof(__u64)))
			return &files[i].table;
	return 0;
}

void *bpf_map_lookup_elem(const void *map, const void *key)
{
	__u32 index;

	if (map == &unwind_chunks)
		return lookup_chunk(key);
	if (map == &file_tables)
		return lookup_file(key);
	if (map == &recent_rules)
		return remembered;
	if (map == &executables) {
		memcpy(&index, key, sizeof(index));
		return index < EXECUTABLES ? &slots[index] : 0;
	}
	if (map == &executable_ranges) {
		index = ((const struct ranges_key *)key)->chunk;
		return index < RANGE_CHUNKS ? chunks_of_ranges[index] : 0;
	}
	abort();
}

long bpf_map_delete_elem(const void *map, const void *key)
{
	abort();
}

long bpf_probe_read_user(void *to, __u32 size, const void *from)
{
	__u64 start = (__u64)from;

	for (__u32 i = 0; i < head.areas; i++) {
		__u64 within = start - areas[i].start;

		if (start >= areas[i].start && within <= areas[i].size && size <= areas[i].size - within) {
			memcpy(to, areas[i].bytes + within, size);
			return 0;
		}
	}
	if (!unreadable)
		unreadable = start;
	memset(to, 0, size);
	return -14;
}

long bpf_loop(__u32 rounds, void *step, void *context, __u64 flags)
{
	long (*call)(__u32, void *) = step;
	__u32 i;

	for (i = 0; i < rounds; i++)
		if (call(i, context))
			return i + 1;
	return i;
}

static void add_range(const struct case_range *range, __u32 index)
{
	struct ranges *chunk = chunks_of_ranges[index / RANGES_PER_CHUNK];
	__u32 at = index % RANGES_PER_CHUNK;

	if (!chunk) {
		chunk = calloc(1, sizeof(*chunk));
		chunks_of_ranges[index / RANGES_PER_CHUNK] = chunk;
	}
	chunk->table[0][at] = range->start >> PAGE_SHIFT << RANGE_LENGTH_BITS |
			      (range->end - range->start) >> PAGE_SHIFT;
	chunk->files[0][at].file = range->file;
	chunk->files[0][at].page_offset = range->offset >> PAGE_SHIFT;
}

static void take_ranges(void)
{
	chunks_of_ranges[0] = calloc(1, sizeof(struct ranges));
	for (__u32 i = 0; i < head.ranges; i++) {
		struct case_range range;

		take(&range, sizeof(range));
		if (i < RANGE_CHUNKS * RANGES_PER_CHUNK)
			add_range(&range, i);
	}
	chunks_of_ranges[0]->count[0] = head.ranges;
}

static void take_tables(void)
{
	slots = calloc(EXECUTABLES, sizeof(*slots));
	for (__u32 i = 0; i < head.tables; i++) {
		struct case_table table;

		take(&table, sizeof(table));
		slots[table.table & (EXECUTABLES - 1)].table = table.table;
		slots[table.table & (EXECUTABLES - 1)].page_shift = table.page_shift;
	}
}

static void take_chunks(void)
{
	chunks = calloc(head.chunks + 1, sizeof(*chunks));
	for (__u32 i = 0; i < head.chunks; i++) {
		chunks[i] = malloc(sizeof(struct unwind_chunk));
		memset(chunks[i], 0, sizeof(struct unwind_chunk));
		take(chunks[i], __builtin_offsetof(struct unwind_chunk, key_again));
		chunks[i]->key_again = chunks[i]->key;
	}
}

static void take_areas(void)
{
	for (__u32 i = 0; i < head.areas; i++) {
		if (i == AREAS)
			exit(2);
		take(&areas[i], 2 * sizeof(__u64));
		areas[i].bytes = take_new(areas[i].size);
	}
}

static void drop(void)
{
	for (__u32 i = 0; i < RANGE_CHUNKS; i++) {
		free(chunks_of_ranges[i]);
		chunks_of_ranges[i] = 0;
	}
	for (__u32 i = 0; i < head.chunks; i++)
		free(chunks[i]);
	for (__u32 i = 0; i < head.areas; i++)
		free(areas[i].bytes);
	free(chunks);
	free(slots);
	free(files);
}

static void tell(const struct unwinding *u)
{
	__u32 seen = lookups < MANY ? lookups : MANY;

	printf("{\"end\": %u, \"by_row\": %u, \"by_frame_pointer\": %u, \"unreadable\": %llu, \"frames\": [",
	       u->stack.end, u->by_row, u->by_frame_pointer, unreadable);
	for (__u32 i = 0; i < u->stack.length; i++)
		printf("%s%llu", i ? "," : "", u->stack.addresses[i]);
	printf("], \"chunks\": [");
	for (__u32 i = 0; i < seen; i++)
		printf("%s[%u,%u]", i ? "," : "", keys[i].table, keys[i].page);
	printf("]}\n");
}

static void walk(struct unwinding *u)
{
	memset(u, 0, sizeof(*u));
	u->stack.end = ~0U;
	u->ip = head.ip;
	u->sp = head.sp;
	u->fp = head.fp;
	u->flags = head.flags;
	begin(u, 1);
	u->owner = u->process;
	unwind_stack(u, ranges_of(&u->owner));
}

/* Walks twice: what is remembered of the first time must make no difference to the second. */
static void answer(void)
{
	struct unwinding *u = malloc(sizeof(*u)), *again = malloc(sizeof(*u));

	remembered = calloc(1, sizeof(*remembered));
	walk(u);
	tell(u);
	walk(again);
	if (!head.fault && memcmp(&u->stack, &again->stack, sizeof(u->stack))) {
		fprintf(stderr, "the second walk differs\n");
		exit(3);
	}
	free(remembered);
	free(again);
	free(u);
}

int main(void)
{
	while (fread(&head, sizeof(head), 1, stdin) == 1) {
		lookups = 0;
		unreadable = 0;
		take_ranges();
		files = take_new(head.files * sizeof(*files));
		take_tables();
		take_chunks();
		take_areas();
		answer();
		drop();
		fflush(stdout);
	}
	return 0;
}
