#!/usr/bin/python3
"""Our stack against the Linux kernel's, over a tap device in a network namespace of its own.

    tests/net/linux_peer.py PEER [NAME...]

PEER is the program made from tests/net/peer.c. Runs all scenarios, or those named; prints
"ok NAME" and "FAIL NAME" lines. Needs root, or user namespaces, and /dev/net/tun; everything it
makes goes with the namespace. Frames are impaired inside PEER, so no kernel module is needed.
"""
import ctypes
import hashlib
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

OURS, LINUX = "10.99.0.2", "10.99.0.1"
ECHO, SINK, SOURCE, STUCK = 7, 9, 19, 4000
BAD_LINK = ["loss=20", "dup=20", "corrupt=10", "reorder=50"]


class Peer:
    """The program on its tap, for the length of a `with`."""

    def __init__(self, *odds, settles=True):
        self.odds = odds
        self.settles = settles
        self.stats = {}

    def __enter__(self):
        self.process = subprocess.Popen([PEER, "tap0", f"{OURS}/24", *self.odds], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        assert line == "ready\n", f"the peer did not start: {line!r}"
        sh(f"ip addr add {LINUX}/24 dev tap0")
        sh("ip link set tap0 up")
        # Linux is busy with IPv6 for a moment after a link comes up.
        deadline = time.monotonic() + 10
        while not ping(1):
            assert time.monotonic() < deadline, "no answer to ping"
        return self

    def __exit__(self, kind, *rest):
        if kind is None and self.settles:
            self.settle()
        self.process.send_signal(signal.SIGTERM)
        try:
            out, _ = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for line in out.splitlines():
            name, _, value = line.partition(" ")
            if value.isdigit():
                self.stats[name] = int(value)
        if kind is None:
            assert self.process.returncode == 0, f"the peer ended with {self.process.returncode}"

    def settle(self):
        """Waits until every connection has ended, or is in TIME-WAIT."""
        self.command("settle")
        line = self.line()
        while not line.endswith("settled"):
            line = self.line()
        assert line == "settled", "connections are left"

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def line(self):
        return self.process.stdout.readline().strip()


def sh(command):
    subprocess.run(command, shell=True, check=True)


def ping(timeout, size=56):
    """One echo request on a raw socket; True if the same bytes came back."""
    ident, payload = random.getrandbits(16), os.urandom(size)
    body = struct.pack("!HH", ident, 1) + payload
    total = sum(struct.unpack(f"!{(len(body) + 1) // 2}H", body + b"\0" * (len(body) % 2))) + 0x800
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    # (the checksum of type 8, code 0)
    packet = struct.pack("!BBH", 8, 0, ~total & 0xffff) + body
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.settimeout(timeout)
        try:
            s.sendto(packet, (OURS, 0))
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline:
                answer = s.recv(65536)[20:]
                if answer[0] == 0 and answer[4:] == body:
                    return True
        except OSError:
            pass
    return False


def connect(port, timeout=60):
    s = socket.create_connection((OURS, port), timeout=timeout)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def fnv(data):
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return h


def read_all(s):
    parts = []
    while True:
        part = s.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def read_exactly(s, n):
    parts = []
    while n:
        part = s.recv(min(n, 65536))
        assert part, "the connection ended early"
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


def echo_both_ways(data):
    """Sends while it receives: both rings fill, both windows close and open."""
    with connect(ECHO) as s:
        sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
        sender.start()
        back = read_all(s)
        sender.join()
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest(), \
        f"{len(back)} of {len(data)} bytes, or other ones, came back"


def sink(data):
    with connect(SINK) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        count, digest = read_all(s).split()
    assert int(count) == len(data) and int(digest, 16) == fnv(data)


def source(n):
    with connect(SOURCE) as s:
        s.sendall(b"%d\n" % n)
        got = read_all(s)
    assert len(got) == n, f"{len(got)} of {n} bytes"
    assert all(got[i] == (i * 31 >> 3) & 0xff for i in range(0, n, 997))


def settled(peer):
    """After the peer has stopped: no connection and no buffer is left behind."""
    assert peer.stats["chunks_in_use"] == 0, peer.stats
    assert peer.stats["in_use"] == peer.stats["time_waits"], peer.stats


def test_ping():
    with Peer():
        for size in 0, 1, 56, 57, 1000, 1472:
            assert ping(2, size), f"no answer to {size} bytes"


def test_closed_ports():
    with Peer() as p:
        try:
            connect(81)
            raise AssertionError("a closed port was open")
        except ConnectionRefusedError:
            pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.connect((OURS, 81))
            s.send(b"anybody?")
            try:
                s.recv(10)
                raise AssertionError("a closed port answered")
            except ConnectionRefusedError:
                pass
    assert p.stats["icmp_unreachables"] == 1


def test_echo_small():
    with Peer() as p:
        for n in list(range(1, 40)) + [1459, 1460, 1461, 2048, 4096]:
            data = random.randbytes(n)
            with connect(ECHO) as s:
                s.sendall(data)
                assert read_exactly(s, n) == data
    settled(p)


def test_bulk():
    with Peer() as p:
        started = time.monotonic()
        echo_both_ways(random.randbytes(20_000_000))
        print(f"  echo of 20 MB: {20 / (time.monotonic() - started):.0f} MB/s each way")
        started = time.monotonic()
        sink(random.randbytes(1_000_000))
        source(20_000_000)
    settled(p)
    assert p.stats["tcp_timeouts"] == 0


def test_bulk_bad_link():
    with Peer(*BAD_LINK, "seed=1") as p:
        echo_both_ways(random.randbytes(2_000_000))
        sink(random.randbytes(500_000))
        source(2_000_000)
    settled(p)
    for counter in ("tcp_retransmits", "tcp_fast_retransmits", "tcp_out_of_order",
                    "rx_drop_tcp_checksum"):
        assert p.stats[counter] > 0, counter
    print("  " + ", ".join(f"{k} {v}" for k, v in p.stats.items() if v))


def test_many_connections():
    """2,000 open at once, all echoing, none mixed up; idle ones hold no buffer."""
    n = 2000
    with Peer() as p:
        socks = []
        for i in range(n):
            socks.append(connect(ECHO))
        for i, s in enumerate(socks):
            s.sendall(b"%08d" % i * 100)
        for i, s in enumerate(socks):
            assert read_exactly(s, 800) == b"%08d" % i * 100, i
        for s in socks:
            s.close()
    settled(p)
    assert p.stats["tcp_accepted"] == n


def test_many_connections_bad_link():
    with Peer(*BAD_LINK, "seed=2") as p:
        failures = []

        def work(seed):
            try:
                data = random.Random(seed).randbytes(20_000)
                echo_both_ways(data)
            except Exception as e:
                failures.append(e)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(100)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failures, failures[:3]
    settled(p)


def test_connection_churn():
    """More connections one after another than there can be in TIME-WAIT."""
    with Peer() as p:
        for i in range(3000):
            with connect(SOURCE) as s:
                s.sendall(b"10\n")
                assert len(read_all(s)) == 10
    settled(p)
    assert p.stats["tcp_time_wait_recycled"] > 0


def test_reader_that_pauses():
    """Linux closes its window for a while; ours probes and goes on."""
    with Peer() as p:
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(30)
        s.connect((OURS, SOURCE))
        s.sendall(b"300000\n")
        time.sleep(3)
        got = read_all(s)
        assert len(got) == 300000
        s.close()
    settled(p)
    assert p.stats["tcp_window_probes"] > 0


def test_window_closed_by_us():
    """A service that does not read: Linux fills the window, waits, and can still close."""
    with Peer() as p:
        s = connect(STUCK)
        s.setblocking(False)
        sent = 0
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                sent += s.send(b"x" * 4096)
            except BlockingIOError:
                select.select([], [s], [], 0.1)
        assert sent < 8_000_000
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    settled(p)


def test_reset_by_peer():
    with Peer() as p:
        for _ in range(50):
            s = connect(ECHO)
            s.sendall(b"x" * 1000)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
    settled(p)
    assert p.stats["tcp_resets_received"] > 0


def test_vanished_client():
    """The kernel's end disappears without a word; keep-alive finds it."""
    with Peer() as p:
        s = connect(ECHO)
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        # In repair mode a socket closes silently.
        s.setsockopt(socket.IPPROTO_TCP, 19, 1)
        s.close()
        sh(f"ip addr del {LINUX}/24 dev tap0")
    assert p.stats["tcp_keepalive_drops"] == 1, p.stats
    settled(p)


def test_we_connect():
    with Peer() as p:
        with socket.create_server((LINUX, 5000)) as server:
            p.command(f"connect {LINUX} 5000")
            s, _ = server.accept()
            with s:
                assert read_exactly(s, 10) == b"greetings\n"
                s.sendall(b"hello\n")
                assert p.line() == "got hello"
                s.shutdown(socket.SHUT_WR)
                assert read_all(s) == b""
        p.command(f"connect {LINUX} 5001")
        assert p.line() == "closed 1"
    settled(p)


def raw_syns(n):
    """SYNs from addresses that don't exist, on a packet socket."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("tap0", 0x0800))
        mac = s.getsockname()[4]
        for i in range(n):
            src = socket.inet_aton(f"10.99.{1 + i % 200}.{1 + i // 200 % 200}")
            dst = socket.inet_aton(OURS)
            tcp = struct.pack("!HHIIBBHHH", 1024 + i % 60000, ECHO, i * 77, 0, 5 << 4, 2, 1000, 0, 0)
            tcp = tcp[:16] + struct.pack("!H", inet(src + dst + struct.pack("!HH", 6, 20) + tcp)) + tcp[18:]
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + src + dst
            ip = ip[:10] + struct.pack("!H", inet(ip)) + ip[12:]
            s.send(bytes((2, 0xc4, 0xee, 1, 0, 1)) + mac + b"\x08\x00" + ip + tcp)


def inet(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def test_syn_flood():
    """While it lasts, real clients still get in: by SYN cookies."""
    with Peer(settles=False) as p:
        raw_syns(20000)
        for _ in range(20):
            data = random.randbytes(5000)
            with connect(ECHO, timeout=10) as s:
                s.sendall(data)
                assert read_exactly(s, 5000) == data
    assert p.stats["tcp_cookies_sent"] > 10000, p.stats
    assert p.stats["tcp_cookies_accepted"] == 20, p.stats


def in_namespace():
    """Moves this process into a new network namespace, as a new user when not root."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_net = 0x10000000, 0x40000000
    flags = new_net if os.geteuid() == 0 else new_net | new_user
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(flags) != 0:
        return False
    if flags & new_user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"),
                           ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as f:
                f.write(text)
    sh("ip link set lo up")
    return True


def main():
    global PEER
    PEER = os.path.abspath(sys.argv[1])
    names = sys.argv[2:]
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK) or not in_namespace():
        print("skip net_peer: no /dev/net/tun, or no network namespaces, here")
        return 0
    failed = 0
    for name, function in list(globals().items()):
        if not name.startswith("test_") or (names and name[5:] not in names):
            continue
        try:
            function()
            print(f"ok net_peer_{name[5:]}", flush=True)
        except Exception:
            traceback.print_exc()
            print(f"FAIL net_peer_{name[5:]}", flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
