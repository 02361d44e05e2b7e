"""A station on the machine's Ethernet (Machine(wire=True)) that can also speak IPv4 and TCP wrongly."""
import random
import struct
import time

STATION_MAC = bytes.fromhex("0277000000aa")
GATEWAY = (10, 0, 2, 99)
# Behind the gateway, which we are too.
STATION = (203, 0, 113, 77)
CONF = "address = 10.0.2.15/24\ngateway = 10.0.2.99\n"
BROADCAST = bytes([255] * 6)
ARP, IPV4 = 0x0806, 0x0800
ICMP, TCP, UDP = 1, 6, 17
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MSS = 1460
ANSWER = 10  # seconds for what must come


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def arp(operation, sender, target, mac=STATION_MAC, target_mac=bytes(6)):
    return struct.pack(">HHBBH", 1, IPV4, 6, 4, operation) + mac + bytes(sender) + target_mac + bytes(target)


def ip(source, target, protocol, payload, *, first=0x45, total=None, fragment=0, ttl=64, options=b"",
       wrong=0):
    """`wrong` is added to the checksum."""
    total = 20 + len(options) + len(payload) if total is None else total
    head = struct.pack(">BBHHHBBH", first, 0, total, 1, fragment, ttl, protocol, 0) + bytes(source + target)
    head += options
    return head[:10] + struct.pack(">H", (checksum(head) + wrong) & 0xffff) + head[12:] + payload


def _transport(source, target, protocol, payload, at, wrong):
    pseudo = bytes(source + target) + struct.pack(">HH", protocol, len(payload))
    total = (checksum(pseudo + payload) + wrong) & 0xffff
    return payload[:at] + struct.pack(">H", total) + payload[at + 2:]


def tcp(source, target, sport, dport, flags, seq, ack=0, data=b"", *, window=65535, options=b"", words=None,
        urgent=0, wrong=0):
    words = 5 + len(options) // 4 if words is None else words
    segment = struct.pack(">HHIIBBHHH", sport, dport, seq & 0xffffffff, ack & 0xffffffff, words << 4, flags,
                          window, 0, urgent) + options + data
    return _transport(source, target, TCP, segment, 16, wrong)


def udp(source, target, sport, dport, data, *, length=None, wrong=0):
    length = 8 + len(data) if length is None else length
    return _transport(source, target, UDP, struct.pack(">HHHH", sport, dport, length, 0) + data, 6, wrong)


def icmp(kind, code, rest, wrong=0):
    packet = struct.pack(">BBH", kind, code, 0) + rest
    return packet[:2] + struct.pack(">H", (checksum(packet) + wrong) & 0xffff) + packet[4:]


class Segment:
    """A TCP segment that the host sent."""

    def __init__(self, target, body):
        self.target = target
        self.sport, self.dport, self.seq, self.ack, words, self.flags, self.window = struct.unpack_from(
            ">HHIIBBH", body)
        self.data = body[(words >> 4) * 4:]

    def __repr__(self):
        names = "".join(n for bit, n in zip((1, 2, 4, 8, 16), "FSRPA") if self.flags & bit)
        return f"{names} seq {self.seq} ack {self.ack} {len(self.data)} bytes to port {self.dport}"


class Station:
    """One, or as many as there are addresses: it answers for all that it was given."""

    def __init__(self, host):
        self.machine = host.machine
        info = host.json("info")
        self.mac = bytes.fromhex(info["mac"].replace(":", ""))
        self.address = tuple(map(int, info["address"].split(".")))
        self.port = self.machine.guest_port
        self.addresses = {STATION, GATEWAY}
        self.random = random.Random(11)
        self.drain()

    def frame(self, payload, kind=IPV4, target=None):
        self.machine.wire_send((target or self.mac) + STATION_MAC + struct.pack(">H", kind) + payload)

    def packet(self, protocol, payload, source=STATION, **how):
        self.frame(ip(source, self.address, protocol, payload, **how))

    def segment(self, sport, flags, seq, ack=0, data=b"", source=STATION, port=None, **how):
        self.packet(TCP, tcp(source, self.address, sport, port or self.port, flags, seq, ack, data, **how), source)

    def receive(self, timeout):
        """The next packet for one of our addresses as (target, protocol, payload), or None."""
        end = time.monotonic() + timeout
        while True:
            frame = self.machine.wire_receive(max(0.0005, end - time.monotonic()))
            if frame is None:
                return None
            found = self._look(frame)
            if found or time.monotonic() > end:
                return found

    def _look(self, frame):
        if frame[6:12] != self.mac:  # the emulator's own
            return None
        kind, body = struct.unpack(">H", frame[12:14])[0], frame[14:]
        if kind == ARP and body[6:8] == b"\0\1" and tuple(body[24:28]) in self.addresses:
            self.frame(arp(2, tuple(body[24:28]), self.address, target_mac=self.mac), ARP)
        if kind != IPV4 or tuple(body[16:20]) not in self.addresses:
            return None
        total = struct.unpack(">H", body[2:4])[0]
        return tuple(body[16:20]), body[9], body[(body[0] & 15) * 4:total]

    def drain(self):
        while self.machine.wire_receive(0.0005) is not None:
            pass

    def answers(self, seconds):
        """All that comes for us in that time."""
        end, found = time.monotonic() + seconds, []
        while (left := end - time.monotonic()) > 0:
            packet = self.receive(left)
            if packet:
                found.append(packet)
        return found

    def ping(self, data=b"chirp", timeout=ANSWER, **how):
        """Whether an echo of `data` comes back; what comes before it is thrown away."""
        self.packet(ICMP, icmp(8, 0, b"\0\7\0\1" + data), **how)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            packet = self.receive(end - time.monotonic())
            if packet and packet[1] == ICMP and packet[2][0] == 0 and packet[2][8:] == data:
                return True
        return False


class Stream:
    """One TCP connection of a station, with the calls of a socket that tests use, on a wire that loses
    nothing. What arrives is acknowledged at once, unless `deaf`."""

    next_port = 20000

    def __init__(self, station, source=STATION, opened=True, window=65535):
        Stream.next_port += 1
        self.station, self.source, self.port, self.window = station, source, Stream.next_port, window
        self.seq = station.random.getrandbits(32)
        self.ack, self.edge = 0, 0
        self.data, self.ended, self.reset, self.deaf, self.timeout = b"", False, False, False, ANSWER
        self.refused = False
        if opened:
            self.open()

    def send(self, flags, data=b"", *, at=0, ack=None, **how):
        """A segment at `at` bytes from where we are; nothing is remembered of it."""
        self.station.segment(self.port, flags, self.seq + at, self.ack if ack is None else ack, data,
                             self.source, window=self.window, **how)

    def expect(self, wanted, timeout=ANSWER):
        """The next segment that `wanted` is true of."""
        end, seen = time.monotonic() + timeout, []
        while (left := end - time.monotonic()) > 0:
            segment = self.next(left)
            if segment and wanted(segment):
                return segment
            if segment:
                seen.append(segment)
        raise AssertionError(f"the segment did not come, but {seen}")

    def next(self, timeout):
        """The next segment of this connection, or None."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            packet = self.station.receive(left)
            if not packet or packet[1] != TCP or packet[0] != self.source:
                continue
            segment = Segment(packet[0], packet[2])
            if segment.dport == self.port:
                return segment
        return None

    def begin(self, timeout=ANSWER):
        """SYN, and the answer to it: the host is in SYN-RECEIVED."""
        self.station.segment(self.port, SYN, self.seq, source=self.source, window=self.window,
                             options=struct.pack(">BBH", 2, 4, MSS))
        answer = self.expect(lambda s: s.flags & SYN, timeout)
        assert answer.flags == SYN | ACK and answer.ack == (self.seq + 1) & 0xffffffff, answer
        self.seq, self.ack = answer.ack, (answer.seq + 1) & 0xffffffff

    def open(self, timeout=ANSWER):
        self.begin(timeout)
        self.send(ACK)

    def _take(self, segment):
        if segment.flags & RST:
            self.reset = True
            return
        self.edge = max(self.edge, segment.ack - self.seq if segment.ack >= self.seq else 0)
        size = len(segment.data) + bool(segment.flags & FIN)
        if segment.seq == self.ack and size:
            self.data += segment.data
            self.ended = self.ended or bool(segment.flags & FIN)
            self.ack = (self.ack + size) & 0xffffffff
        if size and not self.deaf:
            self.send(ACK)

    def fin(self):
        """Our side ends."""
        self.send(FIN | ACK)
        self.seq = (self.seq + 1) & 0xffffffff

    # ---- as a socket ----

    def settimeout(self, seconds):
        self.timeout = seconds

    def sendall(self, data):
        for at in range(0, len(data), MSS):
            self.send(PSH | ACK, data[at:at + MSS])
            self.seq = (self.seq + len(data[at:at + MSS])) & 0xffffffff

    def recv(self, size):
        end = time.monotonic() + self.timeout
        while not self.data:
            if self.reset:
                raise ConnectionResetError
            if self.ended:
                return b""
            segment = self.next(end - time.monotonic())
            if not segment:
                raise TimeoutError
            self._take(segment)
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def close(self):
        """Ends the connection; a host that had not ended it yet is told by a reset."""
        self.send(RST | ACK)
