#!/usr/bin/python3
"""Measures the appliance in instructions and bytes, against what PEERS have, and writes a JSON file.

    tests/bench/bench.py [--json FILE] [--quick] [--linux] [--explain]

QEMU runs with -icount, so that the TSC counts instructions, and runs repeat. What each number is,
how it is taken, and which may differ between runs, stands in docs/benchmarks.md.
"""
import argparse
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "emu"))
import linux  # noqa: E402
from burst import Burst  # noqa: E402
from client import Failed  # noqa: E402
from hidden import FIELDS, Hidden  # noqa: E402
from host import CTL, GUEST, PAGE, REPEAT, Host, count, fork_cost, median, meter, ticks, used  # noqa: E402

MIB = 1 << 20
# Odd: the median is one of them. A guest also sees what the network had to do meanwhile.
GUEST_REPEAT = 21

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
    **linux.ROWS,
}
AT_LEAST = {"guests_in_2gib", "linux_forks_in_2gib"}


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


def seen_by_guest(host, guest, command, which=0):
    """Median instructions that a guest's answer tells, each asked for while nothing else goes on."""
    answers = []
    for _ in range(GUEST_REPEAT):
        host.settle()
        answers.append(guest.ask(command)[which])
    return host.instructions(median(answers))


def measure_exits(host, guest, out):
    n = 1000
    for key, command in (("hypercall_instructions", "hypercall"),
                         ("cpuid_exit_instructions", "cpuid"), ("port_exit_instructions", "port")):
        out[key] = seen_by_guest(host, guest, f"{command} {n}") / n


def snapshot_cost(host, source):
    costs = []
    for _ in range(REPEAT):
        before = host.stats()
        snapshot = host.client.snapshot(source)
        costs.append(ticks(before, host.stats(), "snapshot"))
        host.ctl("rm", str(snapshot))
    return host.instructions(median(costs))


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
    parts = {name: host.instructions(median(v)) for name, v in phases.items()}
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
    out["first_cow_fault_instructions"] = host.instructions(worst) + out["port_exit_instructions"]


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
    out["rollback_256_dirty_instructions"] = host.instructions(median(first))
    out["rollback_256_dirty_total_instructions"] = host.instructions(median(total))
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
    out["kill_instructions"] = host.instructions(median(costs))


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
        if callable(limit):
            limit = limit(out)
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


class Results:
    """Values by key, what recordings cost by row, loads, and one request's path."""

    def __init__(self):
        self.out, self.costs, self.load, self.path = {}, {}, [], None


def measure_sdk(results):
    out = results.out
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
        results.costs = hidden.measure()
        step("management")
        burst = Burst(host, ROOT, hidden.recorder, "plain")
        burst.measure(out)
        step("1,000 connections")
        burst.connections(out)
        step("load")
        results.load, results.path = list(burst.load()), burst.path
        for g in small, large:
            g.process.kill()
            g.process.wait()


def measure(a):
    results = Results()
    if not a.linux:
        measure_sdk(results)
    if not a.linux and not a.quick:
        step("2 GiB")
        fill(results.out)
    results.costs["linux_fork_to_exec_instructions"] = linux.measure(results.out, step, a.quick)
    if not a.quick:
        step("Linux: 2 GiB")
        linux.fill(results.out)
    results.out.update((f"{key.removesuffix('_instructions')}_{f}", getattr(cost, f))
                       for key, cost in results.costs.items() for f in FIELDS)
    return results


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--json", default=os.path.join(ROOT, "build", "bench.json"))
    p.add_argument("--quick", action="store_true", help="leave the 2 GiB machines out")
    p.add_argument("--linux", action="store_true", help="only the rows of Linux guests")
    p.add_argument("--explain", action="store_true", help="name the dearest functions of each row")
    a = p.parse_args()
    results = measure(a)
    missed = table(results.out, results.costs)
    if results.load:
        loads(results.load)
    if a.explain:
        explain(results.costs)
    if a.explain and results.path:
        print("\nsealed_fork_request_instructions, frame in to frame out")
        for name, n in results.path.functions.most_common(40):
            print(f"    {name:36} {n:>10}")
    with open(a.json, "w") as f:
        json.dump(results.out, f, indent=1)
        f.write("\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
