#include "hv/log.h"

#include "hv/clock.h"
#include "hv/console.h"
#include "hv/cpu.h"
#include "hv/screen.h"
#include "lib/logring.h"
#include "lib/spinlock.h"
#include "lib/string.h"

static struct spinlock lock; /* covers the ring and the consoles */
static struct logring ring;
static enum config_log_level threshold = LOG_INFO;

static const char *const prefix[] = {
	[LOG_ERROR] = "error: ",
	[LOG_WARN] = "warning: ",
	[LOG_INFO] = "",
	[LOG_DEBUG] = "debug: ",
};

void log_set_level(enum config_log_level level)
{
	threshold = level;
}

/* "[   12.345678] warning: text"; returns the length. */
static size_t format_line(char line[LOGRING_LINE_MAX], enum config_log_level level,
	const char *format, va_list ap)
{
	uint64_t us = clock_us();
	size_t n = fmt(line, LOGRING_LINE_MAX, "[%5llu.%06llu] %s",
		(unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000), prefix[level]);

	return n + vfmt(line + n, LOGRING_LINE_MAX - n, format, ap);
}

static const enum console_tone tone[] = {
	[LOG_ERROR] = TONE_ERROR,
	[LOG_WARN] = TONE_WARN,
	[LOG_INFO] = TONE_PLAIN,
	[LOG_DEBUG] = TONE_PLAIN,
};

static void emit(enum config_log_level level, const char *line, size_t size)
{
	logring_put(&ring, line, size);
	console_line(line, size, tone[level]);
}

void log_write(enum config_log_level level, const char *format, ...)
{
	char line[LOGRING_LINE_MAX];
	uint64_t flags;
	va_list ap;
	size_t n;

	if (level > threshold)
		return;
	va_start(ap, format);
	n = format_line(line, level, format, ap);
	va_end(ap);
	flags = cpu_irq_save();
	spin_lock(&lock);
	emit(level, line, n);
	spin_unlock(&lock);
	cpu_irq_restore(flags);
}

bool log_from_nmi(const char *format, ...)
{
	char line[LOGRING_LINE_MAX];
	va_list ap;
	size_t n;

	if (!spin_try_lock(&lock))
		return false;
	va_start(ap, format);
	n = format_line(line, LOG_WARN, format, ap);
	va_end(ap);
	emit(LOG_WARN, line, n);
	spin_unlock(&lock);
	return true;
}

size_t log_read(uint64_t *seq, char *buf, size_t size)
{
	uint64_t flags = cpu_irq_save();
	size_t n;

	spin_lock(&lock);
	n = logring_read(&ring, seq, buf, size);
	spin_unlock(&lock);
	cpu_irq_restore(flags);
	return n;
}

void log_consoles(void (*draw)(void *ctx), void *ctx)
{
	uint64_t flags = cpu_irq_save();

	spin_lock(&lock);
	draw(ctx);
	spin_unlock(&lock);
	cpu_irq_restore(flags);
}

void log_panic_line(const char *line)
{
	screen_panel(0);
	console_line(line, strlen(line), TONE_ERROR);
}
