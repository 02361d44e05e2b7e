/*
 * What the boot core does besides running guests: the network card, the network stack, the management
 * server. Nothing else knows all three.
 */
#ifndef HV_SERVICE_H
#define HV_SERVICE_H

#include "hv/status.h"
#include "lib/base.h"

struct boot_info;
struct nic;

/* Bring the network up on `nic` and open the management port as creel.conf says. Without a network
 * card (NULL) the host runs, but nobody can reach it. */
void service_start(struct boot_info *info, struct nic *nic);

/* The host's public key in hexadecimal; "" while it has none. */
void service_host_key(char key[STATUS_KEY_SIZE]);

/* hv/run.h, service_fn. */
bool service_poll(uint64_t *next);

#endif
