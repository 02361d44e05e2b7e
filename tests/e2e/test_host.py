"""What the host does for its operator: audit, wall time, syslog, switching off, the status screen."""
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "emu")]
from hosts import CTL  # noqa: E402
from run import CONF, KEYS, Machine  # noqa: E402

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
            good = head + self.stamp() + asked[40:48] + self.stamp() + self.stamp()
            for answer in (forged, good):
                try:
                    self.socket.sendto(answer, who)
                except OSError:  # the test is over
                    return

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


# ---- the status screen, and the same on the serial port ----

# RFC 7748, section 6.1: Alice is the host, Bob the client.
HOST_PRIVATE = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
HOST_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
CLIENT_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
SEALED = f"console = both\nhost-key = {HOST_PRIVATE}\nauthorized = {CLIENT_PUBLIC} admin bob\n"
BLOCKS = {" ": (0, 0), "\u2584": (0, 255), "\u2580": (255, 0), "\u2588": (255, 255)}
LOBSTER = b"\xb8\x3a\x26"
CELL = 16   # pixels of a row of text
PANEL = 22  # rows


def codes_in(image):
    """What zbar reads in an image file."""
    done = subprocess.run(["zbarimg", "-q", "--raw", image], capture_output=True, text=True)
    return done.stdout.split()


def pixel_rows(ppm):
    with open(ppm, "rb") as f:
        data = f.read()
    head = re.match(rb"P6\s(\d+) (\d+)\s255\s", data)
    width, height = int(head.group(1)), int(head.group(2))
    pixels = data[head.end():]
    return [pixels[y * width * 3:(y + 1) * width * 3] for y in range(height)]


def text_rows(rows):
    """Whether each row of text below the panel has anything brighter than the background."""
    return [max(b"".join(rows[at:at + CELL])) > 100 for at in range(PANEL * CELL, len(rows) - CELL + 1, CELL)]


def serial_code(m, folder):
    """The code that stands in the serial log, as an image."""
    lines = [text for _, text in m.lines if len(text) > 20 and set(text) <= set(BLOCKS)]
    pixels = []
    for line in lines:
        for half in (0, 1):
            row = b"".join(bytes([BLOCKS[c][half]]) * 4 for c in line)
            pixels += [row] * 4
    path = os.path.join(folder, "serial.pgm")
    with open(path, "wb") as f:
        f.write(b"P5 %d %d 255\n" % (len(pixels[0]), len(pixels)) + b"".join(pixels))
    return path


def test_status_screen_and_serial_show_the_key_as_a_code():
    with Machine(cpus=2, conf=SEALED, extra=["-device", "VGA"]) as m, \
            tempfile.TemporaryDirectory() as d:
        m.wait_for(r"^ +Address +10\.0\.2\.15, port 7117$", BOOT, fail=WRONG)
        m.wait_for(rf"^ +Key +{HOST_PUBLIC}$", BOOT)
        time.sleep(2)
        assert codes_in(serial_code(m, d)) == [HOST_PUBLIC]
        ppm = os.path.join(d, "screen.ppm")
        m.monitor(f"screendump {ppm}")
        assert codes_in(ppm) == [HOST_PUBLIC]
        rows = pixel_rows(ppm)
        assert rows[0].count(LOBSTER) > len(rows[0]) // 6, "no head"
        log = text_rows(rows)
        lines = sum(text.startswith("[") for _, text in m.lines)
        assert sum(log) == lines and all(log[:lines]), (log, lines)


def test_status_screen_without_network_goes_on():
    """The clock in its head moves, and nothing else: what has not changed is not drawn again."""
    with Machine(nic="none", conf=SEALED, extra=["-device", "VGA"]) as m, \
            tempfile.TemporaryDirectory() as d:
        m.wait_for(r"cores: 1 running", BOOT, fail=WRONG)
        time.sleep(1)
        shots = []
        for i in (0, 1):
            ppm = os.path.join(d, f"{i}.ppm")
            m.monitor(f"screendump {ppm}")
            shots.append(pixel_rows(ppm))
            time.sleep(3)
        assert shots[0][:2 * CELL] != shots[1][:2 * CELL], "the clock stands still"
        assert shots[0][PANEL * CELL:] == shots[1][PANEL * CELL:]


# ---- power, and the audit ring ----

def ctl(m, *args, status=0):
    environment = KEYS.environment(m.port)
    done = subprocess.run([CTL, *args], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, f"creelctl {args}: {done}"
    return done.stdout


def answers(m):
    m.wait_for(r"\] address: \d", BOOT, fail=WRONG)
    end = time.monotonic() + BOOT
    while True:
        try:
            return ctl(m, "info")
        except AssertionError:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_reboot():
    with Machine(extra=["-action", "reboot=reset"]) as m:
        answers(m)
        assert "--yes" in subprocess.run([CTL, "host", "reboot"], stdin=subprocess.DEVNULL, text=True,
                                         stderr=subprocess.PIPE,
                                         env=KEYS.environment(m.port)).stderr
        ctl(m, "host", "reboot", "--yes")
        m.wait_for(r"warning: the host restarts, as a client has asked", 20)
        answers(m)  # of the next life


def test_reboot_on_bochs():
    """No ACPI there: the chip set's own register. (Its firmware does not survive a second start.)"""
    with Machine("bochs", mem=256) as m:
        answers(m)
        ctl(m, "host", "reboot", "--yes")
        m.wait_for(r"warning: the host restarts", 20)
        with open(os.path.join(m.dir, "bochs.log"), errors="replace") as log:
            end, resets = time.monotonic() + 20, 0
            while resets < 2 and time.monotonic() < end:
                resets += log.read().count("Reset(HARDWARE) called")
                time.sleep(0.2)
        assert resets == 2


def test_poweroff():
    with Machine() as m:
        answers(m)
        ctl(m, "host", "poweroff", "--yes")
        m.wait_for(r"warning: the host switches itself off, as a client has asked", 20)
        m.wait_exit(20)
        assert "did not switch" not in m.serial


def test_poweroff_on_bochs():
    with Machine("bochs", mem=256) as m:
        answers(m)
        ctl(m, "host", "poweroff", "--yes")
        m.wait_exit(30)
        assert "did not switch" not in m.serial


def test_audit():
    with Machine(images={"hello": os.path.join(os.path.dirname(CTL), "guests", "hello")}) as m:
        answers(m)
        ctl(m, "run", "--name", "one", "hello")
        ctl(m, "rm", "one")
        ctl(m, "rm", "one", status=125)
        records = json.loads(ctl(m, "--json", "audit"))
        assert [r["seq"] for r in records] == list(range(1, len(records) + 1)), records
        done = [(r["action"], r["object"], r["result"]) for r in records if r["action"] != "connect"]
        guest = next(r["made"] for r in records if r["action"] == "run")
        assert done == [("run", "image hello", "ok"), ("remove", f"guest {guest}", "ok"),
                        ("remove", "one", "not found")], done
        assert all(r["address"] == US and r["time"].startswith("20") for r in records), records
        assert {r["role"] for r in records} == {"admin"}, records
        assert "run image hello -> " in ctl(m, "audit")


# ---- syslog ----

# RFC 5424, "Syslog Message Format", as far as we use it.
MESSAGE = re.compile(
    r'<(?P<pri>[1-9]?\d|1[0-8]\d|19[01])>1 '
    r'(?P<time>-|\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{1,6}Z) '
    r'(?P<host>-|\d+\.\d+\.\d+\.\d+) (?P<app>[!-~]{1,48}) (?P<process>[!-~]{1,128}) (?P<kind>[!-~]{1,32}) '
    r'(?P<data>-|(?:\[[!#-<>-\\^-~]{1,32}(?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\])+)'
    r'(?: (?P<text>[ -~]*))?')
AUDIT, DAEMON = 13, 3


class Collector:
    """A syslog server on a port of its own."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.messages = []

    def wait_for(self, kind, text, timeout=60):
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                datagram = self.socket.recv(65536)
            except TimeoutError:
                break
            message = MESSAGE.fullmatch(datagram.decode("ascii"))
            assert message, f"not of RFC 5424: {datagram}"
            self.messages.append(message)
            if message["kind"] == kind and re.search(text, message["text"]):
                return message
        raise AssertionError(f"no {kind} /{text}/ in {[m.group(0) for m in self.messages]}")


def test_syslog_has_audit_warnings_and_the_panic():
    collector = Collector()
    with Machine(cpus=2, conf=CONF + f"syslog = {US}:{collector.port}\n") as m:
        answers(m)
        warning = collector.wait_for("LOG", "^warning: ")
        assert warning["host"] == "10.0.2.15" and warning["app"] == "creel", warning
        assert int(warning["pri"]) == DAEMON * 8 + 4, warning
        ctl(m, "rm", "nobody", status=125)
        record = collector.wait_for("AUDIT", "remove nobody: no such thing")
        assert int(record["pri"]) == AUDIT * 8 + 4, record
        assert 'role="admin" from="10.0.2.2" action="remove" object="nobody"' in record["data"], record
        m.monitor("mce -b 1 2 0xb600000000000011 5 0xabc000 0")
        last = collector.wait_for("PANIC", r"PANIC on core \d: machine check", 30)
        assert int(last["pri"]) == DAEMON * 8, last
        assert re.search(r"; \w+\+0x[0-9a-f]+ < \w+", last["text"]), last
        m.wait_for(r"The host has stopped", 20)
        numbers = [int(re.search(r'sequenceId="(\d+)"', x["data"])[1]) for x in collector.messages[:-1]]
        assert numbers == sorted(set(numbers)), numbers  # (the network may lose one)
        assert len({x["process"] for x in collector.messages}) == 1


def test_syslog_on_bochs():
    """Another driver."""
    collector = Collector()
    with Machine("bochs", mem=256, conf=CONF + f"syslog = {US}:{collector.port}\n") as m:
        m.wait_for(r"\] address: \d", BOOT, fail=WRONG)
        collector.wait_for("LOG", "^warning: ")
