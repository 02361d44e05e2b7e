/* Commands that run guests and carry their streams: run, fork, attach, logs, wait. */
#include "mgmt/creelctl/creelctl.h"
#include "mgmt/creelctl/terminal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TERMINAL_BUFFER (1 << 20) /* more than is printed between two looks of a progress bar */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	if (interrupted) {
		terminal_leave();
		_exit(EXIT_INTERRUPTED);
	}
	interrupted = 1;
}

/* The first ^C ends a call in an orderly way, the second one ends creelctl. */
static void catch_interrupt(void)
{
	struct sigaction a = {.sa_handler = on_interrupt};

	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	/* nor may a reader of our output that goes away, which write() tells */
	signal(SIGPIPE, SIG_IGN);
}

/* ---- output ---- */

struct bytes {
	char *data;
	size_t size, room;
};

struct output {
	const struct settings *s;
	uint64_t id;
	uint64_t position[3];
	bool begun[3];
	bool collect; /* JSON: in one document at the end */
	struct bytes kept[3];
	bool broken; /* our own stdout or stderr */
	bool left;   /* by the keys for it */
	bool resume; /* it was made paused, to go on once we are attached */
	struct detach_keys keys;
};

static void keep(struct bytes *b, const void *data, size_t size)
{
	if (size > b->room - b->size) {
		b->room = 2 * (b->room + size);
		b->data = realloc(b->data, b->room);
		if (!b->data)
			abort();
	}
	memcpy(b->data + b->size, data, size);
	b->size += size;
}

static bool write_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	return true;
}

static const char *stream_name(enum creel_stream_id stream)
{
	return stream == CREEL_ERR ? "stderr" : "stdout";
}

static int take_output(
	void *arg, enum creel_stream_id stream, uint64_t position, const void *data, size_t size)
{
	struct output *o = arg;

	if (position > o->position[stream] && (o->begun[stream] || o->s->from_start))
		complain("%" PRIu64 " bytes of %s were dropped: the guest was faster",
			position - o->position[stream], stream_name(stream));
	o->begun[stream] = true;
	o->position[stream] = position + size;
	if (o->collect) {
		keep(&o->kept[stream], data, size);
	} else if (o->s->json) {
		json_begin_object(NULL);
		json_text("stream", stream_name(stream));
		json_number("position", position);
		json_bytes("data", data, size);
		json_end_object();
		json_end();
	} else {
		o->broken =
			!write_all(stream == CREEL_ERR ? STDERR_FILENO : STDOUT_FILENO, data, size);
	}
	return o->broken;
}

static int take_state(void *arg, const struct creel_status *status)
{
	(void)arg;
	if (status->state == CREEL_PAUSED && status->stop != CREEL_STOP_CLIENT)
		complain("guest %" PRIu64
			 " is paused (%s); \"creelctl limit\" and \"creelctl resume\" let "
			 "it go on",
			status->id, status->reason);
	return 0;
}

static void resumed(void *arg, int code)
{
	const struct output *o = arg;

	if (code != CREEL_OK)
		complain("%s", creel_error_text(o->s->host_connection));
}

static int take_id(void *arg, uint64_t id)
{
	struct output *o = arg;
	char text[24];

	o->id = id;
	if (o->resume) {
		snprintf(text, sizeof(text), "%" PRIu64, id);
		creel_async(o->s->host_connection, resumed, o);
		return creel_resume(o->s->host_connection, text);
	}
	return 0;
}

static long read_keys(void *arg, void *buf, size_t size)
{
	struct output *o = arg;
	long n = detach_keys_read(&o->keys, STDIN_FILENO, buf, size);

	o->left = n == -2;
	return n;
}

/* Where stdin goes; from a terminal in raw mode if there is one and that is wanted. */
static void attach_input(struct output *o, struct creel_streams *streams)
{
	const struct settings *s = o->s;

	if (!s->interactive && !s->tty)
		return;
	streams->input_fd = STDIN_FILENO;
	if (s->tty && !s->json && terminal_usable() && terminal_enter(TERMINAL_CONSOLE))
		streams->input = read_keys;
}

static struct creel_streams streams_for(struct output *o)
{
	return (struct creel_streams){
		.input_fd = -1,
		.output = take_output,
		.state = take_state,
		.started = take_id,
		.arg = o,
		.cancel = &interrupted,
	};
}

static void status_json(const struct creel_status *status)
{
	json_number("id", status->id);
	json_text("state", state_word(status->state));
	json_text("stop", stop_word(status->stop));
	json_signed("exit_status", status->exit_status);
	json_text("reason", status->reason);
}

/* What is left to say when a guest's streams are over; the exit status. */
static int finish(struct output *o, const struct creel_status *status)
{
	if (o->s->json) {
		json_begin_object(NULL);
		status_json(status);
		if (o->collect) {
			json_bytes("stdout", o->kept[CREEL_OUT].data, o->kept[CREEL_OUT].size);
			json_bytes("stderr", o->kept[CREEL_ERR].data, o->kept[CREEL_ERR].size);
		}
		json_end_object();
		json_end();
	} else if (status->state == CREEL_STOPPED && status->stop != CREEL_STOP_EXIT &&
		   status->stop != CREEL_STOP_POWER_OFF) {
		complain("guest %" PRIu64 " was stopped (%s): %s", status->id,
			stop_word(status->stop), status->reason);
	}
	free(o->kept[CREEL_OUT].data);
	free(o->kept[CREEL_ERR].data);
	return exit_of(status);
}

/* ---- run and fork ---- */

static bool fill_options(struct settings *s, struct creel_options *o, char **args)
{
	static char labels[CREEL_LABELS_SIZE];

	if (s->weight > 10000) {
		complain("--weight takes 1 to 10000, not %" PRIu64, s->weight);
		return false;
	}
	if (!join_labels(s->labels, labels))
		return false;
	*o = (struct creel_options){
		.name = s->name,
		.timeout_ns = s->timeout_ns,
		.timeout_running = s->timeout_running,
		.labels = labels,
		.memory = s->memory,
		.max_pages = s->max_memory ? (s->max_memory + 4095) / 4096 : s->max_pages,
		.max_guests = s->max_guests,
		.max_snapshots = s->max_snapshots,
		.weight = (uint32_t)s->weight,
		.paused = s->paused,
		.remove_when_stopped = s->remove,
		.input_open = s->interactive || s->tty,
		.args = (const char *const *)args,
		.env = s->env,
	};
	return true;
}

/* ^C at an attached guest of our own making kills it, as it would a program of this system. */
static int interrupted_guest(struct output *o, bool remove)
{
	char id[24];

	if (!o->id)
		return EXIT_INTERRUPTED;
	snprintf(id, sizeof(id), "%" PRIu64, o->id);
	if (o->broken)
		complain("can't write the guest's output: %s", strerror(errno));
	if (creel_kill(o->s->host_connection, id) == CREEL_OK && remove)
		creel_remove(o->s->host_connection, id);
	return o->broken ? EXIT_REFUSED : EXIT_INTERRUPTED;
}

static int detached(const struct output *o)
{
	complain("detached; guest %" PRIu64 " goes on", o->id);
	return EXIT_DONE;
}

static int take_first(void *arg, const struct creel_result *r)
{
	*(uint64_t *)arg = r->id;
	return 0;
}

/*
 * A console may be left, and the guest goes on with its input open: so it isn't ours as that of
 * creel_run_attached() is. It is made paused, lest something is missed.
 */
static int run_console(struct output *o, const char *source, bool fork,
	const struct creel_options *options, const struct creel_streams *streams,
	struct creel_status *status)
{
	struct creel *c = o->s->host_connection;
	struct creel_options paused = *options;
	char id[24];
	int code;

	paused.paused = true;
	o->resume = !options->paused;
	code = fork ? creel_fork(c, source, &paused, 1, take_first, &o->id, NULL)
		    : creel_run(c, source, &paused, &o->id);
	if (code != CREEL_OK)
		return code;
	snprintf(id, sizeof(id), "%" PRIu64, o->id);
	return creel_attach(c, id,
		CREEL_ATTACH_IN | CREEL_ATTACH_OUT | CREEL_ATTACH_ERR | CREEL_ATTACH_FOLLOW |
			CREEL_ATTACH_HOLD,
		streams, status);
}

static int run_attached(
	struct settings *s, const char *source, bool fork, const struct creel_options *options)
{
	struct output o = {.s = s, .collect = s->json};
	struct creel_streams streams = streams_for(&o);
	struct creel_status status;
	int code;

	catch_interrupt();
	attach_input(&o, &streams);
	if (streams.input)
		code = run_console(&o, source, fork, options, &streams, &status);
	else
		code = creel_run_attached(
			s->host_connection, source, fork, options, &streams, &status);
	terminal_leave();
	if (o.left)
		return detached(&o);
	if (code == CREEL_CANCELLED)
		return interrupted_guest(&o, s->remove);
	return code == CREEL_OK ? finish(&o, &status) : failed(s, code);
}

int run_run(struct settings *s, int argc, char **argv)
{
	struct creel_options options;
	uint64_t id, image;
	int code;
	static char number[24], *kernel_argv[2] = {number};

	if (!argc == !s->kernel) {
		complain("run takes an IMAGE or --kernel; usage: creelctl run [OPTION...] IMAGE "
			 "[ARG...]");
		return EXIT_USAGE;
	}
	if (!s->kernel && (s->initrd || s->disk || s->cmdline)) {
		complain("--%s goes with --kernel; an image has its own",
			s->initrd ? "initrd" : s->disk ? "disk" : "cmdline");
		return EXIT_USAGE;
	}
	if (s->kernel) {
		if (!put_kernel(s, &image, &code))
			return code;
		snprintf(number, sizeof(number), "%" PRIu64, image);
		argv = kernel_argv;
	}
	/* As everywhere, the first argument is the program's own name. */
	if (!fill_options(s, &options, argv))
		return EXIT_USAGE;
	if (!s->detach)
		return run_attached(s, argv[0], false, &options);
	code = creel_run(s->host_connection, argv[0], &options, &id);
	if (code != CREEL_OK)
		return failed(s, code);
	if (s->json) {
		json_begin_object(NULL);
		json_number("id", id);
		json_end_object();
		json_end();
	} else {
		printf("%" PRIu64 "\n", id);
	}
	return EXIT_DONE;
}

struct forks {
	const struct settings *s;
	struct progress progress;
	bool terminal; /* what is printed waits there for the bar to make room */
	uint64_t failed;
	char first_error[CREEL_TEXT_SIZE];
};

static int take_fork(void *arg, const struct creel_result *r)
{
	struct forks *f = arg;

	if (r->code != CREEL_OK && !f->failed++)
		memcpy(f->first_error, r->text, sizeof(f->first_error));
	if (f->s->json) {
		json_begin_object(NULL);
		json_number("index", r->index);
		json_number("id", r->id);
		json_text("error", r->text);
		json_end_object();
	} else if (r->code == CREEL_OK) {
		printf("%" PRIu64 "\n", r->id);
	}
	if (f->terminal && progress_due(&f->progress)) {
		progress_hide(&f->progress);
		fflush(stdout);
	}
	progress_step(&f->progress, r->index + 1);
	return ferror(stdout);
}

int run_fork(struct settings *s, int argc, char **argv)
{
	static char buffer[TERMINAL_BUFFER];
	uint64_t count = s->count ? s->count : 1, made;
	struct forks f = {.s = s, .terminal = isatty(STDOUT_FILENO)};
	struct creel_options options;
	int code;

	if (count > CREEL_FORK_MOST || (s->attach && count > 1)) {
		complain(s->attach ? "--attach follows one fork, not %" PRIu64
				   : "-n takes 1 to 100000, not %" PRIu64,
			count);
		return EXIT_USAGE;
	}
	/* Arguments of its own begin with a name, like those of run. */
	if (!fill_options(s, &options, argc > 1 ? argv : NULL))
		return EXIT_USAGE;
	if (s->attach)
		return run_attached(s, argv[0], true, &options);
	if (s->json)
		json_begin_array(NULL);
	if (f.terminal)
		setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	progress_begin(&f.progress, s, "forks", count > 1 ? count : 0, false);
	code = creel_fork(
		s->host_connection, argv[0], &options, (uint32_t)count, take_fork, &f, &made);
	progress_hide(&f.progress);
	if (s->json) {
		json_end_array();
		json_end();
	}
	if (code != CREEL_OK)
		return failed(s, code);
	if (f.failed)
		complain("%" PRIu64 " of %" PRIu64 " forks could not be made: %s", f.failed, count,
			f.first_error);
	return f.failed ? EXIT_REFUSED : EXIT_DONE;
}

/* ---- attach, logs, wait ---- */

static unsigned wanted_outputs(const struct settings *s)
{
	if (s->only_stdout && !s->only_stderr)
		return CREEL_ATTACH_OUT;
	if (s->only_stderr && !s->only_stdout)
		return CREEL_ATTACH_ERR;
	return CREEL_ATTACH_OUT | CREEL_ATTACH_ERR;
}

int run_attach(struct settings *s, int argc, char **argv)
{
	unsigned flags = wanted_outputs(s) | CREEL_ATTACH_FOLLOW;
	struct output o = {.s = s};
	struct creel_streams streams = streams_for(&o);
	struct creel_status status;
	int code;

	(void)argc;
	catch_interrupt();
	if (!s->from_start)
		flags |= CREEL_ATTACH_NOW;
	if (s->hold)
		flags |= CREEL_ATTACH_HOLD;
	attach_input(&o, &streams);
	if (streams.input_fd >= 0)
		flags |= CREEL_ATTACH_IN;
	code = creel_attach(s->host_connection, argv[0], flags, &streams, &status);
	terminal_leave();
	if (o.left)
		return detached(&o);
	if (code == CREEL_CANCELLED)
		complain("detached; the guest goes on");
	return code == CREEL_OK ? finish(&o, &status) : failed(s, code);
}

int run_logs(struct settings *s, int argc, char **argv)
{
	unsigned flags = wanted_outputs(s) | (s->follow ? CREEL_ATTACH_FOLLOW : 0);
	struct output o = {.s = s, .collect = s->json && !s->follow};
	struct creel_streams streams = streams_for(&o);
	struct creel_status status;
	int code;

	(void)argc;
	s->from_start = true;
	catch_interrupt();
	code = creel_attach(s->host_connection, argv[0], flags, &streams, &status);
	if (code != CREEL_OK)
		return failed(s, code);
	if (s->json)
		finish(&o, &status);
	return EXIT_DONE;
}

int run_wait(struct settings *s, int argc, char **argv)
{
	int result = EXIT_DONE;

	catch_interrupt();
	if (s->json)
		json_begin_array(NULL);
	for (int i = 0; i < argc; i++) {
		struct creel_status status;
		int code = creel_wait(s->host_connection, argv[i], &interrupted, &status);

		if (code != CREEL_OK) {
			result = failed(s, code);
		} else if (s->json) {
			json_begin_object(NULL);
			status_json(&status);
			json_end_object();
		} else {
			printf("%d\n", exit_of(&status));
		}
	}
	if (s->json) {
		json_end_array();
		json_end();
	}
	return result;
}
