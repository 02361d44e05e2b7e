/* What the files of the fake hypervisor share. */
#ifndef TESTS_FAKE_HV_INTERNAL_H
#define TESTS_FAKE_HV_INTERNAL_H

#include "tests/fake_hv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TABLE_MAX   200000
#define UPLOADS_MAX 16
#define IMAGES_MAX  64

struct script {
	char *text;
	size_t size;
	unsigned users;
};

struct stream {
	uint8_t *ring;       /* STREAM_CAPACITY bytes, NULL until there is one */
	uint64_t begin, end; /* positions kept */
	bool closed;
	struct {
		bool open;
		uint64_t done;
	} reader[STREAM_MAX_READERS];
};

struct thing { /* a guest or a snapshot */
	bool snapshot;
	struct guest_info info;
	struct script *script;
	size_t pc, progress;
	char *args;
	uint32_t args_size, argc, envc;
	struct stream stream[STREAM_COUNT];
	bool remove, paused_once, public;
	uint64_t deadline_us; /* 0: none */
	enum guest_state before_pause;
	unsigned news;
	uint64_t forks;
	uint64_t announced; /* generation + 1 that its agent was told */
};

struct image {
	struct image_info info;
	struct script *script;
};

struct upload {
	uint64_t id, size, received;
	uint16_t owner;
	char *data;
};

extern struct thing *fake_things[TABLE_MAX]; /* in the order of ids */
extern size_t fake_thing_count;
extern struct image fake_images[IMAGES_MAX];
extern size_t fake_image_count;
extern struct upload fake_uploads[UPLOADS_MAX];
extern struct host_meter_value fake_meters[METER_KINDS];
extern uint64_t fake_last_id;
extern size_t fake_log_size;

/* Sets guest_last_error(). */
int fake_fail(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t fake_now_ns(clockid_t clock);

struct thing *fake_find(uint64_t id, bool snapshot);
/* The first with a higher id. */
struct thing *fake_next(uint64_t after, bool snapshot);
struct thing *fake_named(const char *name, bool snapshot, uint16_t owner);
struct image *fake_image_named(const char *name, uint16_t owner);
void fake_script_drop(struct script *s);
void fake_image_drop(struct image *i);
void fake_tell(struct thing *g, unsigned news);
/* The guest may be gone afterwards. */
void fake_stop(struct thing *g, enum guest_stop why, const char *reason);
int fake_pause(struct thing *g, enum guest_stop why, const char *reason);
/* Bytes taken: fewer when readers hold back the rest. */
size_t fake_write(struct thing *g, enum guest_stream stream, const void *data, size_t size);

#endif
