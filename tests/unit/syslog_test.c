/* Messages of RFC 5424. What a receiver makes of them: test_host.py. */
#include "lib/syslog.h"
#include "tests/unit/test.h"

#define WHEN 1795258410123456789ull

TEST(a_message_of_every_part)
{
	struct syslog m;

	syslog_begin(&m, SYSLOG_AUDIT, SYSLOG_NOTICE, WHEN, 0x0a00020f, "boot", "AUDIT");
	syslog_element(&m, "meta");
	syslog_number(&m, "sequenceId", 7);
	syslog_element_end(&m);
	syslog_element(&m, "x@1");
	syslog_param(&m, "a", "b");
	syslog_element_end(&m);
	syslog_text(&m, "well", 4);
	CHECK_STR(m.text, "<109>1 2026-11-21T10:53:30.123456Z 10.0.2.15 creel boot AUDIT "
			  "[meta sequenceId=\"7\"][x@1 a=\"b\"] well");
	CHECK_EQ(m.size, strlen(m.text));
}

TEST(what_is_not_known_is_nil)
{
	struct syslog m;

	syslog_begin(&m, SYSLOG_DAEMON, SYSLOG_EMERGENCY, 0, 0, "p", "K");
	syslog_no_elements(&m);
	syslog_text(&m, "x\ny\xff", 4);
	CHECK_STR(m.text, "<24>1 - - creel p K - x?y?");
}

TEST(values_are_escaped)
{
	struct syslog m;

	syslog_begin(&m, SYSLOG_DAEMON, SYSLOG_ERROR, 0, 0, "p", "K");
	syslog_element(&m, "e");
	syslog_param(&m, "v", "a\"b\\c]d[e\n");
	syslog_element_end(&m);
	CHECK_STR(m.text, "<27>1 - - creel p K [e v=\"a\\\"b\\\\c\\]d[e?\"]");
}

TEST(nothing_is_written_beyond_the_end)
{
	static char longest[4000];
	struct syslog *m = malloc(sizeof(*m));

	memset(longest, '"', sizeof(longest) - 1);
	syslog_begin(m, SYSLOG_DAEMON, SYSLOG_ERROR, WHEN, 1, "p", "K");
	syslog_element(m, longest);
	syslog_param(m, longest, longest);
	syslog_element_end(m);
	syslog_text(m, longest, sizeof(longest) - 1);
	CHECK_EQ(m->size, SYSLOG_MAX);
	CHECK_EQ(strlen(m->text), SYSLOG_MAX);
	free(m);
}
