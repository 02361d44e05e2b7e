/*
 * A network interface, whatever the chip. The service core owns it and uses it so:
 *
 *	for (;;) {
 *		n = nic_poll(nic, budget, rx, ctx);	rx() gets each frame, and may nic_send()
 *		nic_flush(nic);				one notification for the whole burst
 *		once a second: nic_tick(nic);
 *		if (n || other work)
 *			continue;
 *		cli;
 *		if (nic_irq_enable(nic))		true: frames came in the meantime
 *			sti;
 *		else
 *			sti; hlt;
 *		nic_irq_disable(nic);
 *	}
 *
 * With needs_poll there is no interrupt: the idle core must wake by timer, nic_irq_enable() only
 * looks for work.
 */
#ifndef DRIVERS_NIC_H
#define DRIVERS_NIC_H

#include "drivers/driver.h"
#include "lib/base.h"

#define NIC_MAC_SIZE    6
#define NIC_HEADER_SIZE 14 /* Ethernet addresses and type */
#define NIC_MTU         1500
#define NIC_MTU_MIN     576                         /* what every IPv4 host must take (RFC 791) */
#define NIC_FRAME_MAX   (NIC_HEADER_SIZE + NIC_MTU) /* the FCS is the hardware's */
#define NIC_FRAME_MIN   60                          /* shorter ones are padded with zeros */

struct nic;

struct nic_counters {
	uint64_t rx_frames, rx_bytes;
	uint64_t rx_errors; /* frames that came damaged, too short or too long */
	uint64_t rx_missed; /* frames that found no buffer, where the hardware counts them */
	uint64_t tx_frames, tx_bytes;
	uint64_t tx_full;  /* sends refused because the ring was full */
	uint64_t notifies; /* times the device was told of new work: an exit each on a VM */
	uint64_t interrupts;
	uint64_t resets; /* times the device had to be started over */
};

/* One received frame, without FCS. It is overwritten when the function returns. */
typedef void nic_rx(void *ctx, const uint8_t *frame, size_t length);

struct nic_ops {
	int (*send)(struct nic *nic, const void *frame, size_t length);
	void (*flush)(struct nic *nic);
	unsigned (*poll)(struct nic *nic, unsigned budget, nic_rx *rx, void *ctx);
	bool (*irq_enable)(struct nic *nic);
	void (*irq_disable)(struct nic *nic);
	void (*tick)(struct nic *nic);
};

struct nic {
	const struct nic_ops *ops;
	const char *driver; /* "virtio-net", "e1000" */
	char place[8];      /* on the PCI bus, "00:02.0" */
	uint8_t mac[NIC_MAC_SIZE];
	uint16_t mtu;
	bool needs_poll; /* no interrupt: the owner must look by timer */
	bool link_up;    /* as of the last tick */
	struct nic_counters counters;
};

/*
 * Bring up the first interface that we have a driver for, virtio before others. Returns NULL, after
 * logging why, when there is none. The interface lives for ever.
 */
struct nic *nic_probe(const struct driver_env *env);

/*
 * Copy a frame of NIC_HEADER_SIZE to mtu + NIC_HEADER_SIZE bytes into the transmit ring. The device
 * may not look at it before nic_flush(), or the ring is full. Returns 0, ERR_AGAIN when the ring is
 * full and the device has not sent anything yet, or ERR_TOOBIG or ERR_INVALID for the length.
 */
static inline int nic_send(struct nic *nic, const void *frame, size_t length)
{
	return nic->ops->send(nic, frame, length);
}

/* Tell the device of all frames queued since the last call. Cheap when there are none. */
static inline void nic_flush(struct nic *nic)
{
	nic->ops->flush(nic);
}

/*
 * Hand over at most `budget` received frames, in order. Returns how many ring entries were used up,
 * damaged frames included: less than the budget means the ring is empty.
 */
static inline unsigned nic_poll(struct nic *nic, unsigned budget, nic_rx *rx, void *ctx)
{
	return nic->ops->poll(nic, budget, rx, ctx);
}

/*
 * Ask for an interrupt on the next frame, then look again: true means that frames are waiting and
 * no interrupt may come for them. One interrupt comes at most; it switches interrupts off again.
 */
static inline bool nic_irq_enable(struct nic *nic)
{
	return nic->ops->irq_enable(nic);
}

static inline void nic_irq_disable(struct nic *nic)
{
	nic->ops->irq_disable(nic);
}

/* About once a second: look at the link, collect counters, start a broken device over. */
static inline void nic_tick(struct nic *nic)
{
	nic->ops->tick(nic);
}

/* ---- for the drivers ------------------------------------------------------------------------- */

/* Is this the address of one station, and not of a group, nor all zeros? */
bool nic_mac_is_usable(const uint8_t mac[NIC_MAC_SIZE]);

/* 0, ERR_INVALID when shorter than an Ethernet header, ERR_TOOBIG when longer than the MTU. */
int nic_check_length(const struct nic *nic, size_t length);

/*
 * Copy a frame into a transmit slot, padded to NIC_FRAME_MIN with zeros: what an earlier frame left
 * in the slot must not go out. Returns the padded length.
 */
size_t nic_copy_frame(uint8_t *slot, const void *frame, size_t length);

#endif
