/* The user's terminal, and how to leave it as it was found. */
#include "mgmt/creelctl/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define CTRL_P 0x10
#define CTRL_Q 0x11

/* The other screen and no cursor; and back (xterm's private modes, which all others know). */
#define ENTER_SCREEN "\033[?1049h\033[?25l"
#define LEAVE_SCREEN "\033[?25h\033[?1049l"

volatile sig_atomic_t terminal_resized;
static volatile sig_atomic_t changed; /* the terminal is not as it was */
static enum terminal_mode current;
static struct termios saved;

static void write_sequence(const char *text)
{
	ssize_t n = write(STDOUT_FILENO, text, strlen(text));

	/* a terminal that has gone needs nothing any more */
	(void)n;
}

/* Only calls that a signal handler may make. */
static void restore(void)
{
	if (!changed)
		return;
	changed = 0;
	if (current == TERMINAL_SCREEN)
		write_sequence(LEAVE_SCREEN);
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

static void apply(void)
{
	struct termios t = saved;

	if (current == TERMINAL_CONSOLE) {
		cfmakeraw(&t);
		t.c_oflag |= OPOST | ONLCR;
	} else {
		t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		t.c_cc[VMIN] = 1;
		t.c_cc[VTIME] = 0;
	}
	tcsetattr(STDIN_FILENO, TCSANOW, &t);
	if (current == TERMINAL_SCREEN)
		write_sequence(ENTER_SCREEN);
	changed = 1;
	terminal_resized = 1;
}

static void on_resize(int signal_number)
{
	(void)signal_number;
	terminal_resized = 1;
}

static void take_signal(int signal_number, void (*handler)(int), int flags)
{
	struct sigaction a = {.sa_handler = handler, .sa_flags = flags};

	sigaction(signal_number, &a, NULL);
}

/* It is put back, and then what the signal does happens. */
static void on_end(int signal_number)
{
	restore();
	take_signal(signal_number, SIG_DFL, 0);
	raise(signal_number);
}

static void on_stop(int signal_number)
{
	int error = errno;

	(void)signal_number;
	restore();
	raise(SIGSTOP);
	apply();
	errno = error;
}

bool terminal_usable(void)
{
	const char *kind = getenv("TERM");

	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && kind && strcmp(kind, "dumb") != 0;
}

bool terminal_enter(enum terminal_mode mode)
{
	static const int ends[] = {SIGHUP, SIGQUIT, SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
	static bool registered;

	if (tcgetattr(STDIN_FILENO, &saved) < 0)
		return false;
	current = mode;
	if (!registered)
		atexit(restore);
	registered = true;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		take_signal(ends[i], on_end, 0);
	take_signal(SIGTSTP, on_stop, 0);
	take_signal(SIGWINCH, on_resize, 0);
	apply();
	return true;
}

void terminal_leave(void)
{
	restore();
}

void terminal_size(int *rows, int *columns)
{
	struct winsize w = {.ws_row = 0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || !w.ws_row)
		ioctl(STDERR_FILENO, TIOCGWINSZ, &w);
	*rows = w.ws_row ? w.ws_row : 24;
	*columns = w.ws_col ? w.ws_col : 80;
}

bool terminal_colour(int fd)
{
	const char *no = getenv("NO_COLOR"), *kind = getenv("TERM");

	return isatty(fd) && !(no && no[0]) && kind && strcmp(kind, "dumb") != 0;
}

/* ---- leaving a console ---- */

long detach_keys_read(struct detach_keys *k, int fd, char *buf, size_t size)
{
	char in[256];
	/* a ^P that is held back comes on top */
	size_t want = size - 1 < sizeof(in) ? size - 1 : sizeof(in), out = 0;
	ssize_t n = read(fd, in, want);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return -1;
	if (n <= 0)
		return 0;
	for (ssize_t i = 0; i < n; i++) {
		if (k->held && in[i] == CTRL_Q)
			return -2;
		if (k->held)
			buf[out++] = CTRL_P;
		k->held = in[i] == CTRL_P;
		if (!k->held)
			buf[out++] = in[i];
	}
	return out ? (long)out : -1;
}
