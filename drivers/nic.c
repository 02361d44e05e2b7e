/* Finding the machine's network interface, and what all NIC drivers share. */
#include "drivers/nic.h"

#include "drivers/e1000/e1000.h"
#include "drivers/pci.h"
#include "drivers/virtio/net.h"
#include "lib/string.h"

bool nic_mac_is_usable(const uint8_t mac[NIC_MAC_SIZE])
{
	uint8_t any = 0;

	for (unsigned i = 0; i < NIC_MAC_SIZE; i++)
		any |= mac[i];
	return any && !(mac[0] & 1);
}

int nic_check_length(const struct nic *nic, size_t length)
{
	if (length < NIC_HEADER_SIZE)
		return ERR_INVALID;
	return length > (size_t)nic->mtu + NIC_HEADER_SIZE ? ERR_TOOBIG : 0;
}

size_t nic_copy_frame(uint8_t *slot, const void *frame, size_t length)
{
	memcpy(slot, frame, length);
	if (length >= NIC_FRAME_MIN)
		return length;
	memset(slot + length, 0, NIC_FRAME_MIN - length);
	return NIC_FRAME_MIN;
}

#define CLASS_NETWORK 0x02

struct nic_driver {
	const char *name;
	int (*open)(const struct driver_env *env, const struct pci_function *f, struct nic **nic);
};

/* In the order of our preference. */
static const struct nic_driver drivers[] = {
	{"virtio-net", virtio_net_open},
	{"e1000", e1000_open},
};

struct probe {
	const struct driver_env *env;
	const struct nic_driver *driver;
	struct nic *nic;
};

static int try_function(void *ctx, const struct pci_function *f)
{
	struct probe *p = ctx;
	char place[PCI_PLACE_SIZE];
	int r = p->driver->open(p->env, f, &p->nic);

	if (r == ERR_UNSUPPORTED)
		return 0;
	pci_place(f, place);
	if (r) {
		driver_log(p->env, DRIVER_WARN, "%s: %s (%04x:%04x) can't be brought up: %s",
			p->driver->name, place, f->vendor_id, f->device_id, err_str(r));
		return 0;
	}
	return 1;
}

static void log_found(const struct driver_env *env, const struct nic *nic)
{
	const uint8_t *m = nic->mac;

	driver_log(env, DRIVER_INFO, "%s: %s, %02x:%02x:%02x:%02x:%02x:%02x, MTU %u, %s, link %s",
		nic->driver, nic->place, m[0], m[1], m[2], m[3], m[4], m[5], nic->mtu,
		nic->needs_poll ? "polled" : "MSI", nic->link_up ? "up" : "down");
}

/* Names every network device that was passed over, so that a machine without a NIC says why. */
static int log_undriven(void *ctx, const struct pci_function *f)
{
	char place[PCI_PLACE_SIZE];

	if (f->class != CLASS_NETWORK)
		return 0;
	pci_place(f, place);
	driver_log(ctx, DRIVER_ERROR, "nic: no driver for %s (%04x:%04x)", place, f->vendor_id,
		f->device_id);
	return 0;
}

struct nic *nic_probe(const struct driver_env *env)
{
	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
		struct probe p = {.env = env, .driver = &drivers[i]};

		if (pci_walk(try_function, &p)) {
			log_found(env, p.nic);
			return p.nic;
		}
	}
	struct driver_env copy = *env;
	pci_walk(log_undriven, &copy);
	driver_log(env, DRIVER_ERROR, "nic: no usable network interface");
	return NULL;
}
