/* SPDX-License-Identifier: Apache-2.0 */
/* Where a libbpf call wants a struct, a varargs callback or a raw system call, a few lines of C. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/perf_event.h>
#include <linux/types.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include "abi.h"
#include "embedded_objects.h"	/* made by libbpf/embed.py: struct embedded objects[], abi_sha256 */

/* --- libbpf's log: the head says what failed, the tail is the verifier's verdict ---------- */

#define LOG_SIZE 65536
static char log_text[LOG_SIZE];
static size_t log_used;

/* Appends to the log; what does not fit goes from the front. A verifier's log may be long. */
static int keep_log(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char *text;
	int length = level == LIBBPF_DEBUG ? 0 : vasprintf(&text, format, arguments);

	if (length <= 0)
		return 0;
	size_t added = length < LOG_SIZE - 1 ? length : LOG_SIZE - 1;
	size_t kept = log_used < LOG_SIZE - 1 - added ? log_used : LOG_SIZE - 1 - added;
	memmove(log_text, log_text + log_used - kept, kept);
	memcpy(log_text + kept, text + length - added, added);
	log_used = kept + added;
	free(text);
	return length;
}

static const char *pa_log(void) { log_text[log_used] = '\0'; return log_text; }
static void pa_log_clear(void) { log_used = 0; }

/* --- objects ---------------------------------------------------------------------------- */

static const struct embedded *find_object(const char *name)
{
	for (const struct embedded *object = objects; object->name; object++)
		if (!strcmp(object->name, name))
			return object;
	errno = ENOENT;
	return NULL;
}

static struct bpf_object *pa_object_open(const char *name)
{
	const struct embedded *object = find_object(name);
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name);

	libbpf_set_print(keep_log);
	return object ? bpf_object__open_mem(object->bytes, object->size, &options) : NULL;
}

static const char *pa_object_sha256(const char *name)
{
	const struct embedded *object = find_object(name);
	return object ? object->sha256 : NULL;
}

static const char *pa_object_name(int index)
{
	return objects[index].name;	/* the table ends with a NULL name */
}

static const char *pa_abi_sha256(void) { return abi_sha256; }
static const char *pa_libbpf_version(void) { return libbpf_version_string(); }

static struct bpf_map *constants_of(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
		if (bpf_map__is_internal(map) && strstr(bpf_map__name(map), ".rodata"))
			return map;
	return NULL;
}

/* Writes a `const volatile` variable of an opened, not yet loaded object, found by its BTF. */
static int pa_set_constant(struct bpf_object *object, const char *name, const void *value, size_t size)
{
	const struct btf *btf = bpf_object__btf(object);
	struct bpf_map *map = constants_of(object);
	int section = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	size_t total;
	char *bytes = map ? bpf_map__initial_value(map, &total) : NULL;

	errno = ENOENT;
	if (!bytes || section < 0)
		return -1;
	const struct btf_type *type = btf__type_by_id(btf, section);
	const struct btf_var_secinfo *variable = btf_var_secinfos(type);
	for (int i = 0; i < btf_vlen(type); i++, variable++) {
		const struct btf_type *of = btf__type_by_id(btf, variable->type);
		if (strcmp(btf__name_by_offset(btf, of->name_off), name))
			continue;
		if (variable->size != size || variable->offset + size > total) {
			errno = EINVAL;
			return -1;
		}
		memcpy(bytes + variable->offset, value, size);
		return 0;
	}
	return -1;
}

static int pa_perf_event_open(int cpu, uint64_t period)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = period,	/* ns of CPU time of the clock */
		.exclude_idle = 1,
	};
	return syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/* --- maps, iterators, ring buffers ------------------------------------------------------- */

static int pa_obj_get(const char *path, uint32_t file_flags)
{
	LIBBPF_OPTS(bpf_obj_get_opts, options, .file_flags = file_flags);
	return bpf_obj_get_opts(path, &options);
}

static int pa_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, uint32_t *count)
{
	return bpf_map_lookup_batch(fd, in, out, keys, values, count, NULL);
}

static int pa_map_delete_batch(int fd, const void *keys, uint32_t *count)
{
	return bpf_map_delete_batch(fd, keys, count, NULL);
}

static int pa_map_update_batch(int fd, const void *keys, const void *values, uint32_t *count)
{
	return bpf_map_update_batch(fd, keys, values, count, NULL);
}

static int pa_map_keys(int fd, const void *after, void *keys, size_t key_size, uint32_t *count)
{
	uint32_t limit = *count;
	char *next = keys;

	for (*count = 0; *count < limit; ++*count, after = next, next += key_size)
		if (bpf_map_get_next_key(fd, after, next))
			return errno == ENOENT ? 0 : -1;
	return 0;
}

static int pa_map_info(int fd, uint32_t out[4])
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);
	int error = bpf_map_get_info_by_fd(fd, &info, &size);

	if (error)
		return error;
	out[0] = info.id;
	out[1] = info.key_size;
	out[2] = info.value_size;
	out[3] = info.max_entries;
	return 0;
}

/* A readable descriptor of an iterator program: of one thread, or of everything when tid is 0. */
static int pa_iterator_open(int program_fd, uint32_t tid)
{
	union bpf_iter_link_info info = { .task.tid = tid };
	LIBBPF_OPTS(bpf_link_create_opts, options);
	int link, iterator, error;

	if (tid) {
		options.iter_info = &info;
		options.iter_info_len = sizeof(info);
	}
	link = bpf_link_create(program_fd, 0, BPF_TRACE_ITER, &options);
	if (link < 0)
		return link;
	iterator = bpf_iter_create(link);
	error = errno;
	close(link);
	errno = error;
	return iterator;
}

struct ring_output {
	unsigned char *bytes;
	size_t size, used;
};
static struct ring_output output;	/* one reader a process: the collector's main loop */

/* Called for each record; a non-zero answer stops before the next one is consumed. */
static int copy_record(void *context, void *record, size_t size)
{
	(void)context;
	if (size > output.size - output.used)
		return -ENOSPC;
	memcpy(output.bytes + output.used, record, size);
	output.used += size;
	return output.size - output.used < size ? -ENOSPC : 0;
}

static struct ring_buffer *pa_ring_open(int map_fd)
{
	return ring_buffer__new(map_fd, copy_record, NULL, NULL);
}

/* Moves records of equal size into `out`; the number of bytes, or -errno. */
static int pa_ring_read(struct ring_buffer *ring, void *out, size_t size)
{
	output = (struct ring_output){ .bytes = out, .size = size };
	int result = ring_buffer__consume(ring);
	return result < 0 && result != -ENOSPC ? result : (int)output.used;
}
