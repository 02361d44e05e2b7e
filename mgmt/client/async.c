/*
 * Calls of libcreel under way: one that is waited for, or many that were started with creel_async()
 * and go on in creel_process(). Both take the same frames by the same functions.
 */
#include "mgmt/client/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

void creel_async(struct creel *c, void (*done)(void *arg, int code), void *arg)
{
	c->async_done = done;
	c->async_arg = arg;
}

unsigned creel_pending(const struct creel *c)
{
	return c->call_count;
}

/* ---- what creel_fd() watches ---- */

static void watch(struct creel *c)
{
	struct epoll_event e = {.events = EPOLLIN};

	if (c->poll_fd < 0 || c->fd < 0)
		return;
	if (c->wire_size)
		e.events |= EPOLLOUT;
	if (!c->watched)
		epoll_ctl(c->poll_fd, EPOLL_CTL_ADD, c->fd, &e);
	else if (c->watched != e.events)
		epoll_ctl(c->poll_fd, EPOLL_CTL_MOD, c->fd, &e);
	c->watched = e.events;
}

bool client_watch_input(struct creel *c, int fd, bool wanted)
{
	struct epoll_event e = {.events = EPOLLIN};

	if (c->poll_fd < 0)
		return false;
	/* What can't be watched, a file, can always be read. */
	return epoll_ctl(c->poll_fd, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &e) == 0;
}

int creel_fd(struct creel *c)
{
	if (c->poll_fd < 0) {
		c->poll_fd = epoll_create1(EPOLL_CLOEXEC);
		watch(c);
	}
	return c->poll_fd;
}

/* ---- calls that were started ---- */

static void finish(struct creel *c, struct call *k, int code)
{
	struct call **at = &c->calls;
	bool inside = c->inside;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	c->call_count--;
	if (k->end)
		k->end(c, k);
	c->inside = true;
	k->done(k->arg, code);
	c->inside = inside;
	free(k);
}

void client_end_calls(struct creel *c, int code)
{
	/* Those that a done() starts meanwhile fail at once, for there is no connection. */
	while (c->calls)
		finish(c, c->calls, code);
}

static int cancel(struct creel *c, struct call *k)
{
	k->cancelled = true;
	return client_send(c, PROTO_CANCEL, k->request, NULL);
}

/* The host has been told, and answered. */
static int cancelled(struct creel *c, const struct call *k)
{
	return k->why ? client_fail(c, CREEL_LOCAL, "%s", k->why)
		      : client_fail(c, CREEL_CANCELLED, "cancelled");
}

static int take(struct creel *c, struct call *k, const struct frame *f)
{
	bool inside = c->inside;
	int code;

	c->inside = true;
	code = k->take(c, k, f);
	c->inside = inside;
	return code;
}

void client_dispatch(struct creel *c, const struct frame *f)
{
	struct call *k = c->calls;
	int code = CREEL_OK;

	while (k && k->request != f->header.request)
		k = k->next;
	if (!k)
		return;
	if (f->header.type == PROTO_ERROR)
		code = client_error(c, f);
	else if (!k->cancelled)
		code = take(c, k, f);
	if (code == CALL_ENOUGH)
		code = cancel(c, k);
	if (code == CREEL_OK && !(f->header.flags & PROTO_FINAL))
		return;
	if (k->cancelled && c->fd >= 0)
		code = cancelled(c, k);
	finish(c, k, code);
}

void creel_cancel(struct creel *c, const void *arg)
{
	c->no_wait++;
	for (struct call *k = c->calls; k && c->fd >= 0; k = k->next) {
		if (k->arg == arg && !k->cancelled)
			(void)cancel(c, k);
	}
	c->no_wait--;
	watch(c);
}

/* Whole frames that are here, and what they let the calls send. */
static int catch_up(struct creel *c)
{
	struct frame f;
	int err = CREEL_OK;

	while (err == CREEL_OK && c->fd >= 0 && client_has_frame(c)) {
		err = client_next_frame(c, &f);
		if (err == CREEL_OK && f.header.request == 0 && f.header.type == PROTO_ERROR)
			err = client_error(c, &f);
		else if (err == CREEL_OK)
			client_dispatch(c, &f);
	}
	for (struct call *k = c->calls; k && c->fd >= 0; k = k->next) {
		if (k->send && !k->cancelled && k->send(c, k) == CALL_ENOUGH)
			(void)cancel(c, k);
	}
	return err;
}

static int process(struct creel *c)
{
	int err = c->fd < 0 ? client_fail(c, CREEL_CONNECTION, "not connected to a host")
			    : client_seal_flush(c);

	if (err == CREEL_OK)
		err = client_fill(c, false);
	return err == CREEL_OK ? catch_up(c) : err;
}

void client_let_go_on(struct creel *c, int code)
{
	char error[sizeof(c->error)];
	uint32_t retry_ms = c->retry_ms;

	if (!c->calls)
		return;
	memcpy(error, c->error, sizeof(error));
	c->no_wait++;
	if (c->fd >= 0)
		(void)catch_up(c);
	c->no_wait--;
	if (c->fd < 0)
		client_end_calls(c, code == CREEL_OK ? CREEL_CONNECTION : code);
	watch(c);
	memcpy(c->error, error, sizeof(error));
	c->retry_ms = retry_ms;
}

int creel_process(struct creel *c)
{
	int err;

	if (c->inside)
		return client_fail(c, CREEL_INVALID, "creel_process() was called in a callback");
	c->inside = true;
	c->no_wait++;
	err = process(c);
	if (c->fd < 0) {
		err = err == CREEL_OK ? CREEL_CONNECTION : err;
		client_end_calls(c, err);
	}
	c->no_wait--;
	c->inside = false;
	watch(c);
	return err;
}

/* ---- calls ---- */

/* Starts a call, whose `k` is copied; what it needs besides lies behind it. */
static int start(struct creel *c, uint16_t type, const void *message, const struct call *k,
	size_t size, void (*done)(void *arg, int code))
{
	struct call *copy;
	int err;

	if (c->call_count >= CALLS_MAX)
		return client_fail(c, CREEL_LIMIT,
			"%u calls are under way, and a host takes no more", CALLS_MAX);
	copy = malloc(size);
	if (!copy)
		return client_fail(c, CREEL_LOCAL, "no memory");
	memcpy(copy, k, size);
	copy->request = ++c->next_request;
	copy->done = done;
	copy->arg = c->async_arg;
	c->no_wait++;
	err = client_send(c, type, copy->request, message);
	c->no_wait--;
	if (err != CREEL_OK) {
		free(copy);
		return err;
	}
	copy->next = c->calls;
	c->calls = copy;
	c->call_count++;
	watch(c);
	return CREEL_OK;
}

/* A frame of another call is none for us. */
static int wait_frame(struct creel *c, struct call *k, struct frame *f)
{
	int err;

	for (;;) {
		err = k->wait ? k->wait(c, k) : CREEL_OK;
		if (err == CREEL_OK)
			err = client_next_frame(c, f);
		if (err != CREEL_OK)
			return err;
		if (f->header.request == k->request || f->header.request == 0)
			return CREEL_OK;
		client_dispatch(c, f);
	}
}

static int wait_for(struct creel *c, struct call *k)
{
	struct frame f = {.header = {.flags = 0}};
	int err = CREEL_OK;

	while (err == CREEL_OK && !(f.header.flags & PROTO_FINAL)) {
		err = wait_frame(c, k, &f);
		if (err == CREEL_OK && f.header.type == PROTO_ERROR)
			err = client_error(c, &f);
		else if (err == CREEL_OK)
			err = take(c, k, &f);
		if (err != CALL_ENOUGH)
			continue;
		err = client_cancel(c, k->request);
		if (c->fd >= 0)
			err = cancelled(c, k);
	}
	return err;
}

int client_call(struct creel *c, uint16_t type, const void *message, struct call *k, size_t size)
{
	void (*done)(void *arg, int code) = c->async_done;
	int err;

	c->async_done = NULL;
	if (done)
		return start(c, type, message, k, size, done);
	err = client_request(c, type, message, &k->request);
	if (err == CREEL_OK)
		err = wait_for(c, k);
	client_let_go_on(c, err);
	return err;
}
