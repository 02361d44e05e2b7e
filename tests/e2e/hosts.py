"""One running host for each kind of machine, for all scenarios that need no machine of their own.

    @on("qemu1", "qemu2", "bochs")
    def exit_status(host):
        host.run("agent", "status", "7", status=7)

makes scenarios test_qemu1_exit_status and so on. A host boots at its first scenario and serves all
later ones of the process; one that panics fails the scenario that it panicked in, and the next one
boots another.
"""
import atexit
import functools
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "emu"))
import ether  # noqa: E402
from keys import KEYS  # noqa: E402
from run import CONF, ROOT, Machine  # noqa: E402

BUILD = os.path.join(ROOT, "build")
CTL = os.path.join(BUILD, "creelctl")
MACHINES = {
    "qemu1": dict(kind="qemu", cpus=1, mem=256),
    "qemu2": dict(kind="qemu", cpus=2, mem=256),
    "bochs": dict(kind="bochs", cpus=1, mem=256),
    # frames can be put on their Ethernet: ether.py
    "wire": dict(kind="qemu", cpus=1, mem=256, wire=True, conf=CONF + ether.CONF),
    "wire-e1000": dict(kind="qemu", cpus=1, mem=256, wire=True, nic="e1000", conf=CONF + ether.CONF),
    "linux-qemu": dict(kind="qemu", cpus=1, mem=512),
    "linux-python": dict(kind="qemu", cpus=1, mem=1024),
    "linux-bochs": dict(kind="bochs", cpus=1, mem=512),
}
BOOT = 120     # seconds
SETTLE = 20    # for what was dropped to be free again
COMMAND = 120
WRONG = re.compile(r"PANIC|BUG|assertion")

_running = {}


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err
        self.text = out.decode("utf-8", "replace")

    def __repr__(self):
        return f"status {self.status}, stdout {self.out[-2000:]!r}, stderr {self.err[-2000:]!r}"


class Attached:
    """A client that stays with a guest, and talks to it line by line, unless nobody reads what it prints."""

    def __init__(self, host, *args, read=True):
        self.process = subprocess.Popen([CTL, *args], env=host.environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._lines = queue.Queue()
        if read:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.decode().rstrip("\n"))
        self._lines.put(None)

    def line(self, timeout=COMMAND):
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"the guest said nothing for {timeout} s") from None
        assert line is not None, f"the client ended: {self.process.stderr.read()!r}"
        return line

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, line, timeout=COMMAND):
        """Lines of the answer to one line, up to "ok"."""
        self.say(line)
        return self.answer(timeout)

    def answer(self, timeout=COMMAND):
        lines = []
        while (got := self.line(timeout)) != "ok":
            lines.append(got)
        return lines

    def end(self, timeout=COMMAND):
        """Ends the input; the client's exit status."""
        self.process.stdin.close()
        return self.process.wait(timeout)

    def drop(self):
        """The client vanishes."""
        self.process.kill()
        self.process.wait()


class Host:
    def __init__(self, name):
        self.name = name
        self.cores = MACHINES[name]["cpus"]
        self.machine = Machine(**MACHINES[name]).start()
        self.environment = KEYS.environment(self.machine.port)
        self.most_guests = 1010 if name in ("qemu1", "qemu2") else 110  # at once, in any scenario
        self._canary = None
        try:
            self.machine.wait_for(r"address: \d+\.", BOOT, fail="PANIC")
            self._first_answer()
            self._put_images()
            self._grow_ledger()
        except BaseException:
            self.machine.stop()
            raise

    def _first_answer(self):
        """Bochs's network needs a moment more."""
        end = time.monotonic() + BOOT
        while self.command("info", status=None).status:
            if time.monotonic() > end:
                raise AssertionError("the host's management does not answer")
            time.sleep(0.1)

    def stop(self):
        if self._canary:
            self._canary.drop()
        self.machine.stop()

    def check(self):
        assert not WRONG.search(self.machine.serial), self.machine.tail(60)
        assert self.machine.running(), "the emulator has ended\n" + self.machine.tail(60)

    # ---- creelctl ----

    def command(self, *args, stdin=b"", status=0, timeout=COMMAND):
        """`status` None takes any."""
        done = subprocess.run([CTL, *map(str, args)], env=self.environment, input=stdin,
                              capture_output=True, timeout=timeout)
        result = Result(done.returncode, done.stdout, done.stderr)
        assert status is None or result.status == status, f"creelctl {' '.join(map(str, args))}: {result}"
        return result

    def json(self, *args):
        return json.loads(self.command("--json", *args).out)

    def _put_images(self):
        """All guests of the SDK's examples and of the tests, so that no scenario's frames have them."""
        for folder in ("guests", "test-guests"):
            for name in sorted(os.listdir(os.path.join(BUILD, folder))):
                self.command("put", os.path.join(BUILD, folder, name))

    def _grow_ledger(self):
        """Budgets and accounts lie in frames that are kept for the next ones: have enough of them."""
        first = self.start("agent", "sleep")
        forks = self.command("fork", "-n", self.most_guests, first).text.split()
        self.command("kill", first, *forks)
        self.command("rm", first, *forks)

    def clear(self):
        """After a failure: no guest or snapshot of it disturbs the next scenario."""
        for g in self.json("ps", "-a"):
            if g["name"] != "canary":
                self.command("kill", g["id"], status=None)
                self.command("rm", g["id"], status=None)
        for s in self.json("snapshots"):
            self.command("rm", s["id"], status=None)

    def run(self, image, *args, options=(), **more):
        """A guest with its client, to its end; it is removed then."""
        return self.command("run", "--rm", *options, image, *args, **more)

    def start(self, image, *args, options=()):
        """A guest that goes on by itself; its number."""
        return self.command("run", "-d", *options, image, *args).text.strip()

    def attach(self, image, *args, options=()):
        return Attached(self, "run", "-i", *options, image, *args)

    def get(self, guest):
        found = self.json("inspect", guest)
        return found[0] if isinstance(found, list) else found

    def wait_info(self, guest, holds, what, timeout=COMMAND):
        end = time.monotonic() + timeout
        while True:
            info = self.get(guest)
            if holds(info):
                return info
            assert time.monotonic() < end, f"waited {timeout} s for {what}: {info}"
            time.sleep(0.05)

    def wait_state(self, guest, *states, timeout=COMMAND):
        return self.wait_info(guest, lambda info: info["state"] in states, states, timeout)

    def wait_output(self, guest, text, timeout=COMMAND):
        end = time.monotonic() + timeout
        while text not in self.command("logs", guest).text:
            assert time.monotonic() < end, f"no {text!r}: {self.get(guest)}"
            time.sleep(0.05)

    def remove(self, *guests):
        for guest in guests:
            self.command("kill", guest, status=None)
            self.command("rm", guest)

    # ---- what must hold whatever a guest does ----

    def frames(self):
        """Frames by kind, once all that was dropped is free."""
        end, last = time.monotonic() + SETTLE, None
        while time.monotonic() < end:
            now = self.json("stats")["frames"]
            # Free frames that a core has at hand, and those that wait for a flush, come and go.
            now = {k: now[k] for k in ("table", "data", "state", "stream", "image", "host")}
            if now == last:
                return now
            last = now
            time.sleep(0.15)
        raise AssertionError(f"frames do not settle: {last}")

    def canary(self):
        """A guest that was there before answers as ever."""
        if not self._canary:
            self._canary = Attached(self, "run", "-i", "--name", "canary", "echo")
        word = f"chirp {time.monotonic()}"
        self._canary.say(word)
        assert self._canary.line(30) == word


def host_for(name):
    host = _running.get(name)
    if not host:
        host = _running[name] = Host(name)
    return host


def _scenario(name, function):
    host = host_for(name)
    try:
        function(host)
        host.check()
    except Exception:
        try:
            host.check()
        except AssertionError:
            _running.pop(name).stop()
            raise
        try:
            host.clear()
        except Exception:
            _running.pop(name).stop()
        raise


def on(*names):
    def register(function):
        for name in names:
            wrapper = functools.partial(_scenario, name, function)
            machine = name.replace("-", "_")
            function.__globals__[f"test_{machine}_{function.__name__}"] = wrapper
        return function
    return register


class unchanged:
    """What happens inside leaves no frame, connection or request behind, and does not disturb the
    canary."""

    def __init__(self, host):
        self.host = host

    def __enter__(self):
        self.host.canary()
        self.before = self._now()

    def __exit__(self, kind, *_):
        if kind:
            return
        self.host.canary()
        end = time.monotonic() + SETTLE
        while (after := self._now()) != self.before:
            assert time.monotonic() < end, f"before {self.before}, after {after}"
            time.sleep(0.3)

    def _now(self):
        info = self.host.json("info")
        return self.host.frames(), info["connections"], info["requests"]


@atexit.register
def _stop_all():
    for host in _running.values():
        host.stop()
