/* The split virtqueue; see virtqueue.h. */
#include "drivers/virtio/virtqueue.h"

void virtq_init(struct virtq *q, uint16_t size, void *memory)
{
	uint8_t *at = memory;

	*q = (struct virtq){
		.desc = memory,
		.avail = (struct virtq_avail *)(at + VIRTQ_AVAIL_OFFSET(size)),
		.used = (struct virtq_used *)(at + VIRTQ_USED_OFFSET(size)),
		.size = size,
		.free_count = size,
	};
	for (uint16_t i = 0; i < size; i++)
		q->free[i] = (uint16_t)(size - 1 - i);
	q->avail->flags = VIRTQ_AVAIL_NO_INTERRUPT;
	q->avail->index = 0;
	q->used->flags = 0;
	q->used->index = 0;
}

int virtq_take(struct virtq *q, uint16_t *id)
{
	if (!q->free_count)
		return ERR_AGAIN;
	*id = q->free[--q->free_count];
	q->state[*id] = VIRTQ_TAKEN;
	return 0;
}

void virtq_release(struct virtq *q, uint16_t id)
{
	q->state[id] = VIRTQ_FREE;
	q->free[q->free_count++] = id;
}

void virtq_post(
	struct virtq *q, uint16_t id, uint64_t physical, uint32_t length, bool device_writes)
{
	q->desc[id] = (struct virtq_desc){
		.address = physical,
		.length = length,
		.flags = device_writes ? VIRTQ_DESC_WRITE : 0,
	};
	q->avail->ring[q->avail_next % q->size] = id;
	q->avail_next++;
	q->writable[id] = device_writes ? length : 0;
	q->state[id] = VIRTQ_IN_FLIGHT;
	q->in_flight++;
}

/*
 * virtio 1.2, "Supplying Buffers to The Device": the entries must be visible before the index
 * (release), and the index before we look whether the device wants to be told (full fence), or both
 * sides could miss each other.
 */
bool virtq_publish(struct virtq *q)
{
	if (q->broken || q->avail_shown == q->avail_next)
		return false;
	q->avail_shown = q->avail_next;
	__atomic_store_n(&q->avail->index, q->avail_next, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED) & VIRTQ_USED_NO_NOTIFY);
}

static int break_queue(struct virtq *q)
{
	q->broken = true;
	return ERR_IO;
}

/* The used element is read once into locals; a device may change it while we look. */
int virtq_pop(struct virtq *q, uint16_t *id, uint32_t *length)
{
	if (q->broken)
		return ERR_IO;

	uint16_t ready =
		(uint16_t)(__atomic_load_n(&q->used->index, __ATOMIC_ACQUIRE) - q->used_next);

	if (!ready)
		return 0;
	if (ready > q->in_flight)
		return break_queue(q);

	struct virtq_used_element *e = &q->used->ring[q->used_next % q->size];
	uint32_t used_id = __atomic_load_n(&e->id, __ATOMIC_RELAXED);
	uint32_t used_length = __atomic_load_n(&e->length, __ATOMIC_RELAXED);

	if (used_id >= q->size || q->state[used_id] != VIRTQ_IN_FLIGHT)
		return break_queue(q);
	if (used_length > q->writable[used_id])
		return break_queue(q);
	q->used_next++;
	q->in_flight--;
	q->state[used_id] = VIRTQ_TAKEN;
	*id = (uint16_t)used_id;
	*length = used_length;
	return 1;
}

bool virtq_pending(const struct virtq *q)
{
	return __atomic_load_n(&q->used->index, __ATOMIC_ACQUIRE) != q->used_next;
}

/* The fence makes a look at the used index after this come after it for the device as well. */
void virtq_interrupts(struct virtq *q, bool wanted)
{
	__atomic_store_n(&q->avail->flags, wanted ? 0 : VIRTQ_AVAIL_NO_INTERRUPT, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
