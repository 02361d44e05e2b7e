#!/usr/bin/python3
"""Runs the appliance on an emulated machine; a module for the scenarios and a command for people.

    with Machine("qemu", cpus=2, conf="console = serial\\n") as m:
        m.wait_for(r"listening on .*", 60)
        talk_to("127.0.0.1", m.port)

QEMU is an AMD-V machine without acceleration, Bochs a VT-x one. Everything that a run makes lies in
a directory of its own and goes with it; the emulator dies with this process.
"""
import argparse
import codecs
import ctypes
import glob
import json
import os
import pty
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bootdisk  # noqa: E402
from keys import KEYS  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EFI = os.path.join(ROOT, "build", "BOOTX64.EFI")
MANAGEMENT_PORT = 7117
CONF = "console = serial\n" + KEYS.conf

QEMU_FIRMWARE = "/usr/share/OVMF/OVMF_CODE.fd"
BOCHS_FIRMWARE = "/usr/share/ovmf/OVMF.fd"
BOCHS_VGA = "/usr/share/bochs/VGABIOS-lgpl-latest"
MAC = "52:54:00:12:34:56"

PREFIX = "creel-emu-"
ESCAPES = re.compile(r"\x1b\[[0-9;=?]*[A-Za-z]|\x1b[()][A-Z0-9]")
PR_SET_PDEATHSIG = 1


class Timeout(Exception):
    """What was waited for did not come; the text ends with the serial log's last lines."""


class Died(Exception):
    """The emulator ended before what was waited for came."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _sweep():
    """Remove the directories of runs whose process was killed before it could."""
    for path in glob.glob(os.path.join(tempfile.gettempdir(), PREFIX + "*")):
        pid = os.path.basename(path)[len(PREFIX):].split("-")[0]
        try:
            if pid.isdigit() and os.stat(path).st_uid == os.getuid():
                os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except OSError:  # somebody else's, or gone meanwhile
            pass


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Wire:
    """A switch between the machine's NIC, the emulator's forwarder and a test, by station addresses."""

    FORWARDER = b"\x52\x55"  # how all its station addresses begin

    def __init__(self, folder):
        self._folder, self._sockets = folder, {}
        self._frames = queue.Queue()

    def netdev(self, end, name):
        """An argument of -netdev."""
        near, far = (os.path.join(self._folder, f"{end}-{side}") for side in ("near", "far"))
        self._sockets[end] = s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(near)
        threading.Thread(target=self._carry, args=(end, s), daemon=True).start()
        return (f"dgram,id={name},local.type=unix,local.path={far},"
                f"remote.type=unix,remote.path={near}")

    def _carry(self, end, s):
        while True:
            try:
                frame = s.recv(65536)
                if not frame:
                    return
                if end == "user":
                    self.send(frame)
                    continue
                if frame[0] & 1 or frame.startswith(self.FORWARDER):
                    self.send(frame, "user")
                if not frame.startswith(self.FORWARDER):
                    self._frames.put(frame)
            except (FileNotFoundError, ConnectionRefusedError):
                pass  # the emulator is not there yet, or no longer
            except OSError:
                return

    def send(self, frame, end="nic"):
        self._sockets[end].sendto(frame, os.path.join(self._folder, f"{end}-far"))

    def receive(self, timeout):
        try:
            return self._frames.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self):
        for s in self._sockets.values():
            s.shutdown(socket.SHUT_RDWR)
            s.close()


class Machine:
    """One emulated machine. All arguments but `kind` are by name.

    kind       "qemu" or "bochs"
    cpus, mem  processors, MiB of memory
    cpu        the emulator's CPU model; None takes the one that has all we need
    icount     QEMU: run deterministically, TSC = instructions << icount (7 is a good one)
    real_idle  with icount: an idle machine's time passes as ours does, not as fast as it can, so
               that clients of its network live by the same clock
    accel      QEMU: "tcg" or "kvm"
    threads    QEMU's emulation of several processors: "single", in turns, or "multi", at the same time,
               in which QEMU 7.2 now and then loses a guest: docs/testing.md
    nic        "virtio" (QEMU only), "e1000", "none"; None takes the emulator's usual
    wire       QEMU: this test is on the NIC's Ethernet, beside the port's forwarder: it sends and
               receives whole frames by wire_send() and wire_receive()
    pcap       QEMU: write the NIC's packets to this file
    port       host port that is forwarded to guest_port; None picks a free one
    conf       text of creel.conf; None leaves the file out
    images     {name: path or bytes} for \\creel\\images\\
    efi        the appliance
    disk, iso  start from this disk image or ISO instead, as it is
    bootable   QEMU: False leaves the boot disk out, for a network boot by `extra`
    extra      more QEMU arguments, or more lines of bochsrc
    gdb        QEMU: a port where gdb may attach
    debugger   Bochs: lines for its debugger in place of "run until the end"
    echo       print serial lines with their times as they come
    """

    def __init__(self, kind="qemu", *, cpus=1, mem=512, cpu=None, icount=None, real_idle=False, accel="tcg",
                 threads="single", nic=None, wire=False, pcap=None, port=None, guest_port=MANAGEMENT_PORT,
                 conf=CONF, images=None, efi=EFI,
                 disk=None, iso=None, bootable=True, extra=(), gdb=None, debugger=("c", "quit"), echo=False):
        self.kind, self.cpus, self.mem, self.cpu = kind, cpus, mem, cpu
        self.icount, self.real_idle, self.accel, self.threads = icount, real_idle, accel, threads
        self.nic = nic or ("virtio" if kind == "qemu" else "e1000")
        self.wire, self.pcap = wire, pcap
        self._wire = self._qmp_file = None
        self.port, self.guest_port = port or free_port(), guest_port
        self.conf, self.images, self.efi = conf, images or {}, efi
        self.disk, self.iso = disk and os.path.abspath(disk), iso and os.path.abspath(iso)
        self.bootable = bootable
        self.extra, self.echo = list(extra), echo
        self.gdb, self.debugger = gdb, debugger
        self.dir = None
        self.process = None
        self.status = None          # the emulator's exit status, once it has ended
        self.lines = []             # (seconds since start, text) of COM1
        self.emulator_log = ""      # what the emulator itself said; complete after stop()
        self._cond = threading.Condition()
        self._partial = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._searched = 0
        self._threads = []

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    # ---- life ----

    def prepare(self):
        """Make the run's directory, and return the emulator's command line without starting it."""
        _sweep()
        self.dir = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
        return self._qemu() if self.kind == "qemu" else self._bochs()

    def start(self):
        try:
            command = self.prepare()
            self.started = time.monotonic()
            self._launch(command)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        """End the emulator and remove what the run made. The serial log stays in `lines`."""
        if self.process:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(3)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
            self.status = self.process.returncode
            for t in self._threads:
                t.join(5)
        for closing in (self._wire, self._qmp_file):
            if closing:
                closing.close()
        if self.dir:
            for name in ("bochs.log", "emulator.txt"):
                path = os.path.join(self.dir, name)
                if os.path.exists(path):
                    with open(path, errors="replace") as f:
                        self.emulator_log += f.read()
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir = None

    def running(self):
        return self.process.poll() is None

    def wait_exit(self, timeout):
        """The emulator's exit status once the machine has switched itself off."""
        try:
            self.status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Timeout(f"still running after {timeout} s\n{self.tail()}") from None
        for t in self._threads:
            t.join(5)
        return self.status

    # ---- the wire, and QEMU's monitor ----

    def wire_send(self, frame):
        self._wire.send(frame)

    def wire_receive(self, timeout):
        """The next Ethernet frame that the machine sent to nobody or to somebody unknown, or None."""
        return self._wire.receive(timeout)

    def monitor(self, command):
        """What QEMU's monitor answers to a line, such as "nmi", "info registers" or "mce ..."."""
        if self._qmp_file is None:
            path = os.path.join(self.dir, "qmp")
            while not os.path.exists(path) and self.running():
                time.sleep(0.02)
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(path)
                self._qmp_file = s.makefile("rw")
            self._qmp_file.readline()  # the greeting
            self._qmp("qmp_capabilities")
        return self._qmp("human-monitor-command", **{"command-line": command})

    def _qmp(self, command, **arguments):
        json.dump({"execute": command, "arguments": arguments}, self._qmp_file)
        self._qmp_file.write("\n")
        self._qmp_file.flush()
        while True:
            answer = json.loads(self._qmp_file.readline())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    # ---- serial ----

    @property
    def serial(self):
        with self._cond:
            return "\n".join(text for _, text in self.lines)

    def tail(self, n=15):
        with self._cond:
            return "\n".join(f"[{t:7.2f}] {text}" for t, text in self.lines[-n:])

    def wait_for(self, pattern, timeout, fail=None):
        """Wait for a whole serial line that `pattern` is found in; returns the match.

        Looks only at lines after the one that the last call found. A line with `fail` in it ends
        the waiting with an AssertionError.
        """
        want, bad = re.compile(pattern), re.compile(fail) if fail else None
        end = time.monotonic() + timeout
        with self._cond:
            while True:
                while self._searched < len(self.lines):
                    text = self.lines[self._searched][1]
                    self._searched += 1
                    found = want.search(text)
                    if found:
                        return found
                    if bad and bad.search(text):
                        raise AssertionError(f"serial says: {text}")
                ended = self.process.poll() is not None and not self._alive()
                if ended:
                    raise Died(f"{self.kind} ended with {self.process.returncode} before "
                               f"/{pattern}/\n{self._tail()}")
                left = end - time.monotonic()
                if left <= 0:
                    raise Timeout(f"no /{pattern}/ in {timeout} s\n{self._tail()}")
                self._cond.wait(min(left, 0.2))

    def _tail(self):
        rest = [f"[unended] {self._partial}"] if self._partial else []
        return "\n".join([f"[{t:7.2f}] {text}" for t, text in self.lines[-15:]] + rest)

    def _alive(self):
        return any(t.is_alive() for t in self._threads)

    def _feed(self, data):
        with self._cond:
            parts = (self._partial + self._decoder.decode(data)).split("\n")
            self._partial = parts.pop()
            for part in parts:
                text = ESCAPES.sub("", part).replace("\r", "").rstrip()
                if not text:
                    continue
                when = time.monotonic() - self.started
                self.lines.append((when, text))
                if self.echo:
                    print(f"[{when:7.2f}] {text}", flush=True)
            self._cond.notify_all()

    # ---- the emulators ----

    def _launch(self, command):
        with open(os.path.join(self.dir, "emulator.txt"), "wb") as log:
            if self.kind == "qemu":
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                    preexec_fn=_die_with_parent, start_new_session=True)
                self._thread(self._read_pipe)
            else:
                # Bochs's text display wants a terminal, and somebody who reads it.
                master, slave = pty.openpty()
                self.process = subprocess.Popen(
                    command, stdin=slave, stdout=slave, stderr=log, cwd=self.dir,
                    env=dict(os.environ, TERM="vt100", LINES="25", COLUMNS="80"),
                    preexec_fn=_die_with_parent, start_new_session=True)
                os.close(slave)
                self._thread(self._drain, master)
                self._thread(self._follow_file)

    def _thread(self, target, *args):
        t = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(t)
        t.start()

    def _read_pipe(self):
        fd = self.process.stdout.fileno()
        while True:
            data = os.read(fd, 65536)
            if not data:
                break
            self._feed(data)
        self.process.stdout.close()

    def _drain(self, master):
        while True:
            try:
                if not os.read(master, 65536):
                    break
            except OSError:  # the other side has gone
                break
        os.close(master)

    def _follow_file(self):
        path = os.path.join(self.dir, "com1.txt")
        while not os.path.exists(path) and self.running():
            time.sleep(0.02)
        if not os.path.exists(path):
            return
        with open(path, "rb") as f:
            while True:
                ended = not self.running()
                data = f.read()
                if data:
                    self._feed(data)
                elif ended:
                    break
                else:
                    time.sleep(0.02)

    def _boot_disk(self):
        if self.disk:
            return self.disk
        path = os.path.join(self.dir, "disk.img")
        bootdisk.make(path, self.efi, self.conf, self.images)
        return path

    def _qemu(self):
        accel = self.accel
        if accel == "tcg":
            accel += f",thread={self.threads}"
        command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot",
                   "-machine", "q35", "-accel", accel,
                   "-cpu", self.cpu or ("host" if self.accel == "kvm" else "max"),
                   "-smp", str(self.cpus), "-m", f"{self.mem}M", "-serial", "stdio",
                   "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={QEMU_FIRMWARE}",
                   "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                   "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off"]
        if self.icount is not None:
            command += ["-icount", f"shift={self.icount},sleep={'on' if self.real_idle else 'off'}"]
        if self.iso:
            command += ["-drive", f"if=none,id=boot,format=raw,readonly=on,file={self.iso}",
                        "-device", "ide-cd,drive=boot,bootindex=0"]
        elif self.bootable:
            command += ["-drive", f"if=none,id=boot,format=raw,snapshot=on,file={self._boot_disk()}",
                        "-device", "ide-hd,drive=boot,bootindex=0"]
        if self.nic != "none":
            card = {"virtio": "virtio-net-pci,disable-legacy=on", "e1000": "e1000"}[self.nic]
            command += [*self._netdev(), "-device", f"{card},netdev=net0,mac={MAC},romfile="]
        if self.pcap:
            command += ["-object", f"filter-dump,id=pcap,netdev=net0,file={self.pcap}"]
        if self.gdb:
            command += ["-gdb", f"tcp:127.0.0.1:{self.gdb}"]
        return command + self.extra

    def _netdev(self):
        user = f"user,id=user0,hostfwd=tcp:127.0.0.1:{self.port}-:{self.guest_port}"
        if not self.wire:
            return ["-netdev", user.replace("user0", "net0")]
        self._wire = Wire(self.dir)
        parts = [self._wire.netdev("nic", "net0"), user, self._wire.netdev("user", "user1"),
                 "hubport,hubid=0,id=hub0,netdev=user0", "hubport,hubid=0,id=hub1,netdev=user1"]
        return [word for part in parts for word in ("-netdev", part)]

    def _bochs(self):
        if self.iso:
            boot = f'ata0-master: type=cdrom, path="{self.iso}", status=inserted\nboot: cdrom'
        else:
            mode = "volatile" if self.disk else "flat"
            boot = f'ata0-master: type=disk, path="{self._boot_disk()}", mode={mode}\nboot: disk'
        address = (1 << 32) - os.path.getsize(BOCHS_FIRMWARE)
        ignored = "".join(f", cpu{i}=ignore" for i in range(self.cpus))
        rc = [
            "config_interface: textconfig",
            f"display_library: {_bochs_display()}",
            "plugin_ctrl: unmapped=1, serial=1, biosdev=0, speaker=0, parallel=0"
            + (", e1000=1" if self.nic == "e1000" else ""),
            f"cpu: model={self.cpu or 'corei7_skylake_x'}, count={self.cpus}, ips=100000000, "
            "reset_on_triple_fault=0, ignore_bad_msrs=1",
            f"memory: guest={self.mem}, host={min(self.mem, 2048)}",
            f'romimage: file="{BOCHS_FIRMWARE}", address={address:#x}',
            f'vgaromimage: file="{BOCHS_VGA}"',
            "pci: enabled=1, chipset=i440fx" + (", slot1=e1000" if self.nic == "e1000" else ""),
            boot,
            "clock: sync=none, time0=946684800",
            'com1: enabled=1, mode=file, dev="com1.txt"',
            "log: bochs.log",
            "panic: action=fatal",
            "error: action=report",
            f"info: action=report{ignored}",
            "debug: action=ignore",
        ]
        if self.nic == "e1000":
            rc.append(f"e1000: enabled=1, mac={MAC}, ethmod=slirp, script=slirp.conf")
            with open(os.path.join(self.dir, "slirp.conf"), "w") as f:
                f.write("# slirp config\nhostfwd = tcp:127.0.0.1:"
                        f"{self.port}-10.0.2.15:{self.guest_port}\n")
        elif self.nic != "none":
            raise ValueError("Bochs has e1000 or no network card")
        with open(os.path.join(self.dir, "bochsrc"), "w") as f:
            f.write("\n".join(rc + self.extra) + "\n")
        # Debian's Bochs is built with its debugger, which stops at reset until told to go.
        with open(os.path.join(self.dir, "debugger.rc"), "w") as f:
            f.write("\n".join(self.debugger) + "\n")
        return ["bochs", "-q", "-unlock", "-f", "bochsrc", "-rc", "debugger.rc"]


def _bochs_display():
    """Debian packs Bochs's displays apart, and none of them is "no display"."""
    if glob.glob("/usr/lib/*/bochs/plugins/libbx_term_gui.so"):
        return "term"
    return 'rfb, options="timeout=0"'  # takes a port from 5900 on and waits for no viewer


def kvm_works():
    """Whether /dev/kvm runs a guest that may itself use VT-x or AMD-V."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    for module in ("kvm_intel", "kvm_amd"):
        try:
            with open(f"/sys/module/{module}/parameters/nested") as f:
                if f.read().strip() in ("1", "Y"):
                    return True
        except OSError:
            pass
    return False


def _arguments():
    p = argparse.ArgumentParser(description="Run the appliance on an emulated machine.")
    p.add_argument("--kind", choices=("qemu", "bochs"), default="qemu")
    p.add_argument("--cpus", type=int, default=1)
    p.add_argument("--mem", type=int, default=512, help="MiB")
    p.add_argument("--cpu", help="the emulator's CPU model")
    p.add_argument("--icount", type=int, metavar="SHIFT", help="deterministic QEMU, 7 is good")
    p.add_argument("--accel", choices=("tcg", "kvm"), default="tcg")
    p.add_argument("--threads", choices=("single", "multi"), default="single", help="of the emulation")
    p.add_argument("--nic", choices=("virtio", "e1000", "none"))
    p.add_argument("--port", type=int, help="host port for management; default: a free one")
    p.add_argument("--conf", help="a creel.conf instead of the tests' one; '' for none")
    p.add_argument("--set", action="append", default=[], metavar="'KEY = VALUE'",
                   help="one more line of creel.conf")
    p.add_argument("--image", action="append", default=[], metavar="[NAME=]FILE")
    p.add_argument("--efi", default=EFI)
    p.add_argument("--disk")
    p.add_argument("--iso")
    p.add_argument("--until", help="end with success at a serial line that has this regexp")
    p.add_argument("--fail", help="end with failure at a serial line that has this one")
    p.add_argument("--timeout", type=float, default=60)
    p.add_argument("--gdb", type=int, metavar="PORT", help="where gdb may attach to QEMU")
    p.add_argument("extra", nargs="*", help="after --: more QEMU arguments, or bochsrc lines")
    return p.parse_args()


def main():
    a = _arguments()
    conf = CONF
    if a.conf == "":
        conf = None
    elif a.conf:
        with open(a.conf) as f:
            conf = f.read()
    if a.set:
        conf = (conf or "") + "\n".join(a.set) + "\n"
    images = {}
    for spec in a.image:
        name, eq, path = spec.partition("=")
        images[name if eq else os.path.basename(spec)] = path if eq else spec
    m = Machine(a.kind, cpus=a.cpus, mem=a.mem, cpu=a.cpu, icount=a.icount, accel=a.accel, threads=a.threads,
                nic=a.nic, port=a.port, conf=conf, images=images, efi=a.efi, disk=a.disk,
                iso=a.iso, extra=a.extra, gdb=a.gdb, echo=True)
    status = 0
    with m:
        if m.nic != "none":
            print(f"management port: 127.0.0.1:{m.port}; with this machine's own creel.conf:\n"
                  f"export XDG_CONFIG_HOME={KEYS.folder} CREEL_HOST=127.0.0.1:{m.port} "
                  f"CREEL_HOST_KEY={KEYS.host}", flush=True)
        try:
            if a.until:
                m.wait_for(a.until, a.timeout, fail=a.fail)
            else:
                status = m.wait_exit(a.timeout)
        except (Timeout, Died) as e:
            print(e)
            status = 2
        except AssertionError as e:
            print(e)
            status = 1
        except KeyboardInterrupt:
            status = 130
    if status and m.emulator_log:
        print(m.emulator_log[-2000:])
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
