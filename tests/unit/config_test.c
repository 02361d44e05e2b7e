#include "test.h"

#include "boot/config.h"
#include "lib/err.h"

static struct boot_config config;
static char error[CONFIG_ERROR_MAX];

static int parse(const char *text)
{
	error[0] = '\0';
	return config_parse(&config, text, strlen(text), error);
}

#define REFUSES(text, why)                                                                         \
	do {                                                                                       \
		CHECK_EQ(parse(text), ERR_INVALID);                                                \
		CHECK_STR(error, why);                                                             \
	} while (0)

TEST(config_empty_gives_the_defaults)
{
	CHECK_EQ(parse(""), 0);
	CHECK(config.serial_console && config.screen_console);
	CHECK_EQ(config.log_level, LOG_INFO);
	CHECK(config.dhcp);
	CHECK_EQ(config.port, 7117);
	CHECK(!config.smt && !config.debug_wait);
	CHECK_EQ(config.max_cores, 0);
	CHECK_EQ(config.max_memory, 0);
	CHECK_EQ(config.reserve, 0);
}

TEST(config_every_key)
{
	CHECK_EQ(parse("console = serial\nlog = debug\naddress = 10.1.2.3/24\ngateway=10.1.2.1\n"
		       "ntp = 10.1.2.7:1123\nsyslog = 10.1.2.8\n"
		       "dns = 9.9.9.9\nport = 65535\ncores = 4\n"
		       "memory = 2G\nreserve = 64M\nsmt = on\ndebug-wait = yes\n"),
		0);
	CHECK(config.serial_console && !config.screen_console);
	CHECK_EQ(config.log_level, LOG_DEBUG);
	CHECK(!config.dhcp);
	CHECK_EQ(config.address, 0x0a010203);
	CHECK_EQ(config.netmask, 0xffffff00);
	CHECK_EQ(config.gateway, 0x0a010201);
	CHECK_EQ(config.dns, 0x09090909);
	CHECK_EQ(config.port, 65535);
	CHECK_EQ(config.ntp, 0x0a010207);
	CHECK_EQ(config.ntp_port, 1123);
	CHECK_EQ(config.syslog, 0x0a010208);
	CHECK_EQ(config.syslog_port, 514);
	CHECK(config.smt && config.debug_wait);
	CHECK_EQ(config.max_cores, 4);
	CHECK_EQ(config.max_memory, 2 * GIB);
	CHECK_EQ(config.reserve, 64 * MIB);
}

TEST(config_layout_is_free)
{
	CHECK_EQ(parse("\xef\xbb\xbf# a comment\r\n\r\n \t port=80 # why not\r\n#\nsmt =  on"), 0);
	CHECK_EQ(config.port, 80);
	CHECK(config.smt);
}

TEST(config_console_choices)
{
	CHECK_EQ(parse("console = both"), 0);
	CHECK(config.serial_console && config.screen_console);
	CHECK_EQ(parse("console = screen"), 0);
	CHECK(!config.serial_console && config.screen_console);
	CHECK_EQ(parse("console = none"), 0);
	CHECK(!config.serial_console && !config.screen_console);
}

TEST(config_errors_name_line_key_value_and_remedy)
{
	REFUSES("# first\n\nport = 0\n", "line 3: port = \"0\": write 1 to 65535");
	REFUSES("log = loud", "line 1: log = \"loud\": write error, warn, info or debug");
	REFUSES("port = 80\nsmt = on\nport = 80", "line 3: port is set a second time; keep one");
	REFUSES("hello", "line 1: \"hello\": write key = value");
	REFUSES("= 3", "line 1: no key \"\"; there are console log address gateway dns ntp syslog port "
		       "authorized host-key cores memory reserve owner-max-memory "
		     "owner-max-guests owner-max-snapshots smt debug-wait");
	REFUSES("smt =", "line 1: smt = \"\": write on or off");
}

TEST(config_errors_show_no_control_characters)
{
	REFUSES("smt = \x1b[2J\x01", "line 1: smt = \"?[2J?\": write on or off");
	REFUSES("log = aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeee",
		"line 1: log = \"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd...\": write error, "
		"warn, info or debug");
}

TEST(config_lines_of_a_megabyte)
{
	static const char *const begins[] = {"", "port = ", "port", "authorized = ", "smt = on #"};
	static char text[(1 << 20) + 16];

	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
		memset(text, '1', sizeof(text) - 1);
		memcpy(text, begins[i], strlen(begins[i]));
		CHECK_EQ(parse(text), begins[i][0] == 's' ? 0 : ERR_INVALID);
		CHECK(strlen(error) < CONFIG_ERROR_MAX);
		CHECK((strstr(error, "line 1: ") == error) == (begins[i][0] != 's'));
	}
}

TEST(config_bad_addresses)
{
	static const char *const bad[] = {
		"address = 10.1.2.3",
		"address = 10.1.2.3/0",
		"address = 10.1.2.3/31",
		"address = 10.1.2/24",
		"address = 10.1.2.256/24",
		"address = 10.1.2.3.4/24",
		"address = 10.1.2.3/24x",
		"address = 10.1.2.0/24",
		"address = 10.1.2.255/24",
		"address = 127.0.0.1/8",
		"address = 224.0.0.1/8",
		"address = 0.0.0.1/8",
		"address = 99999999999999999999.1.1.1/8",
		"address = dhcp4",
		"gateway = 10.0.0.1",
		"dns = 10.0.0.1",
		"ntp = 127.0.0.1",
		"ntp = 10.1.2.3:",
		"ntp = 10.1.2.3:0",
		"ntp = 10.1.2.3:65536",
		"ntp = 10.1.2.3:514x",
		"ntp = 10.1.2.3 514",
		"ntp = clock",
		"syslog = loghost",
		"address = 10.1.2.3/24\ngateway = 10.1.3.1",
		"address = 10.1.2.3/24\ngateway = 10.1.2.3",
		"address = 10.1.2.3/24\ngateway = 10.1.2.1/24",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_EQ(parse(bad[i]), ERR_INVALID);
		CHECK(error[0]);
	}
}

TEST(config_bad_numbers)
{
	static const char *const bad[] = {
		"port = -1",
		"port = 65536",
		"port = 99999999999999999999999",
		"port = 80 81",
		"cores = 0",
		"cores = 1025",
		"cores = all",
		"memory = 64M",
		"memory = 512",
		"memory = 512MB",
		"memory = 18446744073709551615T",
		"memory = 18446744073709551616",
		"memory = G",
		"reserve = 0",
		"memory = 1G\nreserve = 1G",
		"insecure-plain = yes",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_EQ(parse(bad[i]), ERR_INVALID);
		CHECK(error[0]);
	}
}

TEST(config_largest_values)
{
	CHECK_EQ(parse("memory = 18446744073709551615\ncores = 1024"), 0);
	CHECK(config.max_memory == UINT64_MAX);
	CHECK_EQ(parse("memory = 16777215T"), 0);
	CHECK_EQ(parse("memory = 16777216T"), ERR_INVALID);
}

TEST(config_zero_bytes_are_no_end_of_text)
{
	static const char text[] = "smt = on\n\0\nport = 1";

	CHECK_EQ(config_parse(&config, text, sizeof(text) - 1, error), ERR_INVALID);
	CHECK_STR(error, "line 2: \"?\": write key = value");
}

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

TEST(config_authorized_clients)
{
	CHECK_EQ(parse("authorized = " KEY_A " admin ann@lab\nauthorized=" KEY_B
		       "\tviewer  b.o-b_2 # reads\n"),
		0);
	CHECK_EQ(config.client_count, 2);
	CHECK_EQ(config.clients[0].key[31], 0x1f);
	CHECK_EQ(config.clients[0].role, ROLE_ADMIN);
	CHECK_STR(config.clients[0].name, "ann@lab");
	CHECK_EQ(config.clients[1].key[0], 0xf0);
	CHECK_EQ(config.clients[1].role, ROLE_VIEWER);
	CHECK_STR(config.clients[1].name, "b.o-b_2");
	CHECK(!config.has_host_key);
	CHECK_EQ(parse("host-key = " KEY_B), 0);
	CHECK(config.has_host_key);
	CHECK_EQ(config.host_key[0], 0xf0);
	CHECK_EQ(config.client_count, 0);
}

TEST(config_refuses_bad_clients_and_shows_no_host_key)
{
	static const char *const bad[] = {
		"authorized =",
		"authorized = " KEY_A,
		"authorized = " KEY_A " admin",
		"authorized = " KEY_A " admin two words",
		"authorized = " KEY_A " root ann",
		"authorized = " KEY_A "admin ann",
		"authorized = 00" KEY_A " admin ann",
		"authorized = 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1g admin ann",
		"authorized = 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e\xc3\xa4 admin ann",
		"authorized = 0"
		" admin ann",
		"authorized = " KEY_A " admin a-name-that-is-longer-than-the-31-bytes-there-are",
		"authorized = " KEY_A " admin ann\nauthorized = " KEY_A " viewer ann2",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(parse(bad[i]), ERR_INVALID);
	REFUSES("host-key = " KEY_A "0", "line 1: host-key = \"...\": write 64 hex digits");
}

TEST(config_clients_are_bounded)
{
	static char text[CONFIG_MAX_SIZE];
	size_t n = 0;

	for (unsigned i = 0; i <= CONFIG_CLIENTS_MAX; i++) {
		CHECK_EQ(parse(text), 0);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "authorized = %02x%s owner c%u\n",
			i, &KEY_A[2], i);
	}
	CHECK_EQ(parse(text), ERR_INVALID);
}
