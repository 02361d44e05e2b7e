/* What the host gives its drivers (drivers/driver.h). */
#ifndef HV_DRIVER_ENV_H
#define HV_DRIVER_ENV_H

#include "drivers/driver.h"

/* Memory comes from hv.pool, interrupts go to the boot core. */
const struct driver_env *driver_env(void);

#endif
