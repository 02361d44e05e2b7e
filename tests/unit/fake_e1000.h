/*
 * An Intel gigabit controller for the fake machine: registers, EEPROM and rings, written from the
 * developer's manual. Like Bochs's, its receive address is empty until the driver fills it in. The
 * fields under "how it misbehaves" make it hostile.
 */
#ifndef TESTS_UNIT_FAKE_E1000_H
#define TESTS_UNIT_FAKE_E1000_H

#include "tests/unit/fake_machine.h"

#define FAKE_E1000_82540EM 0x100e
#define FAKE_E1000_82574L  0x10d3
#define FAKE_E1000_MSI     0x50 /* capabilities, of the 82574L only */
#define FAKE_E1000_EXPRESS 0xe0
#define FAKE_E1000_RING    256

struct fake_e1000_frame {
	uint8_t data[2048];
	size_t length;
};

struct fake_e1000 {
	struct fake_function *pci;
	bool express; /* an 82574L */
	uint32_t reg[0x20000 / 4];
	uint16_t eeprom[3];
	bool link_down;
	bool holds_tx;          /* leaves frames in the ring */
	unsigned tails_written; /* of the transmit ring */
	unsigned resets;
	struct fake_e1000_frame sent[1024];
	unsigned sent_count;

	/* how it misbehaves */
	bool never_resets;
	bool never_stops_mastering;
	bool has_no_eeprom;
};

/* A controller at 00:device.0. */
void fake_e1000_add(struct fake_e1000 *e, uint8_t device, uint16_t device_id);

/* A frame from the wire: dropped by the filters, for want of a descriptor, or received. */
enum fake_e1000_verdict { FAKE_FILTERED, FAKE_MISSED, FAKE_RECEIVED };

enum fake_e1000_verdict fake_e1000_wire(struct fake_e1000 *e, const void *frame, size_t length);

/* Fill in the next receive descriptor as it says, with status (1: done, 2: end) and errors. */
bool fake_e1000_fill(struct fake_e1000 *e, const void *data, size_t data_size, uint16_t length,
	uint8_t status, uint8_t errors);

/* Send all that the transmit ring shows. */
void fake_e1000_transmit(struct fake_e1000 *e);

#endif
