#!/usr/bin/python3
"""In the place of creel-agent: one that lies, in a way that the first argument names."""
import os
import socket
import struct
import sys

RESET, OPEN, CREDIT, CLOSE, DATA, END, HELLO = range(1, 8)
EXEC = 1
STARTED, STDOUT, STDERR, WANTED, EXIT, ERROR, FROZEN = range(0x81, 0x88)


def stuff(data):
    out, run = bytearray(), bytearray()
    for b in data:
        if b:
            run.append(b)
        if not b or len(run) == 254:
            out += bytes([len(run) + 1]) + run
            run.clear()
    return bytes(out) + bytes([len(run) + 1]) + bytes(run) + b"\0"


def unstuff(wire):
    out, at = bytearray(), 0
    while at < len(wire):
        n = wire[at]
        out += wire[at + 1:at + n]
        at += n
        if n < 255 and at < len(wire):
            out.append(0)
    return bytes(out)


class Port:
    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)
        self.rest = b""

    def frame(self):
        while True:
            while b"\0" not in self.rest:
                more = self.socket.recv(65536)
                if not more:
                    sys.exit(0)
                self.rest += more
            wire, self.rest = self.rest.split(b"\0", 1)
            if wire:
                data = unstuff(wire)
                return data[0], struct.unpack_from("<Q", data, 1)[0], data[9:]

    def say(self, kind, session, payload=b""):
        self.socket.sendall(stuff(struct.pack("<BQ", kind, session) + payload))


class Session:
    def __init__(self, port, number, credit):
        self.port, self.number, self.credit, self.data = port, number, credit, b""

    def message(self, kind, payload=b""):
        self.raw(struct.pack("<IB", len(payload) + 1, kind) + payload)

    def raw(self, data):
        for at in range(0, len(data), 4000):
            piece = data[at:at + 4000]
            while self.credit < len(piece):
                kind, number, payload = self.port.frame()
                if kind == CREDIT and number == self.number:
                    self.credit += struct.unpack("<I", payload)[0]
                elif kind in (CLOSE, RESET):
                    return
            self.credit -= len(piece)
            self.port.say(DATA, self.number, piece)

    def end(self):
        self.port.say(END, self.number)


def command(payload):
    strings = payload[17:].split(b"\0")
    return strings[1:1 + struct.unpack_from("<H", payload, 13)[0]]


def answer(s, way, payload):
    if way == "tar":
        word = command(payload)[0]
        s.message(STARTED, struct.pack("<I", 1))
        if word == b"stat":
            s.message(STDOUT, b"directory 755\n")
        elif word == b"tar":
            with open(sys.argv[2], "rb") as f:
                stream = f.read()
            for at in range(0, len(stream), 3000):
                s.message(STDOUT, stream[at:at + 3000])
        s.message(EXIT, b"\0\0")
        s.end()
    elif way == "garbage":
        for _ in range(50):
            s.port.socket.sendall(os.urandom(1000))
    elif way == "flood":
        for _ in range(200):
            s.port.say(DATA, s.number, bytes(4000))
    elif way == "huge":
        s.raw(struct.pack("<IB", 0xffffffff, STDOUT))
    elif way == "early":
        s.message(STDOUT, b"before it began")
    elif way == "twice":
        s.message(STARTED, struct.pack("<I", 1))
        s.message(EXIT, b"\0\0")
        s.message(EXIT, b"\0\0")
    elif way == "unknown":
        s.message(0xee)
    elif way == "endless":
        s.message(STARTED, struct.pack("<I", 1))
        for _ in range(100):
            s.message(WANTED, struct.pack("<I", 65536))


def main():
    port = Port(int(sys.argv[sys.argv.index("--fd") + 1]))
    sessions = {}
    while True:
        kind, number, payload = port.frame()
        if kind == OPEN:
            sessions[number] = Session(port, number, struct.unpack("<I", payload)[0])
        elif kind == DATA and number in sessions:
            s = sessions[number]
            s.data += payload
            if len(s.data) >= 5 and len(s.data) >= 4 + struct.unpack_from("<I", s.data)[0]:
                if s.data[4] == EXEC:
                    answer(s, sys.argv[1], s.data[5:])
                s.data = b""


try:
    main()
except OSError:
    sys.exit(0)
