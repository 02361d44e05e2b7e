"""A client of the management protocol that can also speak it wrongly (mgmt/proto.h tells the layout)."""
import socket
import struct
from hashlib import blake2s

from keys import KEYS
from seal import Opening, Seal

MAGIC = 0x0a0d6c6565726343
FRAME_MAX = 16368
HEADER = struct.Struct("<IHHQ")
DATA, CREDIT, HELLO, CANCEL, GET_INFO = 0x01, 0x02, 0x10, 0x11, 0x12
HOST_POWER = 0x16
PUT, PUT_COMMIT, REMOVE_IMAGE, RUN, FORK, KILL, REMOVE, BATCH = 0x20, 0x21, 0x23, 0x30, 0x31, 0x36, 0x37, 0x3b
LIST_GUESTS, GET, ATTACH, WAIT = 0x40, 0x42, 0x43, 0x44
WELCOME, ERROR, DONE, RESULT, INFO, UPLOAD, IMAGE, STATUS = 0x80, 0x81, 0x82, 0x83, 0x84, 0x86, 0x87, 0x8a
FINAL = 1
PAUSED = 1
E_NOENT, E_LIMIT, E_UNSUPPORTED = 2, 6, 8
E_PROTOCOL, E_VERSION, E_TIMEOUT = 12, 13, 14
GUEST = 1
ATTACH_OUT, ATTACH_FOLLOW = 2, 8
STREAM_UPLOAD = 4
CREDIT_ENOUGH = 1 << 20
KEY = bytes(16)
AT_ONCE = 32  # requests


def frame(kind, request, payload=b"", flags=0):
    return HEADER.pack(HEADER.size + len(payload), kind, flags, request) + payload


def string(text):
    return struct.pack("<H", len(text)) + text.encode()


def ref(number, kind=GUEST):
    return struct.pack("<BQ", kind, number) + string("")


def hello(magic=MAGIC, low=1, high=1):
    return frame(HELLO, 0, struct.pack("<QHHQ", magic, low, high, 0) + string("test 1"))


def attach(request, guest, flags, credit=CREDIT_ENOUGH):
    return frame(ATTACH, request, ref(guest) + struct.pack("<BQQI", flags, 0, 0, credit))


def fork(request, source, count=1, flags=0, key=KEY, labels=""):
    return frame(FORK, request, key + ref(source) + struct.pack("<IBI", count, 0, 0) + string("") +
                 struct.pack("<QQQQIBQ", 0, 0, 0, 0, 0, flags, 0) + string(labels) + struct.pack("<III", 0, 0, 0))


def put(request, name, file):
    """The beginning of an upload."""
    return frame(PUT, request, KEY + string(name) + struct.pack("<Q", len(file)) + blake2s(file).digest())


def data(request, stream, position, part):
    return frame(DATA, request, struct.pack("<BBQI", stream, 0, position, len(part)) + part)


def error(payload):
    """Code and text of an ERROR."""
    code, _, size = struct.unpack_from("<HIH", payload)
    return code, payload[8:8 + size].decode()


def connect(host, timeout=60):
    return socket.create_connection(("127.0.0.1", host.machine.port), timeout)


def opening():
    """The first message of a client whom the host knows."""
    return Opening(bytes.fromhex(KEYS.client_private), bytes.fromhex(KEYS.host))


class Client:
    """`socket` is an open connection, if it is not to be one of this system's; `sent` the opening that
    was sent on it."""

    def __init__(self, host, greet=True, timeout=60, socket=None, sent=None):
        self.socket = socket or connect(host, timeout)
        if not sent:
            sent = opening()
            self.socket.sendall(sent.data)
        self.seal = Seal(self.socket, sent)
        self.buffer = b""
        if greet:
            self.send(hello())
            assert self.receive()[0] == WELCOME

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.seal.send(data)

    def _bytes(self, size):
        while len(self.buffer) < size:
            got = self.seal.receive()
            if not got:
                return None
            self.buffer += got
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def receive(self):
        """Type, flags, request and payload of the next frame; None: the host has closed."""
        head = self._bytes(HEADER.size)
        if head is None:
            return None
        length, kind, flags, request = HEADER.unpack(head)
        return kind, flags, request, self._bytes(length - HEADER.size)

    def closed(self):
        """The host closes, whatever it says before; its last ERROR, if it sent one."""
        last = None
        try:
            while (got := self.receive()) is not None:
                if got[0] == ERROR:
                    last = error(got[3])
        except ConnectionResetError:
            pass
        return last

    def all(self, requests):
        """Sends {number: frame}, some at once; a list of (type, payload) for each number."""
        left, answers, flying = list(requests.items()), {n: [] for n in requests}, 0
        while left or flying:
            while left and flying < AT_ONCE:
                self.send(left.pop(0)[1])
                flying += 1
            kind, flags, request, payload = self.receive()
            answers[request].append((kind, payload))
            flying -= flags & FINAL
        return answers

    def outputs(self, guests):
        """All that each guest writes until it stops."""
        flags = ATTACH_OUT | ATTACH_FOLLOW
        answers = self.all({g: attach(g, g, flags) for g in guests})
        out = []
        for g in guests:
            data = [p for kind, p in answers[g] if kind == DATA]
            out.append(b"".join(p[14:] for p in data))
        return out

    def remove(self, guests):
        answers = self.all({g: frame(REMOVE, g, KEY + ref(g)) for g in guests})
        assert all(a[-1][0] == DONE for a in answers.values()), answers
