"""Guests that do what they should not: each stops itself alone, with a reason, and leaves nothing."""
import os
import random
import re
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hosts import BUILD, Attached, on, unchanged  # noqa: E402

ALL = ("qemu1", "qemu2", "bochs")

# ---- images ----

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)
CODE = b"\xeb\xfe"
MIB = 1 << 20


def elf(segments, entry=0x10000, ident=IDENT, kind=2, machine=62, phentsize=56, phoff=64, phnum=None,
        body=bytes(8192)):
    """`segments`: (address, file offset, file size, memory size[, flags])."""
    head = EHDR.pack(ident, kind, machine, 1, entry, phoff, 0, 0, 64, phentsize,
                     len(segments) if phnum is None else phnum, 0, 0, 0)
    table = b"".join(PHDR.pack(1, s[4] if len(s) > 4 else 5, s[1], s[0], s[0], s[2], s[3], 4096)
                     for s in segments)
    start = (head + table).ljust(4096, b"\0")
    return start + CODE + body


GOOD = (0x10000, 4096, 16, 16)
TOP = (1 << 64) - 4096
BAD_IMAGES = {
    "empty": b"",
    "a byte": b"\x7f",
    "text": b"#!/bin/sh\necho hello\n" * 100,
    "zeros": bytes(10000),
    "header only": elf([GOOD])[:64],
    "half a header": elf([GOOD])[:40],
    "cut in the segment table": elf([GOOD])[:100],
    "cut in a segment": elf([(0x10000, 4096, 8192, 8192)])[:6000],
    "32-bit": elf([GOOD], ident=b"\x7fELF\x01" + IDENT[5:]),
    "big-endian": elf([GOOD], ident=b"\x7fELF\x02\x02" + IDENT[6:]),
    "other machine": elf([GOOD], machine=183),
    "shared object": elf([GOOD], kind=3),
    "relocatable": elf([GOOD], kind=1),
    "no segments": elf([]),
    "too many segments": elf([GOOD], phnum=65535),
    "odd segment size": elf([GOOD], phentsize=32),
    "table beyond the file": elf([GOOD], phoff=1 << 40),
    "table that wraps": elf([GOOD], phoff=TOP),
    "overlapping": elf([GOOD, (0x10008, 4096, 16, 16)]),
    "overlapping by memory size": elf([(0x10000, 4096, 16, 0x3000), (0x12000, 4096, 16, 16)]),
    "file size above memory size": elf([(0x10000, 4096, 64, 16)]),
    "offset beyond the file": elf([(0x10000, 1 << 30, 16, 16)]),
    "offset that wraps": elf([(0x10000, TOP, 8192, 8192)]),
    "huge": elf([GOOD, (0x20000, 4096, 16, 1 << 45)]),
    "size that wraps": elf([GOOD, (0x20000, 4096, 16, TOP)]),
    "at the end of the address space": elf([GOOD, (TOP, 4096, 16, 8192)]),
    "kernel address": elf([GOOD, (0xffffffff80000000, 4096, 16, 16)]),
    "over the page tables": elf([GOOD, (0x9000, 4096, 16, 16)]),
    "at page 0": elf([GOOD, (0, 4096, 16, 16)]),
    "entry outside": elf([GOOD], entry=0x20000),
    "entry 0": elf([GOOD], entry=0),
    "entry behind the last byte": elf([GOOD], entry=0x10010),
    "entry at the end of all": elf([GOOD], entry=(1 << 64) - 1),
}


@on(*ALL)
def bad_images_are_refused(host):
    with tempfile.TemporaryDirectory() as d, unchanged(host):
        path = os.path.join(d, "image")
        images = host.json("images")
        for what, data in BAD_IMAGES.items():
            with open(path, "wb") as f:
                f.write(data)
            refused = host.command("put", path, "bad", status=125)
            assert refused.err.count(b"\n") == 1 and len(refused.err) > 30, (what, refused)
        assert host.json("images") == images
        with open(path, "wb") as f:  # the one that they were made of is good
            f.write(elf([GOOD]))
        host.command("put", path, "good")
        host.command("rmi", "good")


@on("qemu1")
def mangled_images_do_no_harm(host):
    """A real image with bytes changed: it is refused, or it is a guest like any other."""
    with open(os.path.join(BUILD, "guests", "hello"), "rb") as f:
        good = f.read()
    r = random.Random(7)
    with tempfile.TemporaryDirectory() as d, unchanged(host):
        path = os.path.join(d, "image")
        for _ in range(60):
            data = bytearray(good)
            for _ in range(r.randint(1, 6)):
                data[r.randrange(200)] = r.choice((0, 1, 0x7f, 0x80, 0xff, r.randrange(256)))
            with open(path, "wb") as f:
                f.write(data)
            if host.command("put", path, "mangled", status=None).status == 0:
                # -d: it may well run for ever
                guest = host.command("run", "-d", "mangled", status=None).text.strip()
                if guest:
                    host.remove(guest)
        host.command("rmi", "mangled", status=None)


# ---- the processor ----

@on(*ALL)
def processor_answers_as_documented(host):
    with unchanged(host):
        for what in ("cpuid", "instructions", "msrs", "control"):
            out = host.run("machine", what).text
            assert out.endswith("PASS\n"), (what, out)


@on(*ALL)
def ports(host):
    with unchanged(host):
        step = 1 if host.name == "qemu1" else 11
        assert host.run("machine", "ports", step).text == "PASS\n"


@on("bochs")
def control_registers(host):
    with unchanged(host):
        for what in ("cr0", "cr4", "xcr0", "dr7"):
            assert host.run("machine", what, "strict").text.endswith("PASS\n")


# What it does: exit status, reason.
ENDINGS = {
    ("write",): (139, "touched address 0x2000000, where it has no memory, at 0x1...."),
    ("read",): (139, "touched address 0x2000000, where it has no memory, at 0x1...."),
    ("execute",): (139, "touched address 0x2000000, where it has no memory, at 0x2000000"),
    ("null",): (139, "touched address 0x0, where it has no memory, at 0x0"),
    ("stack",): (139, "touched address 0xff8, where it has no memory, at 0x1...."),
    ("far", "30"): (139, "touched address 0x40000000, where it has no memory, at 0x1...."),
    ("far", "35"): (139, "touched address 0x800000000, where it has no memory, at 0x1...."),
    ("far", "51"): (134, "crashed: page fault at 0x1...., address 0x40000000, error 0x[ab]"),
    ("table",): (139, "touched address 0x2000..., where it has no memory, at 0x1...."),
    ("triple",): (135, "triple fault at 0x1....: an exception without a handler"),
    ("outs",): (132, "used an instruction that no guest may at 0x1....: string I/O"),
    ("ins",): (132, "used an instruction that no guest may at 0x1....: string I/O"),
    ("halt",): (140, "halted at 0x1.... with nothing that could wake it"),
    ("sti-halt",): (140, "halted at 0x1.... with nothing that could wake it"),
    ("real",): (140, "halted at 0x[0-9a-f]+ with nothing that could wake it"),
    ("legacy",): (7, None),
    ("step",): (0, None),
}


@on(*ALL)
def endings_have_reasons(host):
    with unchanged(host):
        for what, (status, reason) in ENDINGS.items():
            result = host.run("wild", *what, status=None)
            assert result.status == status, (what, result)
            if reason:
                assert re.search(reason, result.err.decode()), (what, result)
            host.canary()


@on(*ALL)
def loops_in_the_delivery_of_exceptions(host):
    """No instruction runs in between. (QEMU's processor has no alignment check: there it just spins.)"""
    with unchanged(host):
        for what in ("db", "ac"):
            loop = host.start("wild", what)
            end = time.monotonic() + 60
            exits = 100 if what == "db" or host.name == "bochs" else 0
            # Time alone says little: on two processors that take turns, the other one's counts too.
            while (info := host.get(loop))["cpu_ns"] < 20000000 or info["exits"] <= exits:
                assert time.monotonic() < end, info
            host.canary()
            assert host.get(loop)["state"] == "running", info
            host.remove(loop)


@on(*ALL)
def vector_state_is_nobody_elses(host):
    """Secrets stay in the registers of one guest while others look at theirs."""
    with unchanged(host):
        host.run("vector_clean")
        secrets = [host.start("vector", n, 50, "on") for n in (165, 90)]
        for guest in secrets:
            host.wait_output(guest, "PASS\n")
        for _ in range(5):
            host.run("vector_clean")
        assert host.run("vector", 60, 100).text == "PASS\n"
        for guest in secrets:
            assert host.get(guest)["state"] == "running"
        host.remove(*secrets)


# ---- the ABI ----

@on(*ALL)
def wrong_hypercalls(host):
    rounds = 2000 if host.name == "bochs" else 20000
    with unchanged(host):
        result = host.command("run", "--max-guests", "5", "--max-snapshots", "3", "-d", "hypercalls",
                              rounds)
        guest = result.text.strip()
        done = host.wait_state(guest, "stopped", "paused")
        assert (done["stop"], done["exit_status"]) == ("exited", 0), done
        assert host.command("logs", "--stdout", guest).text.endswith("PASS\n")
        for family in host.json("ps", "-a"):
            if family["lineage"] == int(guest):
                host.remove(family["id"])
        for snapshot in host.json("snapshots"):
            host.command("rm", snapshot["id"])


# ---- streams ----

@on(*ALL)
def flood_without_a_reader(host):
    with unchanged(host):
        flood = host.start("agent", "flood", "0")
        for _ in range(3):
            host.canary()
        info = host.wait_info(flood, lambda info: info["bytes_out"] > 65536, "more than 64 KiB of output")
        assert info["private_pages"] < 100, info
        # while it runs: what there was when it was asked for
        kept = host.command("logs", flood, timeout=30).out
        assert 0 < len(kept) <= 80 * 1024, len(kept)
        host.remove(flood)


@on(*ALL)
def flood_with_a_reader_that_stops_reading(host):
    with unchanged(host):
        flood = host.start("agent", "flood", "0")
        reader = Attached(host, "attach", "--hold", flood, read=False)
        # its pipes fill up: the client stalls, and the guest with it
        end = time.monotonic() + 60
        while True:
            before = host.get(flood)
            time.sleep(0.5)
            after = host.get(flood)
            if before["bytes_out"] == after["bytes_out"] and after["state"] == "waiting":
                break
            assert time.monotonic() < end, after
        host.canary()
        reader.drop()
        end = time.monotonic() + 60
        while host.get(flood)["bytes_out"] == after["bytes_out"]:
            assert time.monotonic() < end
        host.remove(flood)


@on("qemu1", "bochs")
def flood_to_its_end(host):
    size = 200000 if host.name == "bochs" else 4 * MIB
    with unchanged(host):
        out = host.run("agent", "flood", size).out
        pattern = bytes(ord("a") + i % 26 for i in range(8192))
        assert out == (pattern * (size // 8192 + 1))[:size]


@on(*ALL)
def input_that_is_never_read(host):
    with unchanged(host):
        idle = Attached(host, "run", "-i", "--name", "idle", "agent", "idle")
        end = time.monotonic() + 60
        while not [g for g in host.json("ps") if (g["name"], g["state"]) == ("idle", "waiting")]:
            assert time.monotonic() < end
        os.set_blocking(idle.process.stdin.fileno(), False)
        taken, end, last = 0, time.monotonic() + 60, time.monotonic()
        while time.monotonic() - last < 1:
            assert time.monotonic() < end, f"{taken} bytes were taken, and there is no end"
            try:
                taken += os.write(idle.process.stdin.fileno(), bytes(65536))
                last = time.monotonic()
            except BlockingIOError:
                time.sleep(0.05)
        assert host.get("idle")["private_pages"] < 100
        host.canary()
        idle.drop()
        end = time.monotonic() + 60
        host.command("kill", "idle", status=None)
        host.command("rm", "idle")


# ---- memory ----

@on(*ALL)
def memory_exhausted_within_the_guest(host):
    """malloc ends at the guest's own size, and its budget pauses it before."""
    with unchanged(host):
        result = host.run("agent", "touch", 5000, status=134)
        assert b"malloc failed" in result.err, result
        hog = host.start("agent", "touch", 3000, options=["--max-pages", "1000"])
        paused = host.wait_state(hog, "paused")
        assert paused["stop"] == "memory limit", paused
        host.remove(hog)


@on("qemu1")
def control_registers_as_qemu_has_them(host):
    """QEMU lets reserved bits be set; the guest's state is then refused at its next entry, after which
    guests with interrupts off must still be pre-empted."""
    with unchanged(host):
        for what in ("cr0", "cr4", "xcr0", "dr7"):
            result = host.run("machine", what, status=None)
            if result.status == 141:
                assert re.search(rb"processor state can't be entered \(code 0x[0-9a-f]+\) at 0x1....\b",
                                 result.err), result
            else:
                assert result.status in (0, 134), result
            spinner = host.start("agent", "spin")
            assert host.run("hello").status == 0
            host.remove(spinner)


# ---- all of them ----

# Images with their arguments and options which have an end, or none.
LOOPS = [("wild", "db"), ("wild", "ac"), ("agent", "spin"), ("agent", "spin"), ("agent", "flood", "0"), ("agent", "idle")]
BOUNDED = {
    ("agent", "touch", 3000): ["--max-pages", "1000"],
    ("agent", "bomb"): ["--max-guests", "20"],
    ("hypercalls", 200): ["--max-guests", "5", "--max-snapshots", "3"],
    ("agent", "touch", 5000): [],
    ("agent", "flood", 300000): [],
}
PROBES = [("machine", "cpuid"), ("machine", "instructions"), ("machine", "msrs"), ("machine", "control"),
          ("machine", "ports", 1999)]


@on(*ALL)
def all_hostile_guests_at_once(host):
    """Beside one that behaves: each ends as it does alone, and leaves nothing."""
    with unchanged(host):
        good = host.attach("agent", "shell", options=["--name", "good"])
        good.ask("set 5 55")
        loops = [host.start(*words) for words in LOOPS]
        bounded = [host.start(*map(str, words), options=options) for words, options in BOUNDED.items()]
        ends = {what: host.start("wild", *what) for what in ENDINGS}
        probes = [host.start(*map(str, words), options=["--weight", "10000"]) for words in PROBES]
        for n in range(5):
            good.ask(f"set 6 {n}")
            assert good.ask("get 5") == ["55"] and good.ask("get 6") == [str(n)]
            host.canary()
        for what, guest in ends.items():
            ended, (status, reason) = host.wait_state(guest, "stopped"), ENDINGS[what]
            if reason:
                assert re.search(reason, ended["reason"]), (what, ended)
            else:
                assert (ended["stop"], ended["exit_status"]) == ("exited", status), (what, ended)
        for words, guest in zip(PROBES, probes):
            ended = host.wait_state(guest, "stopped")
            assert (ended["stop"], ended["exit_status"]) == ("exited", 0), (words, ended)
        assert host.wait_state(bounded[0], "paused")["stop"] == "memory limit"
        for guest in bounded[2:]:
            host.wait_state(guest, "stopped")
        assert {host.get(g)["state"] for g in loops} <= {"running", "waiting"}
        assert good.ask("get 5") == ["55"]
        host.run("hello")
        host.command("limit", "--max-guests", "1", bounded[1])  # what is killed makes room for no other
        assert good.end() == 0
        host.command("rm", "good")
        mine = {int(g) for g in (*loops, *bounded, *ends.values(), *probes)}
        end = time.monotonic() + 60
        while family := [g["id"] for g in host.json("ps", "-a") if g["lineage"] in mine]:
            assert time.monotonic() < end, family
            host.command("kill", *family, status=None)
            host.command("rm", *family, status=None)
        for snapshot in host.json("snapshots"):
            host.command("rm", snapshot["id"])
