"""What the host does for its operator: wall time, syslog, switching off, the status screen."""
import os
import re
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "emu"))
from run import CONF, Machine  # noqa: E402

BOOT = 120
WRONG = r"PANIC|cannot start"
US = "10.0.2.2"  # as a machine of QEMU or Bochs sees this one
NTP_1970 = 2208988800
FUTURE = 2000000000  # 2033-05-18


class TimeServer:
    """SNTP on a port of its own, `ahead` seconds before its time; and a forger who is faster."""

    def __init__(self, now):
        self.base, self.started = now, time.monotonic()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.questions = []
        threading.Thread(target=self._serve, daemon=True).start()

    def stamp(self):
        now = self.base + time.monotonic() - self.started
        return struct.pack(">II", int(now) + NTP_1970 & 0xffffffff, int(now % 1 * 2**32))

    def _serve(self):
        while True:
            try:
                asked, who = self.socket.recvfrom(1024)
            except OSError:
                return
            self.questions.append(asked)
            head = struct.pack(">BBbbII", 0x24, 3, 6, -20, 1 << 10, 1 << 10) + b"TEST"
            forged = head + bytes(8) + bytes(8) + struct.pack(">II", NTP_1970 + 2500000000 & 0xffffffff, 0) * 2
            self.socket.sendto(forged, who)
            self.socket.sendto(head + self.stamp() + asked[40:48] + self.stamp() + self.stamp(), who)

    def close(self):
        self.socket.close()


def sntp_sets_the_clock(kind):
    server = TimeServer(FUTURE)
    conf = CONF + f"ntp = {US}:{server.port}\n"
    with Machine(kind, mem=256, conf=conf) as m:
        said = m.wait_for(r"clock: 2033-05-18T03:3\d:\d\d\.\d+Z by SNTP from 10\.0\.2\.2 \(stratum 3\), "
                          r"a step of ([+-]\d+)\.\d+ s", BOOT, fail=WRONG)
        assert abs(int(said.group(1))) > 100000, said.group(0)
    assert server.questions[0][:40] == b"\x23" + bytes(39), server.questions[0]
    server.close()


def test_sntp_sets_the_clock():
    sntp_sets_the_clock("qemu")


def test_sntp_sets_the_clock_on_bochs():
    sntp_sets_the_clock("bochs")
