/* Images of the fake hypervisor, and what it says of its machine. */
#include "tests/fake_hv_internal.h"

#define LOG_SIZE (64 * 1024)

struct image fake_images[IMAGES_MAX];
size_t fake_image_count;
struct upload fake_uploads[UPLOADS_MAX];
struct host_meter_value fake_meters[METER_KINDS];
size_t fake_log_size;
static char log_text[LOG_SIZE];

uint64_t fake_now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- images ---- */

static struct upload *upload_find(uint64_t id)
{
	for (int i = 0; i < UPLOADS_MAX; i++) {
		if (fake_uploads[i].id == id)
			return &fake_uploads[i];
	}
	return NULL;
}

int image_begin(uint64_t size, uint16_t owner, uint64_t *id)
{
	struct upload *u = upload_find(0);

	if (!size || size > 64 * MIB)
		return fake_fail(ERR_TOOBIG, "an image has 1 to %llu bytes, not %llu", 64 * MIB,
			(unsigned long long)size);
	if (!u)
		return fake_fail(ERR_LIMIT, "%d uploads are going on", UPLOADS_MAX);
	*u = (struct upload){
		.id = ++fake_last_id, .size = size, .owner = owner, .data = malloc(size + 1)};
	*id = u->id;
	return OK;
}

int image_append(uint64_t id, const uint8_t *data, size_t size)
{
	struct upload *u = upload_find(id);

	if (!u || size > u->size - u->received)
		return fake_fail(ERR_INVALID, "no such upload, or too much");
	memcpy(u->data + u->received, data, size);
	u->received += size;
	return OK;
}

struct image *fake_image_named(const char *name, uint16_t owner)
{
	for (size_t i = 0; i < fake_image_count; i++) {
		if (fake_images[i].info.owner == owner && !strcmp(fake_images[i].info.name, name))
			return &fake_images[i];
	}
	return NULL;
}

void fake_image_drop(struct image *i)
{
	fake_script_drop(i->script);
	memmove(i, i + 1, (size_t)(fake_images + fake_image_count - i - 1) * sizeof(*i));
	fake_image_count--;
}

int image_commit(uint64_t id, const char *name, uint64_t *image)
{
	struct upload *u = upload_find(id);

	if (!u || u->received != u->size)
		return fake_fail(ERR_INVALID, "the upload is not complete");
	if (memchr(u->data, 0, u->size))
		return fake_fail(ERR_INVALID, "the image is no ELF file for x86-64");
	if (fake_image_named(name, u->owner))
		fake_image_drop(fake_image_named(name, u->owner));
	struct image *i = &fake_images[fake_image_count++];

	u->data[u->size] = 0;
	*i = (struct image){.script = malloc(sizeof(struct script))};
	*i->script = (struct script){.text = u->data, .size = u->size, .users = 1};
	i->info = (struct image_info){.id = id,
		.owner = u->owner,
		.size = u->size,
		.memory = 16 * MIB,
		.pages = 12,
		.created_ns = fake_now_ns(CLOCK_REALTIME)};
	snprintf(i->info.name, sizeof(i->info.name), "%s", name);
	*image = id;
	*u = (struct upload){0};
	return OK;
}

void image_abort(uint64_t id)
{
	struct upload *u = upload_find(id);

	free(u->data);
	*u = (struct upload){0};
}

int image_next(uint64_t after, struct image_info *info)
{
	struct image *best = NULL;

	for (size_t i = 0; i < fake_image_count; i++) {
		if (fake_images[i].info.id > after &&
			(!best || fake_images[i].info.id < best->info.id))
			best = &fake_images[i];
	}
	if (!best)
		return ERR_NOENT;
	*info = best->info;
	return OK;
}

int image_remove(uint64_t id)
{
	for (size_t i = 0; i < fake_image_count; i++) {
		if (fake_images[i].info.id == id) {
			fake_image_drop(&fake_images[i]);
			return OK;
		}
	}
	return fake_fail(ERR_NOENT, "there is no image %llu", (unsigned long long)id);
}

/* ---- the host ---- */

static uint64_t frames_free = 500000, frames_total = 524288;

void fake_memory(uint64_t free, uint64_t total)
{
	frames_free = free;
	frames_total = total;
}

void host_memory(uint64_t *free, uint64_t *total)
{
	*free = frames_free;
	*total = frames_total;
}

void host_info(struct host_info *h, uint16_t owner)
{
	*h = (struct host_info){
		.version = "fake",
		.backend = "none",
		.cpu = "Pretended CPU",
		.boot_id = {0x1122334455667788u, 0x99aabbccddeeff00u},
		.cores = 2,
		.address = 0x7f000001,
		.mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56},
		.tsc_khz = 2000000,
		.uptime_ns = fake_now_ns(CLOCK_MONOTONIC),
		.wall_ns = fake_now_ns(CLOCK_REALTIME),
		.frames_total = frames_total,
		.frames_free = frames_free,
		.frames_reserve = 1024,
		.frames_data = 20000,
		.frames_host = 4288,
	};
	for (size_t i = 0; i < fake_image_count; i++)
		h->images += owner == OWNER_ANY || fake_images[i].info.owner == owner;
	for (size_t i = 0; i < fake_thing_count; i++) {
		uint64_t *by_state[] = {&h->guests, &h->guests_runnable, &h->guests_waiting,
			&h->guests_paused, &h->guests_stopped};

		if (owner != OWNER_ANY && fake_things[i]->info.owner != owner)
			continue;
		if (fake_things[i]->snapshot) {
			h->snapshots++;
			continue;
		}
		h->guests++;
		++*by_state[fake_things[i]->info.state];
	}
}

void host_meter(enum host_meter kind, struct host_meter_value *value)
{
	*value = fake_meters[kind];
}

void host_meter_reset(void)
{
	memset(fake_meters, 0, sizeof(fake_meters));
}

const char *host_meter_name(enum host_meter kind)
{
	static char name[32];

	snprintf(name, sizeof(name), "meter_%d", kind);
	return kind == METER_FORK ? "fork" : name;
}

void fake_log(const char *line)
{
	fake_log_size +=
		(size_t)snprintf(log_text + fake_log_size, LOG_SIZE - fake_log_size, "%s\n", line);
}

size_t host_log(uint64_t *seq, char *buf, size_t size)
{
	size_t n = 0;

	while (*seq < fake_log_size) {
		size_t line = (size_t)(strchr(log_text + *seq, '\n') - (log_text + *seq)) + 1;

		if (line > size - n)
			break;
		memcpy(buf + n, log_text + *seq, line);
		n += line;
		*seq += line;
	}
	return n;
}

void host_random(void *buf, size_t size)
{
	memset(buf, 0x5a, size);
}

int fake_power;

int host_power(enum host_power what)
{
	fake_power = what == HOST_REBOOT ? 1 : 2;
	return OK;
}

uint64_t host_wall_ns(void)
{
	return fake_now_ns(CLOCK_REALTIME);
}

uint64_t host_now_us(void)
{
	return fake_now_ns(CLOCK_MONOTONIC) / 1000;
}
