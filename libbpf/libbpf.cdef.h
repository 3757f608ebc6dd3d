/* SPDX-License-Identifier: Apache-2.0 */
/* What Python may call, and no more. bpf/abi.h is read after this file. */

/* --- objects: the loader's half --------------------------------------------------------- */

struct bpf_object;
struct bpf_program;
struct bpf_map;
struct bpf_link;

struct bpf_object *pa_object_open(const char *name);
int bpf_object__load(struct bpf_object *object);
void bpf_object__close(struct bpf_object *object);

struct bpf_program *bpf_object__find_program_by_name(const struct bpf_object *object, const char *name);
struct bpf_program *bpf_object__next_program(const struct bpf_object *object, struct bpf_program *previous);
const char *bpf_program__name(const struct bpf_program *program);
int bpf_program__fd(const struct bpf_program *program);

struct bpf_map *bpf_object__next_map(const struct bpf_object *object, const struct bpf_map *previous);
const char *bpf_map__name(const struct bpf_map *map);
bool bpf_map__is_internal(const struct bpf_map *map);
int bpf_map__fd(const struct bpf_map *map);
int bpf_map__reuse_fd(struct bpf_map *map, int fd);
int bpf_map__set_max_entries(struct bpf_map *map, uint32_t max_entries);
int pa_set_constant(struct bpf_object *object, const char *name, const void *value, size_t size);

struct bpf_link *bpf_program__attach(const struct bpf_program *program);
struct bpf_link *bpf_program__attach_perf_event(const struct bpf_program *program, int perf_fd);
int bpf_link__fd(const struct bpf_link *link);
int bpf_link__destroy(struct bpf_link *link);

int bpf_obj_pin(int fd, const char *path);
int bpf_map_freeze(int fd);
int pa_perf_event_open(int cpu, uint64_t period);

/* libbpf's log of the last failing call, bounded; pa_log_clear empties it. */
const char *pa_log(void);
void pa_log_clear(void);

/* --- maps, iterators, ring buffers: both halves ------------------------------------------ */

int pa_obj_get(const char *path, uint32_t file_flags);
int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags);
int bpf_map_delete_elem(int fd, const void *key);
int pa_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, uint32_t *count);
int pa_map_delete_batch(int fd, const void *keys, uint32_t *count);
int pa_map_update_batch(int fd, const void *keys, const void *values, uint32_t *count);
/* Up to *count keys after the key `after`, or from the first on; *count becomes how many. */
int pa_map_keys(int fd, const void *after, void *keys, size_t key_size, uint32_t *count);

/* out: id, key size, value size, max_entries */
int pa_map_info(int fd, uint32_t out[4]);

int pa_iterator_open(int program_fd, uint32_t tid);
int libbpf_num_possible_cpus(void);

struct ring_buffer;
struct ring_buffer *pa_ring_open(int map_fd);
int pa_ring_read(struct ring_buffer *ring, void *out, size_t size);
void ring_buffer__free(struct ring_buffer *ring);

/* --- what is built in ------------------------------------------------------------------ */

const char *pa_object_sha256(const char *name);
const char *pa_object_name(int index);
const char *pa_abi_sha256(void);
const char *pa_libbpf_version(void);
