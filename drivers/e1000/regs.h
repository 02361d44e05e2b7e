/*
 * Registers and legacy descriptors of Intel's gigabit controllers: "PCI/PCI-X Family of Gigabit
 * Ethernet Controllers Software Developer's Manual", "Register Descriptions" and "Receive and
 * Transmit Description"; "82574 GbE Controller Family Datasheet" for that one.
 */
#ifndef DRIVERS_E1000_REGS_H
#define DRIVERS_E1000_REGS_H

#include "lib/base.h"

#define E1000_WINDOW 0x20000 /* bytes of registers in BAR 0 */

enum e1000_reg {
	E1000_CTRL = 0x0000,
	E1000_STATUS = 0x0008,
	E1000_EERD = 0x0014,
	E1000_ICR = 0x00c0, /* reading clears */
	E1000_IMS = 0x00d0,
	E1000_IMC = 0x00d8,
	E1000_RCTL = 0x0100,
	E1000_TIPG = 0x0410,
	E1000_TCTL = 0x0400,
	E1000_RDBAL = 0x2800,
	E1000_RDBAH = 0x2804,
	E1000_RDLEN = 0x2808,
	E1000_RDH = 0x2810,
	E1000_RDT = 0x2818,
	E1000_TDBAL = 0x3800,
	E1000_TDBAH = 0x3804,
	E1000_TDLEN = 0x3808,
	E1000_TDH = 0x3810,
	E1000_TDT = 0x3818,
	E1000_CRCERRS = 0x4000, /* statistics: reading clears */
	E1000_MPC = 0x4010,
	E1000_MTA = 0x5200,
	E1000_RAL0 = 0x5400,
	E1000_RAH0 = 0x5404,
};

#define E1000_MTA_COUNT 128

#define CTRL_MASTER_DISABLE (1u << 2) /* PCI Express parts only; reserved on the others */
#define CTRL_AUTO_SPEED     (1u << 5)
#define CTRL_LINK_UP        (1u << 6)
#define CTRL_LINK_RESET     (1u << 3)
#define CTRL_INVERT_LOS     (1u << 7)
#define CTRL_RESET          (1u << 26)
#define CTRL_VLAN_MODE      (1u << 30)
#define CTRL_PHY_RESET      (1u << 31)

#define STATUS_LINK_UP        (1u << 1)
#define STATUS_MASTER_ENABLED (1u << 19) /* PCI Express parts only */

#define EERD_START      (1u << 0)
#define EERD_DATA_SHIFT 16

#define INT_LINK       (1u << 2)
#define INT_RX_LOW     (1u << 4)
#define INT_RX_OVERRUN (1u << 6)
#define INT_RX         (1u << 7)

#define RCTL_ENABLE    (1u << 1)
#define RCTL_BROADCAST (1u << 15)
#define RCTL_STRIP_CRC (1u << 26) /* buffers of 2048 bytes, frames of up to 1522: both 0 */

#define TCTL_ENABLE       (1u << 1)
#define TCTL_PAD          (1u << 3)
#define TCTL_COLLISIONS   (0x0fu << 4)
#define TCTL_BACKOFF_FULL (0x40u << 12)

#define TIPG_COPPER (10u | 8u << 10 | 6u << 20) /* "Transmit IPG Register" for copper */

#define RAH_VALID (1u << 31)

struct e1000_rx_desc {
	uint64_t address;
	uint16_t length;
	uint16_t checksum;
	uint8_t status;
	uint8_t errors;
	uint16_t special;
};

struct e1000_tx_desc {
	uint64_t address;
	uint16_t length;
	uint8_t checksum_offset;
	uint8_t command;
	uint8_t status;
	uint8_t checksum_start;
	uint16_t special;
};

_Static_assert(sizeof(struct e1000_rx_desc) == 16, "\"Receive Descriptor Format\"");
_Static_assert(offsetof(struct e1000_rx_desc, status) == 12, "\"Receive Descriptor Format\"");
_Static_assert(sizeof(struct e1000_tx_desc) == 16, "\"Legacy Transmit Descriptor Format\"");
_Static_assert(
	offsetof(struct e1000_tx_desc, status) == 12, "\"Legacy Transmit Descriptor Format\"");

#define RX_DONE (1u << 0)
#define RX_END  (1u << 1) /* the frame's last descriptor */

#define TX_END    (1u << 0) /* command: the frame's last descriptor */
#define TX_FCS    (1u << 1) /* command: append the checksum */
#define TX_REPORT (1u << 3) /* command: set TX_DONE when sent */
#define TX_DONE   (1u << 0)

#endif
