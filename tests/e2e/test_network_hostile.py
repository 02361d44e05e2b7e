"""A network that does what it should not: frames, segments and clients of every wrong kind. Each leaves
nothing behind, and the others go on."""
import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import wire  # noqa: E402
from ether import (ACK, ARP, BROADCAST, FIN, ICMP, IPV4, PSH, RST, STATION, STATION_MAC, SYN, TCP, UDP, URG, Segment,  # noqa: E402
                   Station, Stream, arp, icmp, ip, tcp, udp)
from hosts import BUILD, ROOT, on, unchanged  # noqa: E402
from wire import Client, frame  # noqa: E402

CARDS = ("wire", "wire-e1000")
HOSTS = ("wire", "bochs")
QUIET = 0.3  # seconds in which nothing must come
STRANGERS = 64  # connections without a hello that the host holds
HELLO_TIME, FRAME_TIME = 5, 10


def station(host):
    if not hasattr(host, "station"):
        host.station = Station(host)
    host.station.drain()
    return host.station


def another_client(host, s=None, slow=None):
    """Somebody who behaves is served, through the emulator's forwarder or on the wire."""
    stream = Stream(s) if s else slow
    with Client(host, socket=stream) as client:
        client.send(frame(wire.GET_INFO, 1))
        assert client.receive()[0] == wire.INFO


# ---- frames ----

def silent(s, what):
    """Nothing came back, and what comes next is answered."""
    found = s.answers(QUIET)
    assert not found, (what, found)
    assert s.ping(), what


@on(*CARDS)
def frames_of_every_length(host):
    s = station(host)
    with unchanged(host):
        for n in (1, 5, 6, 12, 13, 14, 15, 17, 33, 34, 53, 59, 60, 1513, 1514, 1515, 1518, 1519, 1522, 2047, 2048,
                  2049, 4096, 9000, 16384, 65000):
            for content in (bytes(65536), b"\xff" * 65536, s.random.randbytes(65536)):
                s.machine.wire_send((s.mac + STATION_MAC + struct.pack(">H", IPV4) + content)[:n])
        silent(s, "length")
        another_client(host, s)


@on(*CARDS)
def frames_of_unknown_types(host):
    s = station(host)
    with unchanged(host):
        echo = ip(STATION, s.address, ICMP, icmp(8, 0, bytes(8)))
        for kind in (0, 1, 46, 1500, 0x0600, 0x0801, 0x8035, 0x8100, 0x86dd, 0x8808, 0x8847, 0x88a8, 0x88cc, 0xffff):
            for target in (s.mac, BROADCAST, bytes.fromhex("01005e000001")):
                s.frame(echo, kind, target)
        s.frame(echo, target=bytes.fromhex("525400123457"))  # another station's
        silent(s, "type")


def wrong_packets(s):
    """What it is, and the packet."""
    us, you = STATION, s.address
    echo = icmp(8, 0, b"\0\1\0\1" + bytes(32))
    syn = tcp(us, you, 999, s.port, SYN, 1)
    call = udp(us, you, 999, 68, bytes(300))
    yield "IP version 6", ip(us, you, ICMP, echo, first=0x65)
    yield "IP header of 16 bytes", ip(us, you, ICMP, echo, first=0x44)
    yield "IP header of 60 bytes, cut", ip(us, you, ICMP, b"", first=0x4f, total=60)
    yield "IP length beyond the frame", ip(us, you, ICMP, echo, total=1400)
    yield "IP length below the header", ip(us, you, ICMP, echo, total=19)
    yield "IP length 0", ip(us, you, ICMP, echo, total=0)
    yield "IP checksum", ip(us, you, ICMP, echo, wrong=1)
    yield "IP option that is longer than the header", ip(us, you, ICMP, echo, first=0x46, options=b"\x07\xff\4\0",
                                                         total=24 + len(echo), wrong=1)
    yield "IP protocol", ip(us, you, 132, echo)
    for source in ((0, 0, 0, 0), (127, 0, 0, 1), (224, 0, 0, 1), (255, 255, 255, 255), you, (10, 0, 2, 255)):
        yield f"from {source}", ip(source, you, TCP, tcp(source, you, 999, s.port, SYN, 1))
    for target in ((10, 0, 2, 16), (224, 0, 0, 1), (255, 255, 255, 255), (0, 0, 0, 0), (10, 0, 2, 255)):
        yield f"SYN to {target}", ip(us, target, TCP, tcp(us, target, 999, s.port, SYN, 1))
    for name, offset in (("first", 0x2000), ("middle", 0x2010), ("last", 0x0010), ("farthest", 0x1fff)):
        yield f"{name} fragment", ip(us, you, ICMP, echo, fragment=offset)
        yield f"{name} fragment of a SYN", ip(us, you, TCP, syn, fragment=offset)
    yield "ICMP cut", ip(us, you, ICMP, echo[:7])
    yield "ICMP checksum", ip(us, you, ICMP, icmp(8, 0, bytes(36), wrong=1))
    for kind in (0, 3, 4, 5, 9, 11, 12, 13, 15, 17, 255):
        yield f"ICMP type {kind}", ip(us, you, ICMP, icmp(kind, 4, bytes(4) + ip(you, us, TCP, syn)[:28]))
    yield "UDP cut", ip(us, you, UDP, call[:7])
    yield "UDP length below the header", ip(us, you, UDP, udp(us, you, 999, 68, bytes(8), length=7))
    yield "UDP length beyond the packet", ip(us, you, UDP, udp(us, you, 999, 68, bytes(8), length=900))
    yield "UDP checksum", ip(us, you, UDP, udp(us, you, 999, 68, bytes(8), wrong=1))
    for n in range(20):
        yield f"TCP header of {n} bytes", ip(us, you, TCP, syn[:n])
    yield "TCP checksum", ip(us, you, TCP, tcp(us, you, 999, s.port, SYN, 1, wrong=1))
    for words in (0, 4, 6, 15):
        yield f"TCP header of {words} words", ip(us, you, TCP, tcp(us, you, 999, s.port, SYN, 1, words=words))
    for options in (b"\2\0\0\0", b"\2\1\0\0", b"\x63\x29\0\0", b"\2\5\1\0", b"\1\1\1\2"):
        yield f"TCP options {options}", ip(us, you, TCP, tcp(us, you, 999, s.port, SYN, 1, options=options))
    for flags in (0, SYN | FIN, SYN | RST, SYN | FIN | RST, 0x3f, FIN, FIN | PSH | URG, RST, RST | ACK):
        yield f"TCP flags {flags:#x}", ip(us, you, TCP, tcp(us, you, 999, s.port, flags, 1, 1))
    yield "from TCP port 0", ip(us, you, TCP, tcp(us, you, 0, s.port, SYN, 1))


# How those that are not dropped in silence are answered.
ANSWERS = {"IP protocol": "unreachable"}


def kind_of(packet):
    if packet[1] == ICMP and packet[2][0] == 3:
        return "unreachable"
    return "reset" if packet[1] == TCP and Segment(packet[0], packet[2]).flags & RST else packet


@on(*CARDS)
def packets_that_are_malformed(host):
    s = station(host)
    with unchanged(host):
        for what, packet in wrong_packets(s):
            s.frame(packet)
            s.packet(ICMP, icmp(8, 0, b"\0\7\0\2mark"))  # its echo is behind any answer
            found = []
            while not found or not found[-1][2].endswith(b"mark"):
                found.append(s.receive(5))
                assert found[-1], what
            kinds = [kind_of(packet) for packet in found[:-1]]
            assert kinds == ([ANSWERS[what]] if what in ANSWERS else []), (what, kinds)
        silent(s, "malformed")
        another_client(host, s)


@on(*CARDS)
def arp_that_lies(host):
    s = station(host)
    with unchanged(host):
        good = arp(1, STATION, s.address)
        for n in range(len(good)):
            s.frame(good[:n], ARP)
        for at in range(8):
            s.frame(good[:at] + b"\x55" + good[at + 1:], ARP, BROADCAST)
        s.frame(arp(2, s.address, s.address), ARP, BROADCAST)  # it is their address too, they say
        s.frame(arp(1, s.address, s.address, mac=s.mac), ARP, BROADCAST)
        for n in range(2000):  # more neighbours than there is room for
            s.frame(arp(n % 2 + 1, (10, 0, 2, n % 99 + 100), s.address, mac=b"\2" + struct.pack(">IB", n, 1)), ARP)
        assert s.ping()
        another_client(host)
        another_client(host, s)


@on(*CARDS)
def frames_cut_off_anywhere(host):
    s = station(host)
    with unchanged(host):
        s.drain()
        for packet in (ip(STATION, s.address, TCP, tcp(STATION, s.address, 999, s.port, SYN, 1, options=b"\2\4\5\xb4")),
                       ip(STATION, s.address, ICMP, icmp(8, 0, b"\0\1\0\1" + bytes(32))),
                       ip(STATION, s.address, UDP, udp(STATION, s.address, 67, 68, bytes(300)))):
            for n in range(len(packet)):
                s.frame(packet[:n])
        silent(s, "cut off")


@on(*CARDS)
def random_frames(host):
    """Good ones with bytes changed."""
    s, r = station(host), random.Random(5)
    with unchanged(host):
        good = [packet for _, packet in wrong_packets(s)]
        for i in range(4000):
            packet = bytearray(r.choice(good))
            for _ in range(r.randint(1, 5)):
                if packet:
                    packet[r.randrange(len(packet))] = r.choice((0, 1, 0x7f, 0x80, 0xff, r.randrange(256)))
            s.frame(bytes(packet), r.choice((IPV4, IPV4, IPV4, ARP)), r.choice((s.mac, s.mac, BROADCAST)))
            if i % 500 == 0:
                s.drain()
                assert s.ping()
        s.drain()
        another_client(host, s)


# ---- segments ----

OPENING = wire.opening()


def conversation():
    """The start of one. Who sends it again gains nothing by it, but has it answered."""
    return OPENING.data


def answered(stream):
    """The answer to conversation() is one, and the client's what it goes on to."""
    client = Client(None, socket=stream, sent=OPENING)
    client.send(frame(wire.GET_INFO, 1))
    assert client.receive()[0] == wire.INFO
    return client


def pieces(data, size):
    return [(at, data[at:at + size]) for at in range(0, len(data), size)]


@on(*CARDS)
def segments_in_any_order(host):
    s, r = station(host), random.Random(3)
    data = conversation()
    with unchanged(host):
        for order in ("reversed", "shuffled", "twice", "overlapping", "one byte each", "beyond the window"):
            stream = Stream(s)
            parts = pieces(data, 9)
            if order == "reversed":
                parts.reverse()
            elif order == "shuffled":
                r.shuffle(parts)
            elif order == "twice":
                parts = [p for p in parts for _ in range(2)]
            elif order == "overlapping":
                parts = [(max(0, at - 7), data[max(0, at - 7):at + 20]) for at, _ in parts]
                r.shuffle(parts)
            elif order == "one byte each":
                parts = pieces(data, 1)
            else:
                stream.send(PSH | ACK, bytes(1000), at=1 << 20)
                stream.send(PSH | ACK, bytes(1000), at=-5000)
            # More holes than are remembered: what was thrown away comes again.
            for at, part in parts + parts:
                stream.send(PSH | ACK, part, at=at)
            stream.seq = (stream.seq + len(data)) & 0xffffffff
            answered(stream)
            stream.close()


@on(*CARDS)
def overlapping_segments_that_disagree(host):
    """What was there first stays, or what came last: but a byte is one of the two."""
    s = station(host)
    data = conversation()
    with unchanged(host):
        for late in (b"\0" * 40, b"\xff" * 40):
            stream = Stream(s)
            stream.send(PSH | ACK, data[30:], at=30)
            stream.send(PSH | ACK, late, at=20)
            stream.send(PSH | ACK, data[:30])
            stream.send(PSH | ACK, data)
            stream.seq = (stream.seq + len(data)) & 0xffffffff
            try:
                while stream.recv(65536):
                    pass
            except (TimeoutError, ConnectionResetError):
                pass
            stream.close()
        another_client(host, s)


def spoofed(n):
    return (198, 18 + n // 60000 % 2, n // 250 % 240, n % 250 + 1)


@on(*CARDS)
def syn_flood(host):
    s = station(host)
    with unchanged(host):
        for n in range(3000):
            s.segment(1024 + n, SYN, n * 7919, source=spoofed(n))
            if n % 1000 == 500:
                host.canary()
                another_client(host)
                another_client(host, s)
        another_client(host)
        another_client(host, s)
        # Those of the flood are still half-open; whoever completes one from here on has a cookie.
        streams = [Stream(s) for _ in range(20)]
        for stream in streams:
            stream.sendall(conversation())
            answered(stream)
            stream.close()
        for n in range(3000):  # a guess at a cookie opens nothing
            s.segment(5000 + n % 50000, ACK, n, n * 104729, source=STATION)
        assert host.json("info")["connections"] == 2  # the canary's, and this question's
        s.drain()


@on(*CARDS)
def half_open_connections(host):
    s = station(host)
    with unchanged(host):
        half = [Stream(s, opened=False) for _ in range(40)]
        for stream in half:
            stream.begin()
        assert host.json("info")["connections"] == 2
        another_client(host)
        another_client(host, s)
        for n, stream in enumerate(half):
            if n % 4 == 0:  # acknowledges what was never sent
                stream.send(ACK, ack=stream.ack + 1000)
            elif n % 4 == 1:
                stream.send(RST)
            elif n % 4 == 2:
                stream.send(SYN, at=-1)
            else:
                stream.send(FIN | ACK)
        s.drain()
        another_client(host, s)
        for stream in half:
            stream.close()


def garbage(stream):
    """Makes the host end the connection."""
    stream.deaf = True
    Client(None, socket=stream).send(frame(wire.GET_INFO, 0))


def to_syn_received(s):
    stream = Stream(s, opened=False)
    stream.begin()
    return stream


def to_established(s):
    return Stream(s)


def to_fin_wait_1(s):
    """Also to the later ones: with the host's FIN, which is not acknowledged."""
    stream = Stream(s)
    garbage(stream)
    end = stream.expect(lambda x: x.flags & FIN)
    stream.host_end = (end.seq + len(end.data) + 1) & 0xffffffff
    return stream


def to_fin_wait_2(s):
    stream = to_fin_wait_1(s)
    stream.ack = stream.host_end
    stream.send(ACK)
    return stream


def to_closing(s):
    stream = to_fin_wait_1(s)
    stream.fin()
    return stream


def to_time_wait(s):
    stream = to_fin_wait_2(s)
    stream.fin()
    return stream


def to_last_ack(s):
    """Garbage and a FIN in one segment: the host says why, and ends too."""
    stream = Stream(s)
    data = Client(None, socket=stream).seal.sealed(frame(wire.GET_INFO, 0))
    stream.deaf = True
    stream.send(FIN | PSH | ACK, data)
    stream.expect(lambda x: x.flags & FIN)
    stream.seq += len(data) + 1
    return stream


STATES = (to_syn_received, to_established, to_fin_wait_1, to_fin_wait_2, to_closing, to_time_wait, to_last_ack)
STIMULI = {
    "RST": lambda c: c.send(RST),
    "RST in the window": lambda c: c.send(RST, at=100),
    "RST outside": lambda c: c.send(RST, at=1 << 24),
    "RST with data": lambda c: c.send(RST | ACK, b"why"),
    "SYN": lambda c: c.send(SYN),
    "old SYN": lambda c: c.send(SYN, at=-1),
    "FIN": lambda c: c.send(FIN | ACK),
    "FIN in the window": lambda c: c.send(FIN | ACK, at=50),
    "FIN with data": lambda c: c.send(FIN | PSH | ACK, bytes(100)),
    "data": lambda c: c.send(PSH | ACK, bytes(100)),
    "data beyond": lambda c: c.send(PSH | ACK, bytes(100), at=1 << 20),
    "urgent": lambda c: c.send(PSH | ACK | URG, bytes(10), urgent=5),
    "future ACK": lambda c: c.send(ACK, ack=c.ack + (1 << 20)),
    "ancient ACK": lambda c: c.send(ACK, ack=c.ack - (1 << 30)),
    "no ACK": lambda c: c.send(PSH, bytes(10)),
    "window 0": lambda c: c.station.segment(c.port, ACK, c.seq, c.ack, window=0),
}


@on(*CARDS)
def every_segment_in_every_state(host):
    """tests/unit/net_state_test.c says what each leads to; here they happen to a real host."""
    s = station(host)
    with unchanged(host):
        for enter in STATES:
            for what, stimulus in STIMULI.items():
                stream = enter(s)
                stimulus(stream)
                stimulus(stream)
                stream.station.segment(stream.port, RST, stream.seq)
                for later in (0, 1, 3, 10, 100, 101):  # wherever its window begins now
                    stream.send(RST, at=later)
            s.drain()
            assert s.ping(), (enter.__name__, what)
            another_client(host, s)


@on(*CARDS)
def windows_that_stay_shut(host):
    """A client that never lets us send, and others that are."""
    s = station(host)
    with unchanged(host):
        shut = [Stream(s, window=0) for _ in range(20)]
        for stream in shut:
            stream.sendall(conversation())
        another_client(host)
        another_client(host, s)
        time.sleep(1)
        assert host.json("info")["connections"] == 2 + len(shut)
        for stream in shut:
            stream.close()


# ---- clients that go away ----

@on("wire")
def clients_that_vanish_at_any_byte(host):
    """By a reset, by an end, and by a reset behind the end."""
    s = station(host)
    data = conversation()
    with unchanged(host):
        for n in range(0, len(data) + 120, 3):
            stream = Stream(s)
            stream.sendall(data[:n])
            if n > len(data):  # behind the handshake
                client = Client(None, greet=False, socket=stream, sent=OPENING)
                sealed = client.seal.sealed(wire.hello()) + client.seal.sealed(frame(wire.GET_INFO, 1))
                stream.sendall(sealed[:n - len(data)])
            if n % 2:
                stream.fin()
            if n % 3 == 0:
                stream.send(RST)
                stream.send(RST, at=-1)
        s.drain()
        another_client(host, s)


@on("wire")
def more_connections_than_there_are(host):
    s = station(host)
    with unchanged(host):
        streams, refused = [], None
        while len(streams) < 400 and not refused:
            stream = Stream(s, opened=False)
            try:
                stream.open(timeout=2)
                stream.sendall(conversation())
                streams.append(answered(stream))
            except (AssertionError, ConnectionError, TypeError):  # no answer, or a reset, or an end
                refused = stream
        assert refused and len(streams) > 200, len(streams)
        host.canary()
        for client in streams[::7]:
            client.send(frame(wire.GET_INFO, 2))
            assert client.receive()[0] == wire.INFO
        for client in streams:
            client.socket.close()
        another_client(host, s)
        another_client(host)


@on("wire")
def connections_that_say_nothing(host):
    """The oldest makes room for the next; others are served meanwhile."""
    s = station(host)
    with unchanged(host):
        sources = [(203, 0, 113, 100 + n) for n in range(8)]
        s.addresses.update(sources)
        idle = [Stream(s, source=sources[n % 8]) for n in range(STRANGERS + 16)]
        another_client(host)
        host.canary()
        most = host.json("info")["connections"]
        assert STRANGERS <= most <= STRANGERS + 2, most
        for stream in idle:
            stream.close()


# ---- requests ----

def golden():
    """{type: payload} of all that a client may send."""
    found = {}
    folder = os.path.join(ROOT, "tests", "golden")
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name)) as f:
            data = bytes.fromhex("".join(line.split("#")[0] for line in f))
        kind = struct.unpack_from("<H", data, 4)[0]
        if kind < wire.WELCOME:
            found[kind] = data[wire.HEADER.size:]
    return found


def breaks_a_rule(host, *frames):
    with Client(host) as client:
        client.send(b"".join(frames))
        code, text = client.closed()
        assert code == wire.E_PROTOCOL and len(text) > 10, (frames, code, text)


@on(*HOSTS)
def frames_of_wrong_lengths(host):
    with unchanged(host):
        for length in (0, 1, 15, wire.FRAME_MAX + 1, 1 << 16, 1 << 31, (1 << 32) - 1):
            breaks_a_rule(host, wire.HEADER.pack(length, wire.GET_INFO, 0, 1))
        another_client(host)


@on(*HOSTS)
def frames_with_flags_and_numbers_that_are_none(host):
    with unchanged(host):
        for flags in (1, 2, 0x8000, 0xffff):
            breaks_a_rule(host, frame(wire.GET_INFO, 1, flags=flags))
        breaks_a_rule(host, frame(wire.GET_INFO, 0))
        canary = wire.string("canary")
        wait = frame(wire.WAIT, 7, struct.pack("<BQ", wire.GUEST, 0) + canary)
        breaks_a_rule(host, wait, frame(wire.GET_INFO, 7))
        breaks_a_rule(host, wire.hello())
        another_client(host)


@on(*HOSTS)
def unknown_requests_are_refused_alone(host):
    known = golden()
    with unchanged(host), Client(host) as client:
        for kind in (0, 0x0f, 0x2f, 0x5f, 0x6e, 0x7f, 0xff, 0x100, 0x1000, 0xffff):
            assert kind not in known
            client.send(frame(kind, 9, bytes(kind % 50)) + frame(wire.GET_INFO, 10))
            answers = [client.receive() for _ in range(2)]
            assert [a[:3] for a in answers] == [(wire.ERROR, wire.FINAL, 9), (wire.INFO, wire.FINAL, 10)], answers
            assert wire.error(answers[0][3])[0] == wire.E_UNSUPPORTED


@on(*HOSTS)
def payloads_that_are_cut_or_too_long(host):
    with unchanged(host):
        for kind, payload in golden().items():
            step = 3 if host.name == "wire" else 17
            for n in {0, len(payload) - 1, *range(1, len(payload), step)}:
                if 0 <= n < len(payload):
                    breaks_a_rule(host, frame(kind, 1, payload[:n]))
            breaks_a_rule(host, frame(kind, 1, payload + b"\0"))
        another_client(host)


@on("wire")
def payloads_with_changed_bytes(host):
    """A request that is wrong in itself is refused, one that names nothing finds nothing; all end."""
    r = random.Random(9)
    obeyed = (wire.HELLO, wire.HOST_POWER, wire.REMOVE, wire.REMOVE_IMAGE)
    known = {kind: p for kind, p in golden().items() if kind not in obeyed}
    client, left = None, 0
    with unchanged(host):
        for n in range(400):
            kind, payload = r.choice(list(known.items()))
            payload = bytearray(payload)
            for _ in range(r.randint(1, 3)):
                if payload:
                    payload[r.randrange(len(payload))] = r.choice((0, 1, 0x7f, 0xff, r.randrange(256)))
            if not left: # requests that wait for something stay until their connection goes
                client, left = Client(host), 20
            left -= 1
            client.send(frame(kind, r.choice((2 * n + 1, (1 << 63) + n)), bytes(payload)))
            client.send(frame(wire.GET_INFO, 2 * n + 2))
            last = client.receive()
            while last and last[2] != 2 * n + 2:
                last = client.receive()
            if not last or not left:
                client.socket.close()
                left = 0
        if left:
            client.socket.close()
        another_client(host)


@on(*HOSTS)
def more_requests_than_a_connection_has(host):
    with unchanged(host), Client(host) as client:
        canary = struct.pack("<BQ", wire.GUEST, 0) + wire.string("canary")
        for n in range(1, 66):
            client.send(frame(wire.WAIT, n, canary))
        kind, _, request, payload = client.receive()
        assert (kind, request, wire.error(payload)[0]) == (wire.ERROR, 65, wire.E_LIMIT)
        another_client(host)


@on(*HOSTS)
def things_that_do_not_exist(host):
    with unchanged(host):
        for what in ("999999999", "18446744073709551615", "nobody"):
            for command in ("kill", "rm", "rmi", "pause", "resume", "snapshot", "fork", "logs", "attach", "wait",
                            "inspect", "run"):
                refused = host.command(command, what, status=125)
                assert refused.err.count(b"\n") == 1 and what.encode() in refused.err, (command, refused)
            host.command("limit", "--max-pages", "9", what, status=125)
            host.command("rollback", what, "nothing", status=125)
            host.command("rollback", "canary", what, status=125)
        # the wrong kind of thing
        image = str(next(i["id"] for i in host.json("images") if i["name"] == "hello"))
        for command in ("kill", "rm", "pause", "resume", "snapshot", "fork", "logs", "attach", "wait"):
            host.command(command, image, status=125)
        for command in ("rmi", "run"):
            host.command(command, "canary", status=125)


@on(*HOSTS)
def things_that_are_in_use(host):
    with unchanged(host):
        one = host.start("agent", "sleep", options=["--name", "one"])
        two = host.start("agent", "sleep", options=["--name", "two"])
        host.command("snapshot", "--name", "still", one)
        host.command("pause", two)
        for words in (["run", "-d", "--name", "one", "hello"], ["fork", "--name", "two", one], ["rm", one], ["rm", two],
                      ["snapshot", "--name", "still", two], ["rollback", two, "still"], ["pause", two],
                      ["resume", one]):
            refused = host.command(*words, status=125)
            assert refused.err.count(b"\n") == 1, (words, refused)
        assert (host.get(one)["state"], host.get(two)["state"]) == ("waiting", "paused")
        host.command("kill", one)
        for words in (["kill", one], ["snapshot", one], ["fork", one], ["pause", one], ["resume", one]):
            host.command(*words, status=125)
        host.command("rm", "still")
        host.command("rollback", one, "still", status=125)
        host.command("rm", one)
        host.remove(two)


def upload_offset(client):
    kind, _, _, answer = client.receive()
    assert kind == wire.UPLOAD, (kind, answer)
    return struct.unpack_from("<QQ", answer)[1]


def kept_upload(host, sent):
    """How much is kept of the one upload that was cut off after so many bytes."""
    end = time.monotonic() + 30
    while sent:
        kept = [i for i in host.json("images", "-a") if i["kind"] == "upload"]
        if len(kept) == 1 and 0 < kept[0]["received"] <= sent:
            return kept[0]["received"]
        assert time.monotonic() < end, kept
        time.sleep(0.05)
    return 0


@on(*HOSTS)
def uploads_cut_off_midway(host):
    with open(os.path.join(BUILD, "guests", "hello"), "rb") as f:
        image = f.read()
    begin = wire.put(1, "cut", image)
    with unchanged(host):
        names = [i["name"] for i in host.json("images")]
        for sent in (0, 1, 4096, 10000, len(image)):
            received = 0
            for how in ("end", "reset", "cancel"):  # after the last nothing is kept
                with Client(host) as client:
                    client.send(begin)
                    assert upload_offset(client) == received
                    for at in range(received, sent, 8192):
                        client.send(wire.data(1, wire.STREAM_UPLOAD, at, image[at:min(at + 8192, sent)]))
                    if how == "reset":
                        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    elif how == "cancel":
                        client.send(frame(wire.CANCEL, 1))
                        while client.receive()[0] != wire.ERROR:
                            pass
                received = kept_upload(host, sent) if how != "cancel" else 0
        with Client(host) as client:  # gaps, and more than was promised
            client.send(begin)
            client.send(wire.data(1, wire.STREAM_UPLOAD, 5, bytes(10)))
            assert client.closed()[0] == wire.E_PROTOCOL
        assert names == [i["name"] for i in host.json("images")]


class Counting:
    """A socket that knows how much was sent."""

    def __init__(self, host):
        self.socket, self.sent = wire.connect(host), 0
        self.recv, self.close = self.socket.recv, self.socket.close

    def sendall(self, data):
        self.sent += len(data)
        self.socket.sendall(data)


@on("wire")
def an_upload_whose_client_vanishes_halfway(host):
    """No packet tells of that; the same client comes again, and only the second half is sent."""
    with open(os.path.join(BUILD, "test-guests", "agent"), "rb") as f:
        image = f.read() + random.Random(5).randbytes(100000)
    half, part = len(image) // 2, 4096
    with unchanged(host):
        stream = Stream(Station(host))
        gone = Client(host, socket=stream)
        gone.send(wire.put(1, "halved", image))
        assert upload_offset(gone) == 0
        for at in range(0, half, part):
            gone.send(wire.data(1, wire.STREAM_UPLOAD, at, image[at:min(at + part, half)]))
            stream.expect(lambda s: s.ack == stream.seq)
        offset, end = 0, time.monotonic() + 60
        while not offset:  # as long as the host takes it for slow only, this is another upload
            assert time.monotonic() < end
            time.sleep(0.5)
            counting = Counting(host)
            with Client(host, socket=counting) as client:
                client.send(wire.put(1, "halved", image))
                offset = upload_offset(client)
                for at in range(offset, len(image) if offset else 0, part):
                    client.send(wire.data(1, wire.STREAM_UPLOAD, at, image[at:at + part]))
                client.send(frame(wire.PUT_COMMIT if offset else wire.CANCEL, 1))
                while not (last := client.receive())[1] & wire.FINAL:
                    pass
        assert offset == half and last[0] == wire.IMAGE, (offset, half, last)
        assert half <= counting.sent < half + half // 50 + 1000, (half, counting.sent)
        stream.close()
        host.run("halved", "status", "7", status=7)
        assert [i["kind"] for i in host.json("images", "-a") if i["name"] == "halved"] == ["image"]
        host.command("rmi", "halved")


# ---- slow clients ----

class Trickle:
    """A socket that sends byte by byte."""

    def __init__(self, host):
        self.host, self.socket = host, wire.connect(host)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.recv, self.close = self.socket.recv, self.socket.close

    def sendall(self, data):
        for n, byte in enumerate(data):
            self.socket.send(bytes([byte]))
            time.sleep(0.01)
            if n % 50 == 0:
                another_client(self.host)


@on(*HOSTS)
def a_client_that_sends_byte_by_byte(host):
    with unchanged(host):
        another_client(host, slow=Trickle(host))


@on(*HOSTS)
def clients_that_never_read(host):
    """They ask for all that there is, and take none of it."""
    with unchanged(host):
        flood = host.start("agent", "flood", "0")
        deaf = []
        for n in range(8):
            c = socket.socket()
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.connect(("127.0.0.1", host.machine.port))
            client = Client(host, socket=c)
            flags = wire.ATTACH_OUT | wire.ATTACH_FOLLOW
            client.send(wire.attach(1, int(flood), flags, credit=1 << 30))
            for request in range(2, 60):
                client.send(frame(wire.LIST_GUESTS, request, struct.pack("<QIQB", 0, 0, 0, 1)))
            deaf.append(client)
        for _ in range(3):
            another_client(host)
            host.canary()
        before = host.get(flood)["bytes_out"]
        end = time.monotonic() + 30
        while host.get(flood)["bytes_out"] == before:  # without --hold they hold nobody
            assert time.monotonic() < end
        for client in deaf:
            client.socket.close()
        host.remove(flood)


def silent_streams(host):
    """Nothing comes from them any more after so many bytes, not even an acknowledgement. The last has
    said its hello, and may stay."""
    if host.name != "wire":
        return []
    data = conversation()
    streams = []
    for n in (0, 1, 15, 16, 40, 41, len(data) - 15, len(data) - 1, len(data) - 17):
        stream = Stream(station(host))
        stream.sendall(data[:n])
        streams.append(stream)
    return streams


@on(*HOSTS)
def clients_that_stall(host):
    """In their hello, and in a frame: they are told, and closed."""
    with unchanged(host):
        began = time.monotonic()
        silent_ones = silent_streams(host)
        early, late = Client(host, greet=False), Client(host)
        early.send(wire.hello()[:20])
        late.send(frame(wire.GET_INFO, 1)[:12])
        another_client(host)
        for client, seconds in ((early, HELLO_TIME), (late, FRAME_TIME)):
            code, text = client.closed()
            assert code == wire.E_TIMEOUT and len(text) > 10, text
            if host.name != "bochs":  # its clock is not ours
                assert seconds - 1 < time.monotonic() - began < 2 * seconds + 5
        another_client(host)
        end = time.monotonic() + FRAME_TIME
        # the canary's, this question's, and the one that may stay
        while host.json("info")["connections"] > 2 + bool(silent_ones):
            assert time.monotonic() < end
            time.sleep(0.2)
        for stream in silent_ones:
            stream.close()
