/* The controller's set-up; see chip.h. */
#include "drivers/e1000/chip.h"

#include "lib/bytes.h"

#define PCI_VENDOR_INTEL 0x8086
#define REGISTER_BAR     0

/* "Software Reset" takes a microsecond, loading the EEPROM and the PHY's settings up to 25 ms. */
#define MASTER_DISABLE_LIMIT_US 100000
#define RESET_LIMIT_US          100000
#define RESET_SETTLE_US         25000
#define EEPROM_LIMIT_US         10000

struct e1000_model {
	uint16_t device_id;
	bool express;      /* on PCI Express; hangs when the link may sleep (82574 errata) */
	uint8_t eerd_done; /* bit of EERD that says the word is there */
	uint8_t eerd_address_shift; /* where EERD takes the word's number */
};

static const struct e1000_model models[] = {
	{0x100e, false, 4, 8}, /* 82540EM */
	{0x1015, false, 4, 8}, /* 82540EM, on a mainboard */
	{0x100f, false, 4, 8}, /* 82545EM */
	{0x1010, false, 4, 8}, /* 82546EB */
	{0x10d3, true, 1, 2},  /* 82574L */
	{0x10f6, true, 1, 2},  /* 82574LA */
};

static const struct e1000_model *find_model(const struct pci_function *f)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		if (f->vendor_id == PCI_VENDOR_INTEL && f->device_id == models[i].device_id)
			return &models[i];
	}
	return NULL;
}

int e1000_chip_open(
	struct e1000_chip *c, const struct driver_env *env, const struct pci_function *f)
{
	const struct e1000_model *model = find_model(f);

	if (!model)
		return ERR_UNSUPPORTED;
	int r = pci_enable(env, f);
	if (r)
		return r;
	if (model->express)
		pci_link_awake(f);
	*c = (struct e1000_chip){.env = env, .model = model, .pci = *f};
	c->registers = pci_map_bar(env, f, REGISTER_BAR, 0, E1000_WINDOW);
	return c->registers ? 0 : ERR_IO;
}

/* Wait until the bits of `mask` read as `value`. */
static int wait_for(const struct e1000_chip *c, enum e1000_reg at, uint32_t mask, uint32_t value,
	uint64_t limit_us)
{
	uint64_t start = c->env->now_us(c->env->ctx);

	while ((e1000_read(c, at) & mask) != value) {
		if (c->env->now_us(c->env->ctx) - start > limit_us)
			return ERR_IO;
		io_relax();
	}
	return 0;
}

/* "Software Reset"; on PCI Express parts, "Master Disable" goes before it. */
static int software_reset(struct e1000_chip *c)
{
	uint32_t ctrl = e1000_read(c, E1000_CTRL);

	e1000_write(c, E1000_IMC, UINT32_MAX);
	e1000_write(c, E1000_RCTL, 0);
	e1000_write(c, E1000_TCTL, 0);
	if (c->model->express) {
		/* A part that goes on all the same is cut off by the reset, hence no error. */
		e1000_write(c, E1000_CTRL, ctrl | CTRL_MASTER_DISABLE);
		wait_for(c, E1000_STATUS, STATUS_MASTER_ENABLED, 0, MASTER_DISABLE_LIMIT_US);
	}
	e1000_write(c, E1000_CTRL, ctrl | CTRL_RESET);
	driver_delay_us(c->env, RESET_SETTLE_US);
	int r = wait_for(c, E1000_CTRL, CTRL_RESET, 0, RESET_LIMIT_US);
	e1000_write(c, E1000_IMC, UINT32_MAX);
	e1000_read(c, E1000_ICR);
	return r;
}

static int eeprom_read(struct e1000_chip *c, unsigned word, uint16_t *value)
{
	uint32_t done = 1u << c->model->eerd_done;

	e1000_write(c, E1000_EERD, word << c->model->eerd_address_shift | EERD_START);
	int r = wait_for(c, E1000_EERD, done, done, EEPROM_LIMIT_US);
	*value = (uint16_t)(e1000_read(c, E1000_EERD) >> EERD_DATA_SHIFT);
	return r;
}

/*
 * The first three words of the EEPROM are the address. The reset loads it into the receive-address
 * register too, except in Bochs, so a part without a readable EEPROM is asked there.
 */
static int read_mac(struct e1000_chip *c, uint8_t mac[NIC_MAC_SIZE])
{
	for (unsigned i = 0; i < NIC_MAC_SIZE / 2; i++) {
		uint16_t word;

		if (eeprom_read(c, i, &word)) {
			store_le32(mac, e1000_read(c, E1000_RAL0));
			store_le16(mac + 4, (uint16_t)e1000_read(c, E1000_RAH0));
			break;
		}
		store_le16(mac + 2 * i, word);
	}
	return nic_mac_is_usable(mac) ? 0 : ERR_IO;
}

/* Our own address and broadcast, no multicast. */
static void set_filters(struct e1000_chip *c, const uint8_t mac[NIC_MAC_SIZE])
{
	e1000_write(c, E1000_RAL0, load_le32(mac));
	e1000_write(c, E1000_RAH0, load_le16(mac + 4) | RAH_VALID);
	for (unsigned i = 0; i < E1000_MTA_COUNT; i++)
		e1000_write(c, E1000_MTA + 4 * i, 0);
}

int e1000_chip_reset(struct e1000_chip *c, uint8_t mac[NIC_MAC_SIZE])
{
	const uint32_t clear = CTRL_LINK_RESET | CTRL_INVERT_LOS | CTRL_VLAN_MODE | CTRL_PHY_RESET;
	int r = software_reset(c);

	if (r)
		return r;
	r = read_mac(c, mac);
	if (r)
		return r;
	set_filters(c, mac);
	uint32_t ctrl = e1000_read(c, E1000_CTRL) & ~clear;
	e1000_write(c, E1000_CTRL, ctrl | CTRL_LINK_UP | CTRL_AUTO_SPEED);
	return 0;
}
