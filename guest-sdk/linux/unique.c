/*
 * Another one than before: what two clones of a guest must not share is made anew, before any other
 * process goes on. Programs with a generator of their own look at the generation page.
 */
#include "guest-sdk/linux/agent.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Linux, include/uapi/linux/random.h */
#define RNDADDENTROPY  _IOW('R', 0x03, int[2])
#define RNDRESEEDCRNG  _IO('R', 0x07)

#define CARDS  "/sys/class/net"
#define DRIVER "virtio_net"
#define CARD_TRIES 60 /* a second apart: its driver may come after us */
#define CARD_MS    1000
#define PAGE "generation"
#define PAGE_BYTES 4096
#define NS 1000000000ull

static int page = -1;
static struct agent_reset owed; /* its network, as long as there are tries left */
static unsigned tries;
static uint64_t next_try; /* ms */

void unique_start(void)
{
	char path[256];

	mkdir(mode.run, 0755);
	snprintf(path, sizeof(path), "%s/" PAGE, mode.run);
	page = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (page < 0 || ftruncate(page, PAGE_BYTES))
		complain("no %s: programs can't learn of a fork", path);
}

static void reseed(const struct agent_reset *r)
{
	struct {
		int bits, bytes;
		uint8_t data[sizeof(r->entropy)];
	} pool = {.bits = 8 * (int)sizeof(r->entropy), .bytes = (int)sizeof(r->entropy)};
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);

	memcpy(pool.data, r->entropy, sizeof(pool.data));
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) || ioctl(fd, RNDRESEEDCRNG))
		complain("the kernel's generator was not reseeded");
	if (fd >= 0)
		close(fd);
	memset(&pool, 0, sizeof(pool));
}

static void step_clock(uint64_t wall_ns)
{
	struct timespec t = {.tv_sec = (time_t)(wall_ns / NS), .tv_nsec = (long)(wall_ns % NS)};

	if (clock_settime(CLOCK_REALTIME, &t))
		complain("the clock was not set");
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		complain("%s was not written", path);
	close(fd);
}

static void rename_host(const struct agent_reset *r)
{
	char name[80], id[2 * sizeof(r->identity) + 2];

	if (r->name[0])
		snprintf(name, sizeof(name), "%s", r->name);
	else
		snprintf(name, sizeof(name), "creel-%llu", (unsigned long long)r->guest);
	if (sethostname(name, strlen(name)))
		complain("the host name was not set");
	strcat(name, "\n");
	write_file("/etc/hostname", name);
	for (size_t i = 0; i < sizeof(r->identity); i++)
		snprintf(id + 2 * i, 3, "%02x", r->identity[i]);
	strcat(id, "\n");
	write_file("/etc/machine-id", id);
}

/* ---- the network ------------------------------------------------------------------------------ */

static void set_address(int s, struct ifreq *q, int what, in_addr_t address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&q->ifr_addr;

	memset(&q->ifr_addr, 0, sizeof(q->ifr_addr));
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = address;
	if (ioctl(s, what, q))
		complain("the network address was not set");
}

static void set_route(int s, const struct agent_reset *r)
{
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
	struct sockaddr_in any = {.sin_family = AF_INET}, gateway = any;

	memcpy(&gateway.sin_addr, r->gateway, sizeof(r->gateway));
	memcpy(&route.rt_dst, &any, sizeof(any));
	memcpy(&route.rt_genmask, &any, sizeof(any));
	memcpy(&route.rt_gateway, &gateway, sizeof(gateway));
	ioctl(s, SIOCADDRT, &route);
}

/* The host's card, whatever udev calls it. */
static bool find_card(char name[IFNAMSIZ])
{
	DIR *d = opendir(CARDS);
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d))) {
		char path[300], driver[256];

		snprintf(path, sizeof(path), CARDS "/%s/device/driver", e->d_name);
		ssize_t n = readlink(path, driver, sizeof(driver) - 1);

		driver[n > 0 ? n : 0] = '\0';
		found = n > 0 && strcmp(basename(driver), DRIVER) == 0 &&
			strlen(e->d_name) < IFNAMSIZ;
		if (found)
			strcpy(name, e->d_name);
	}
	if (d)
		closedir(d);
	return found;
}

/* Its flags. A look through all cards touches pages, which each fork would have to copy. */
static bool look_up_card(int s, struct ifreq *q)
{
	static char name[IFNAMSIZ];

	memcpy(q->ifr_name, name, sizeof(name));
	if (name[0] && ioctl(s, SIOCGIFFLAGS, q) == 0)
		return true;
	if (!find_card(name))
		return false;
	memcpy(q->ifr_name, name, sizeof(name));
	return ioctl(s, SIOCGIFFLAGS, q) == 0;
}

/* False: there is no card. */
static bool move_network(const struct agent_reset *r)
{
	struct ifreq q = {0};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t address;

	if (s < 0)
		return false;
	if (!look_up_card(s, &q)) {
		close(s);
		return false;
	}
	memcpy(&address, r->address, sizeof(address));
	/* A card of virtio may be up then. To take it down waits, and lets others go on meanwhile. */
	q.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(q.ifr_hwaddr.sa_data, r->mac, sizeof(r->mac));
	if (ioctl(s, SIOCSIFHWADDR, &q))
		complain("the network card's address was not set");
	set_address(s, &q, SIOCSIFADDR, address);
	set_address(s, &q, SIOCSIFNETMASK, htonl(r->prefix > 31 ? ~0u : ~(~0u >> r->prefix)));
	q.ifr_flags = IFF_UP | IFF_RUNNING;
	ioctl(s, SIOCSIFFLAGS, &q);
	set_route(s, r);
	close(s);
	return true;
}

static void try_network(void)
{
	if (move_network(&owed))
		tries = 0;
	else
		tries--;
	next_try = now_ms() + CARD_MS;
}

int unique_left(void)
{
	uint64_t now = tries ? now_ms() : 0;

	return !tries ? -1 : now >= next_try ? 0 : (int)(next_try - now);
}

void unique_tick(void)
{
	if (unique_left() == 0)
		try_network();
}

void unique_reset(const struct agent_reset *r)
{
	uint8_t generation[8];

	if (mode.identity) {
		reseed(r);
		step_clock(r->wall_ns);
		rename_host(r);
		owed = *r;
		memset(owed.entropy, 0, sizeof(owed.entropy));
		tries = r->prefix ? CARD_TRIES : 0;
		if (tries)
			try_network();
	}
	/* Written, not mapped, so that who watches the file is told as well. */
	agent_store(generation, r->generation, sizeof(generation));
	if (page >= 0 && pwrite(page, generation, sizeof(generation), 0) != sizeof(generation))
		complain("the generation was not written");
	freeze_end();
}
