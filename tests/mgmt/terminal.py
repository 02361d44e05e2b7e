#!/usr/bin/python3
"""creelctl on a terminal: a pty, and a screen that shows what a person would see.

usage: terminal.py FAKE_HOST CREELCTL [WORD]    (WORD: only the tests whose name holds it)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

import pyte

import creelctl as base
from cut import Wire
from creelctl import (CONNECTION, INTERRUPTED, USAGE, Result, ctl, put, run_detached, state,
                      wait_for)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *args, rows=24, columns=80, env={}):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execve(base.CREELCTL, ["creelctl", *map(str, args)],
                          dict(base.environment(), **dict({"TERM": "xterm"}, **env)))
            finally:
                os._exit(127)
        self.size(rows, columns)
        self.before = termios.tcgetattr(self.fd)

    def size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def read(self, seconds=0.05):
        """False once the program has closed it."""
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return False
            self.raw += data
            self.stream.feed(data)
        return True

    def type(self, text):
        os.write(self.fd, text.encode())

    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait(self, what):
        """Until it is to be seen; a regular expression. Returns the match."""
        end = time.time() + 20
        while not (found := re.search(what, self.text(), re.M)):
            assert time.time() < end and self.read(), f"no {what!r} on\n{self.text()}"
        return found

    def is_raw(self):
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def end(self, status=0, sig=0):
        """It ends so, and has put the terminal back."""
        end = time.time() + 20
        pid = 0
        while not pid:
            assert time.time() < end, f"it goes on:\n{self.text()}"
            self.read(0.02)
            pid, how = os.waitpid(self.pid, os.WNOHANG)
        after = termios.tcgetattr(self.fd)
        while self.read(0.1) and select.select([self.fd], [], [], 0)[0]:
            pass
        os.close(self.fd)
        assert after == self.before, (after, self.before)
        assert how == (sig or status << 8), (how, self.text())
        assert b"Sanitizer" not in self.raw and b"runtime error" not in self.raw, self.raw


# ---- consoles ----

def test_attach_with_a_terminal():
    put("cat", "echo ready\ncat\nexit 4\n")
    g = run_detached("cat", "-i")
    t = Terminal("attach", "-t", "--from-start", g)
    t.wait("^ready$")
    wait_for(t.is_raw)
    t.type("a\x03b\x1a\x10c\r")
    # ^C and ^Z are the guest's; a ^P alone too
    end = time.time() + 20
    while b"a\x03b\x1a\x10c\r" not in t.raw:
        assert time.time() < end and t.read(), t.raw
    t.type("\x10")
    t.type("\x11")
    t.wait(f"detached; guest {g} goes on")
    t.end(0)
    assert state(g) == "waiting"
    assert b"ready\r\n" in t.raw


def test_a_guest_of_run_goes_on_when_it_is_left():
    put("cat", "echo up\ncat\necho over\nexit 6\n")
    for verb, source in [("run", "cat"), ("fork", "first")]:
        name = "first" if verb == "run" else "second"
        options = [] if verb == "run" else ["--attach"]
        t = Terminal(verb, *options, "-t", "--name", name, source)
        t.wait("^up$" if verb == "run" else "")
        wait_for(t.is_raw)
        t.type("typed\r")
        t.wait("^typed$")
        t.type("\x10\x11")
        t.wait("detached; guest [0-9]+ goes on")
        t.end()
        assert state(name) == "waiting"
    assert ctl("attach", "-i", "first", stdin=b"more\n", status=6).out == "more\nover\n"
    t = Terminal("run", "-t", "--paused", "--name", "third", "cat")
    wait_for(t.is_raw)
    wait_for(lambda: Result(["inspect", "third"], b"").status == 0)
    assert state("third") == "paused"
    ctl("kill", "third")
    t.end(137)


def test_the_terminal_comes_back_however_it_ends():
    put("talk", "echo up\nsleep 100\nexit 5\n")
    put("cat", "echo up\ncat\n")
    t = Terminal("run", "-t", "talk")
    t.wait("^up$")
    t.end(5)
    for name, status, sig in [("SIGTERM", INTERRUPTED, 0), ("SIGHUP", 0, signal.SIGHUP),
                              ("SIGQUIT", 0, signal.SIGQUIT), ("SIGSEGV", 0, signal.SIGSEGV)]:
        t = Terminal("run", "-t", "cat")
        t.wait("^up$")
        wait_for(t.is_raw)
        # not the sanitizer's way with SIGSEGV
        os.kill(t.pid, getattr(signal, name))
        t.end(status, sig)
    mine, base.host = base.host, base.Host()
    try:
        put("cat", "echo up\ncat\n")
        t = Terminal("run", "-t", "cat")
        t.wait("^up$")
        base.host.stop()
        t.wait("the connection")
        t.end(CONNECTION)
    finally:
        base.host = mine


def test_attach_is_plain_without_a_terminal():
    put("cat", "cat\nexit 4\n")
    g = run_detached("cat", "-i")
    assert ctl("attach", "-t", g, stdin=b"x\x10\x11y\n", status=4).out == "x\x10\x11y\n"


# ---- progress ----

def on_slow_host(t, seen):
    """Until it was seen: a bar shows only when something takes a while."""
    end = time.time() + 20
    while not (found := re.search(seen, t.raw)):
        base.host.process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        base.host.process.send_signal(signal.SIGCONT)
        assert time.time() < end and t.read(0.01), t.raw[-500:]
    return found


def test_progress_of_an_upload():
    path = os.path.join(base.folder.name, "big.elf")
    with open(path, "w") as f:
        f.write("exit 0\n" + "#" * (40 << 20))
    t = Terminal("put", path, rows=5, columns=70)
    on_slow_host(t, rb"\rbig \[#* *\] +[0-9]+%  [0-9.]+ .?i?B of 40 MiB, .*?/s\x1b\[K")
    t.wait(r"^big \(image [0-9]+, 40 MiB\)$")
    t.end()
    assert "%" not in t.text(), t.text()
    for options, env in [(["--json"], {}), ([], {"TERM": "dumb"})]:
        t = Terminal(*options, "put", path, rows=5, columns=70, env=env)
        t.wait("image|id")
        t.end()
        assert b"%" not in t.raw, t.raw
    assert ctl("put", path).err == ""


def test_progress_of_an_upload_that_goes_on():
    path = os.path.join(base.folder.name, "resumed")
    with open(path, "w") as f:
        f.write("exit 0\n" + "#" * (40 << 20))
    wire = Wire(base.host.port, [30 << 20], slow=0.002)
    t = Terminal("put", path, rows=5, columns=70, env={"CREEL_HOST": wire.address})
    t.wait("goes on at (29|30) MiB of 40 MiB")
    t.wait(r"^resumed \[#* *\] +[0-9]+%")
    assert min(map(int, re.findall(rb"([0-9]+)%", t.raw.split(b"goes on")[1]))) >= 74, t.raw
    t.wait(r"^resumed \(image [0-9]+, 40 MiB\)$")
    t.end()


def test_progress_of_forks():
    put("wait", "wait\n")
    g = run_detached("wait")
    t = Terminal("fork", "-n", 20000, g, rows=6)
    on_slow_host(t, rb"forks \[#* *\] +[0-9]+%  [0-9]+ of 20000\x1b\[K\r\x1b\[K")
    t.end()
    numbers = re.sub(rb"\r?forks .*?\x1b\[K", b"", t.raw).replace(b"\r\x1b[K", b"").split()
    assert len(numbers) == 20000 and all(n.isdigit() for n in numbers), numbers[:10]


# ---- top ----

def busy_host():
    put("wait", "wait\n")
    put("spin", "spin\n")
    run_detached("wait", "--name", "idle")
    run_detached("spin", "--name", "busy")
    ctl("snapshot", "idle", "frozen")
    ctl("fork", "-n", "30", "--name", "kid", "frozen")
    ctl("pause", "kid-30")


def test_top():
    busy_host()
    t = Terminal("top", "-d", "0.2", rows=20, columns=110)
    t.wait(r"Creel fake on none, up .*, 1 client$")
    t.wait(r"^Memory \[.*\] .* of 2\.0 GiB used, .* in reserve$")
    t.wait(r"^Cores  \[.*\] .* of 2 used by guests$")
    t.wait(r"^Guests 32: 1 running, 30 waiting, 1 paused, 0 stopped; 1 snapshot$")
    t.wait(r"^ *ID NAME +IMAGE +STATE +CPU%v +EXITS/S +FAULTS/S +PRIVATE +SHARED +MEMORY *$")
    t.wait(r"^1 of 32  q leave")
    # the busy one comes first once there are rates
    t.wait(r"MEMORY\n +[0-9]+ busy +spin +running +[0-9.]+ +[1-9][0-9]* ")
    t.wait(r" kid-[0-9]+ +wait +waiting +0\.0 +0 +0 +20 KiB +80 KiB +16 MiB$")
    t.type("n")
    t.wait(r"NAMEv.*\n +[0-9]+ busy .*\n +[0-9]+ idle .*\n +[0-9]+ kid-1 ")
    t.type("r")
    t.wait(r"NAME\^.*\n +[0-9]+ kid-9 ")
    t.type("r<")
    t.wait(r"IDv.*\n +[0-9]+ idle ")
    t.type("\x1b[F")
    t.wait(r"kid-30 .* paused .*\n32 of 32 ")
    t.type("\x1b[A\x1b[5~")
    t.wait(r"^17 of 32 ")
    t.type("\x1b[H")
    t.wait(r"^1 of 32 ")
    t.type("jjk")
    t.wait(r"^2 of 32 ")
    t.type("h")
    t.wait("page up")
    t.type("x")
    t.wait(r"^2 of 32 ")
    # keys don't wait for the host
    base.host.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    t.type("h")
    t.wait("page up")
    t.type("x")
    t.wait(r"^2 of 32 ")
    base.host.process.send_signal(signal.SIGCONT)
    ctl("kill", "kid-30")
    t.wait("of 31 ")
    t.type("a")
    t.wait("of 32 ")
    t.size(9, 60)
    t.wait(r"^2 of 32  q leave")
    t.wait(r"^ *ID.*STATE +CPU%$")
    t.size(4, 30)
    t.wait(r"^ *ID.*\n.* idle .*\n.* busy .*\n2 of 32")
    t.size(40, 120)
    t.wait("kid-29")
    t.type("q")
    t.end()
    assert t.raw.endswith(b"\x1b[?25h\x1b[?1049l"), t.raw[-20:]
    assert b"\x1b[32m" in t.raw


def test_top_ends_as_told():
    busy_host()
    for what, status, sig in [("\x03", 0, 0), ("\x1c", 0, signal.SIGQUIT)]:
        t = Terminal("top", env={"NO_COLOR": "1"})
        t.wait("1 of 32")
        t.type(what)
        t.end(status, sig)
        assert t.raw.rstrip().endswith(b"\x1b[?25h\x1b[?1049l"), t.raw[-20:]
        assert b"\x1b[3" not in t.raw
    t = Terminal("top", "-d", "0.1")
    t.wait("1 of 32")
    base.host.process.kill()
    t.wait("the connection|closed")
    t.end(CONNECTION)
    base.host = base.Host()


def test_top_stops_and_goes_on():
    busy_host()
    t = Terminal("top", "-d", "0.2")
    t.wait("1 of 32")
    t.type("\x1a")
    assert os.WIFSTOPPED(os.waitpid(t.pid, os.WUNTRACED)[1])
    while t.read(0.1) and select.select([t.fd], [], [], 0)[0]:
        pass
    assert not t.is_raw() and t.raw.endswith(b"\x1b[?1049l")
    t.screen.reset()
    os.kill(t.pid, signal.SIGCONT)
    t.wait("1 of 32")
    t.type("q")
    t.end()


def test_top_without_a_terminal():
    busy_host()
    lines = ctl("top", "-d", "0.2").out.splitlines()
    assert lines[0].split()[:3] == ["ID", "NAME", "IMAGE"] and "busy" in lines[1], lines[:3]
    rows = ctl("top", "-d", "0.2", "--json").json()
    assert len(rows) == 32 and rows[0]["name"] == "busy" and rows[0]["exits_per_second"] > 0, rows[0]
    assert ctl("top", "-d", "0.2", "--format", "{name}").out.splitlines()[0] == "busy"
    assert "--delay takes" in ctl("top", "-d", "x", status=USAGE).err
    assert "--delay takes" in ctl("top", "--delay=0", status=USAGE).err


if __name__ == "__main__":
    sys.exit(base.run_tests("terminal", globals()))
