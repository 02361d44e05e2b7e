/* The few lines that every driver would otherwise repeat. */
#include "drivers/driver.h"

#include "drivers/io.h"
#include "lib/string.h"

void driver_log(const struct driver_env *env, enum driver_log_level level, const char *format, ...)
{
	char line[DRIVER_LOG_LINE];
	va_list ap;

	va_start(ap, format);
	vfmt(line, sizeof(line), format, ap);
	va_end(ap);
	env->log(env->ctx, level, line);
}

void driver_delay_us(const struct driver_env *env, uint64_t us)
{
	uint64_t start = env->now_us(env->ctx);

	while (env->now_us(env->ctx) - start < us)
		io_relax();
}
