#!/usr/bin/python3
"""Measures the appliance in instructions and bytes, against what PEERS have, and writes a JSON file.

    tests/bench/bench.py [--json FILE] [--quick] [--explain]

QEMU runs with -icount, so that the TSC counts instructions, and runs repeat. What each number is,
how it is taken, and which may differ between runs, stands in docs/benchmarks.md.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "emu"))
from keys import KEYS  # noqa: E402
from run import Machine  # noqa: E402
from burst import Burst  # noqa: E402
from client import Connection, Failed  # noqa: E402
from hidden import FIELDS, Hidden  # noqa: E402

CTL = os.path.join(ROOT, "build", "creelctl")
GUEST = os.path.join(ROOT, "build", "test-guests", "bench")
CPU = "EPYC,+svm,+npt"
ICOUNT = 7
TICKS = 1 << ICOUNT  # TSC ticks of an instruction
PAGE = 4096
MIB = 1 << 20
# Odd: the median is one of them. A guest also sees what the network had to do meanwhile.
REPEAT, GUEST_REPEAT = 9, 21
PAUSE = 0.03  # seconds in which a host that is idle frees and zeroes something

# key: (limit or None, what others take, in words)
ROWS = {
    "fork_instructions": (6000, ""),
    "fork_flatness": (1.05, ""),
    "fork_to_first_exit_instructions": (20000, "KVM 545,000"),
    "fork_100r_50w_instructions": (150000, "KVM 1,320,000"),
    "snapshot_instructions": (6000, ""),
    "snapshot_flatness": (1.05, ""),
    "rollback_256_dirty_instructions": (20000, ""),
    "rollback_256_dirty_total_instructions": (250000, ""),
    "cow_fault_instructions": (2000, "KVM 7,300"),
    "first_cow_fault_instructions": (16000, ""),
    "shared_read_faults": (0, "KVM 100, 4,200 instructions each"),
    "table_walk_faults": (None, ""),
    "hypercall_instructions": (400, "KVM, to user space 2,978"),
    "cpuid_exit_instructions": (500, "KVM 2,640"),
    "bytes_fork_never_run": (12288, "Zeroboot 265,000"),
    "bytes_fork_waiting": (49152, ""),
    "bytes_fork_100r_50w": (262144, "KVM 642,000"),
    "guests_in_2gib": (20000, ""),
    "fork_last_over_first": (1.1, ""),
    "kill_instructions": (60000, ""),
    "sealed_fork_request_instructions": (40000, ""),
    "sealed_fork_request_crypto_instructions": (None, ""),
    "handshake_instructions": (3000000, ""),
    "batch_fork_instructions": (8000, ""),
    "bytes_per_connection": (65536, ""),
}
AT_LEAST = {"guests_in_2gib"}


def median(values):
    return sorted(values)[len(values) // 2]


class Host:
    """An appliance on QEMU, and creelctl to steer it."""

    ticks = TICKS

    def __init__(self, mem):
        self.machine = Machine("qemu", cpus=1, mem=mem, cpu=CPU, icount=ICOUNT, real_idle=True,
                               images={"bench": GUEST}, nic="virtio")

    def __enter__(self):
        self.machine.__enter__()
        self.machine.wait_for(r"address: \d", 120)
        self.env = KEYS.environment(self.machine.port)
        self.client = self.connect()
        # The ticks that zeroing a frame takes. An idle host has just done it a few thousand times.
        for _ in range(100):
            zero = meter(self.settle(), "zero")
            if zero["count"]:
                break
        else:
            raise Failed("the host has zeroed no frame")
        self.zero_cost = zero["min"]
        return self

    def __exit__(self, *exc):
        return self.machine.__exit__(*exc)

    def connect(self):
        """One more connection; `client` is one that stays."""
        return Connection(os.path.join(ROOT, "build", "libcreel.so"), self.env)

    def ctl(self, *args, timeout=600):
        r = subprocess.run([CTL, *args], env=self.env, capture_output=True, text=True,
                           timeout=timeout)
        if r.returncode:
            raise Failed(f"creelctl {' '.join(args)}: {r.stderr.strip()}")
        return r.stdout

    def json(self, *args, timeout=600):
        return json.loads(self.ctl("--json", *args, timeout=timeout))

    def stats(self):
        return self.client.stats()

    def settle(self):
        """Stats once all guests wait, and the host has freed and zeroed all that it could."""
        before = self.stats()
        while True:
            time.sleep(PAUSE)
            after = self.stats()
            if after["guests"]["running"] == 0 and \
                    meter(before, "reap")["count"] == meter(after, "reap")["count"] and \
                    meter(before, "zero")["count"] == meter(after, "zero")["count"]:
                return after
            before = after

    def kill(self, *ids):
        self.ctl("kill", *map(str, ids))
        self.ctl("rm", *map(str, ids))


def meter(stats, name):
    return stats["meters"][name]


def ticks(before, after, name):
    return meter(after, name)["ticks"] - meter(before, name)["ticks"]


def count(before, after, name):
    return meter(after, name)["count"] - meter(before, name)["count"]


class Guest:
    """A bench guest whose commands and answers go through creelctl run."""

    def __init__(self, host, name, memory="320M"):
        self.host, self.name = host, name
        self.process = subprocess.Popen(
            [CTL, "run", "-i", "--name", name, "--memory", memory, "--max-pages", "200000", "bench"],
            env=host.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, command):
        """The numbers of the answer, as they come: TSC ticks, or counts."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not re.fullmatch(r"\d+( \d+)*\n", line):
            raise Failed(f"the bench guest answers {command!r} with {line!r}")
        return [int(v) for v in line.split()]

    def info(self):
        return self.host.json("inspect", self.name)


def instructions(t):
    return t / TICKS


def seen_by_guest(host, guest, command, which=0):
    """Median instructions that a guest's answer tells, each asked for while nothing else goes on."""
    answers = []
    for _ in range(GUEST_REPEAT):
        host.settle()
        answers.append(guest.ask(command)[which])
    return instructions(median(answers))


def measure_exits(host, guest, out):
    n = 1000
    for key, command in (("hypercall_instructions", "hypercall"),
                         ("cpuid_exit_instructions", "cpuid"), ("port_exit_instructions", "port")):
        out[key] = seen_by_guest(host, guest, f"{command} {n}") / n


def fork_cost(host, source):
    """Median instructions of a client's fork of `source`, request parsed to child runnable."""
    costs = []
    for _ in range(REPEAT):
        before = host.stats()
        child = host.client.fork(source)[0]
        costs.append(ticks(before, host.stats(), "fork"))
        host.kill(child)
    host.settle()
    return instructions(median(costs))


def snapshot_cost(host, source):
    costs = []
    for _ in range(REPEAT):
        before = host.stats()
        snapshot = host.client.snapshot(source)
        costs.append(ticks(before, host.stats(), "snapshot"))
        host.ctl("rm", str(snapshot))
    return instructions(median(costs))


def measure_fork(host, small, large, out):
    """`small` has touched 1 MiB, `large` 256 MiB; both wait for input."""
    a, b = fork_cost(host, small.name), fork_cost(host, large.name)
    out["fork_instructions"] = a
    out["fork_flatness"] = b / a
    a, b = snapshot_cost(host, small.name), snapshot_cost(host, large.name)
    out["snapshot_instructions"] = a
    out["snapshot_flatness"] = b / a


def measure_first_exit(host, source, out):
    """A fork by a client, and all that its child takes until its first exit that is no fault."""
    phases = {}
    for _ in range(REPEAT):
        before = host.stats()
        child = host.client.fork(source, paused=False)[0]
        after = host.settle()
        for name in ("fork", "first_exit"):
            phases.setdefault(name, []).append(meter(after, name)["last"])
        phases.setdefault("load", []).append(median_load(before, after))
        host.kill(child)
    parts = {name: instructions(median(v)) for name, v in phases.items()}
    for name, v in parts.items():
        out[f"phase_{name}_instructions"] = v
    out["fork_to_first_exit_instructions"] = sum(parts.values())


def median_load(before, after):
    n = count(before, after, "load")
    return ticks(before, after, "load") / n if n else 0


def measure_rw(host, guest, out):
    out["self_fork_to_first_exit_instructions"] = seen_by_guest(host, guest, "exit")
    out["fork_100r_50w_instructions"] = seen_by_guest(host, guest, "rw 100 50")


def measure_faults(host, guest, out):
    n = 64
    out["cow_fault_instructions"] = seen_by_guest(host, guest, f"cow {n}", 1) / n
    before = host.stats()
    guest.ask("exit")
    after = host.stats()
    faults = sum(count(before, after, k) for k in ("cow_fault", "zero_fault", "raise_fault"))
    walks = count(before, after, "table_walk_fault")
    before = host.stats()
    guest.ask("rw 100 0")
    after = host.stats()
    out["shared_read_faults"] = \
        sum(count(before, after, k) for k in ("cow_fault", "zero_fault", "raise_fault")) - faults
    out["table_walk_faults"] = count(before, after, "table_walk_fault")
    if out["table_walk_faults"] != walks:
        raise Failed("reading shared pages took faults in table walks")


def measure_first_fault(host, guest, out):
    """The dearest fault of a fork of a guest that touched 256 MiB: it copies a table of each level."""
    host.ctl("stats", "--reset")
    guest.ask("cow 1")
    after = host.stats()
    worst = max(meter(after, k)["max"] for k in ("cow_fault", "table_walk_fault"))
    out["first_cow_fault_instructions"] = instructions(worst) + out["port_exit_instructions"]


def measure_rollback(host, guest, out):
    first, total = [], []
    snapshot = host.json("snapshot", guest.name)["id"]
    for _ in range(REPEAT):
        guest.ask("touch 256")
        before = host.settle()
        host.ctl("rollback", guest.name, str(snapshot))
        after = host.settle()
        first.append(meter(after, "rollback")["last"])
        total.append(meter(after, "rollback")["last"] + ticks(before, after, "reap") +
                     256 * host.zero_cost)
        host.ctl("resume", guest.name) if guest.info()[0]["state"] == "paused" else None
    out["rollback_256_dirty_instructions"] = instructions(median(first))
    out["rollback_256_dirty_total_instructions"] = instructions(median(total))
    host.ctl("rm", str(snapshot))


def fork(host, source, *args):
    return host.json("fork", source, *map(str, args))[0]["id"]


def measure_kill(host, guest, out):
    """A fork that has written 50 pages of its own, and all that its end takes."""
    costs = []
    for _ in range(REPEAT):
        child = fork(host, guest.name, 0, 50)
        before = host.settle()
        pages = host.json("inspect", str(child))[0]["private_pages"]
        host.ctl("kill", str(child))
        after = host.settle()
        costs.append(meter(after, "kill")["last"] + ticks(before, after, "reap") +
                     pages * host.zero_cost)
        host.ctl("rm", str(child))
    out["kill_instructions"] = instructions(median(costs))


def used(stats):
    """Bytes that the host has not got any more, whoever holds them."""
    f = stats["frames"]
    return (f["total"] - f["free"] - f["quarantined"]) * PAGE


def measure_bytes(host, guest, out):
    n = 256
    for key, args in (("bytes_fork_never_run", ["--paused", guest.name]),
                      ("bytes_fork_waiting", [guest.name, "0", "1"]),
                      ("bytes_fork_100r_50w", [guest.name, "100", "50"])):
        before = used(host.settle())
        ids = [f["id"] for f in host.json("fork", "-n", str(n), *args)]
        out[key] = (used(host.settle()) - before) / n
        host.kill(*ids)
        after = used(host.settle())
        if after > before + 16 * PAGE:
            raise Failed(f"{after - before} bytes are not back after {key}")


def fill(out):
    """As many forks of a 16 MiB guest as a machine of 2 GiB holds, each of which runs and answers."""
    with Host(2048) as host:
        seed = Guest(host, "seed", "16M")
        seed.ask("touch 16")
        host.settle()
        host.ctl("stats", "--reset")
        costs, alive, full = [], 0, ""
        while not full:
            try:
                made = len(host.json("fork", "-n", "1000", "seed", timeout=1800))
            except Failed as e:
                full, made = str(e), 0
            alive += made
            costs.append(meter(host.settle(), "fork"))
        stats = host.settle()
        guests = host.json("ps")
        answered = sum(1 for g in guests if g["state"] == "waiting" and g["bytes_out"] >= 5)
        out["guests_in_2gib"] = answered
        out["fork_last_over_first"] = costs[-1]["last"] / costs[0]["last"]
        seed.process.kill()
        seed.process.wait()
        print(f"\n{len(guests)} guests in 2 GiB, {answered} of them have run and answered; then: {full}")
        for kind, n in stats["frames"].items():
            print(f"    {kind:12} {n:8} frames {n * PAGE / MIB:9.1f} MiB")


def number(value):
    return f"{value:,.2f}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"


def short(value):
    return f"{value:,.1f}".removesuffix(".0")


def table(out, costs):
    columns = "".join(f"{name:>9}" for name in FIELDS)
    print(f"\n{'':40} {'Creel':>10} {'limit':>8}{columns}   others")
    missed = []
    for key, (limit, others) in ROWS.items():
        if key not in out:
            continue
        value = out[key]
        good = limit is None or (value >= limit if key in AT_LEAST else value <= limit)
        if not good:
            missed.append(key)
        wanted = "" if limit is None else f"{limit:,}"
        fields = "".join(f"{short(getattr(costs[key], f)) if key in costs else '':>9}" for f in FIELDS)
        print(f"{key:40} {number(value):>10} {wanted:>8}{fields}   {others}"
              f"{'' if good else '   MISSED'}")
    print()
    for key, value in out.items():
        if key not in ROWS and not key.endswith(FIELDS):
            print(f"    {key:36} {value:10,.0f}")
    return missed


def loads(load):
    """Requests a second and percentiles, as creelctl bench saw them."""
    print("\nwhat this emulated machine did in its own time, which is no claim about another:")
    print(f"    {'clients':>7} {'request':8} {'a second':>9} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8}")
    for clients, o in load:
        print(f"    {clients:7} {o['operation']:8} {o['per_second']:9,}"
              + "".join(f" {o[p] / 1000:8.2f}" for p in ("p50_us", "p90_us", "p99_us")))


def explain(costs):
    """Where the instructions go: the dearest functions of each row."""
    for key, cost in costs.items():
        print(f"\n{key}, {short(cost.instructions)} while recorded")
        for name, n in cost.dearest():
            print(f"    {name:36} {short(n):>10}")


def step(text):
    print(f"... {text}", file=sys.stderr, flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--json", default=os.path.join(ROOT, "build", "bench.json"))
    p.add_argument("--quick", action="store_true", help="leave the 2 GiB machine out")
    p.add_argument("--explain", action="store_true", help="name the dearest functions of each row")
    a = p.parse_args()
    out = {}
    with Host(2048) as host:
        small, large = Guest(host, "small"), Guest(host, "large")
        small.ask("touch 256")
        large.ask("touch 65536")
        host.settle()
        step("exits")
        measure_exits(host, small, out)
        step("fork")
        measure_fork(host, small, large, out)
        host.ctl("run", "-d", "--name", "plain", "bench")
        step("first exit")
        measure_first_exit(host, "plain", out)
        step("rw")
        measure_rw(host, small, out)
        step("faults")
        measure_faults(host, small, out)
        step("first fault")
        measure_first_fault(host, large, out)
        step("rollback")
        measure_rollback(host, small, out)
        step("kill")
        measure_kill(host, small, out)
        step("bytes")
        measure_bytes(host, small, out)
        step("hidden")
        hidden = Hidden(host, ROOT, GUEST, small, large, "plain", lambda name: Guest(host, name, "64M"))
        costs = hidden.measure()
        step("management")
        burst = Burst(host, ROOT, hidden.recorder, "plain")
        burst.measure(out)
        step("1,000 connections")
        burst.connections(out)
        step("load")
        load = list(burst.load())
        for g in small, large:
            g.process.kill()
            g.process.wait()
    if not a.quick:
        step("2 GiB")
        fill(out)
    out.update((f"{key.removesuffix('_instructions')}_{f}", getattr(cost, f))
               for key, cost in costs.items() for f in FIELDS)
    missed = table(out, costs)
    loads(load)
    if a.explain:
        explain(costs)
        print("\nsealed_fork_request_instructions, frame in to frame out")
        for name, n in burst.path.functions.most_common(40):
            print(f"    {name:36} {n:>10}")
    with open(a.json, "w") as f:
        json.dump(out, f, indent=1)
        f.write("\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
