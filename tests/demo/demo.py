#!/usr/bin/python3
"""Creel's main job, from power on to the last result, on AMD-V in QEMU and on VT-x in Bochs.

    tests/demo/demo.py ISO [--only qemu|bochs]

Every result is checked; the exit status is 0 when all were right. Nothing is left running.
"""
import argparse
import collections
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "emu"))
from keys import KEYS  # noqa: E402
from run import Died, Machine, Timeout  # noqa: E402

CREELCTL = os.path.join(ROOT, "build", "creelctl")
GUESTS = "build/guests"
TEXTS = ["/usr/share/common-licenses/GPL-3", os.path.join(ROOT, "LICENSE")]
FORKS = 1000
QUEENS, SOLUTIONS = 8, 92
PAGE = 4096
COMMAND_SECONDS = 120
SHOWN_LINES = 6
WIDTH = 100

MACHINES = {
    "qemu": ("AMD-V", dict(cpus=2, mem=1024), "QEMU emulates a machine with AMD-V: 2 cores, 1 GiB, virtio-net"),
    "bochs": ("VT-x", dict(cpus=1, mem=512), "Bochs emulates a machine with VT-x: 1 core, 512 MiB, an Intel gigabit NIC"),
}


class Wrong(Exception):
    """A step's result was not what it must be."""


def check(good, sentence):
    if not good:
        raise Wrong(sentence)
    say(f"  ✓ {sentence}")


def say(text=""):
    print(text, flush=True)


def chapter(text):
    say(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


def shown(text, most=SHOWN_LINES):
    """Some lines of a command's output, as they are, but for what a line has too much."""
    lines = text.splitlines()
    for line in lines[:most]:
        say("    " + (line if len(line) <= WIDTH else line[:WIDTH - 1] + "…"))
    if len(lines) > most:
        say(f"    … {len(lines) - most} more lines")


class Client:
    """creelctl, shown as a person would type it."""

    def __init__(self, port):
        self.environment = KEYS.environment(port)

    def quiet(self, *args, stdin=None, status=0):
        r = subprocess.run([CREELCTL, *map(str, args)], env=self.environment, cwd=ROOT, stdin=stdin or
                           subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS)
        if r.returncode != status:
            raise Wrong(f"creelctl {' '.join(map(str, args))} ends with {r.returncode}, not {status}: "
                        f"{r.stderr.strip()}")
        return r.stdout + r.stderr

    def show(self, *args, file=None, line=None, status=0, most=SHOWN_LINES):
        """Runs a command with `file` or `line` as its input, and shows it with what it prints."""
        text = "creelctl " + " ".join(shlex.quote(str(a)) for a in args)
        if line is not None:
            text = f"echo {line} | {text}"
        elif file is not None:
            text = f"{text} < {file}"
        say(f"  $ {text}")
        if line is not None:
            reader, writer = os.pipe()
            os.write(writer, line.encode() + b"\n")
            os.close(writer)
            with os.fdopen(reader) as stdin:
                out = self.quiet(*args, stdin=stdin, status=status)
        elif file is not None:
            with open(file) as stdin:
                out = self.quiet(*args, stdin=stdin, status=status)
        else:
            out = self.quiet(*args, status=status)
        shown(out, most)
        return out

    def json(self, *args):
        return json.loads(self.quiet("--json", *args))

    def when_still(self):
        """The host's statistics once no guest runs any more and nothing waits to be freed."""
        end = time.monotonic() + COMMAND_SECONDS
        before = None
        while time.monotonic() < end:
            now = self.json("stats")
            if now["guests"]["running"] == 0 and before and before["frames"] == now["frames"]:
                return now
            before = now
            time.sleep(0.1)
        raise Wrong(f"guests still run after {COMMAND_SECONDS} s")


# ---- the story, a function for each part ----

def power_on(machine, backend):
    for pattern in (r"\] processor: ", rf"\] virtualisation: {backend}", r"\] memory: .* for guests",
                    r"\] address: \d"):
        say("    " + machine.wait_for(pattern, 120, fail=r"cannot start|PANIC").string)
    check(True, f"the host is up {time.monotonic() - machine.started:.1f} s after power on, "
                "most of it the firmware's")


def words_of(path):
    """What the wordcount guest must find, counted here."""
    with open(path, "rb") as f:
        data = f.read()
    words = re.findall(rb"[0-9A-Za-z'\x80-\xff]+", data)
    often = collections.Counter(w[:64].lower() for w in words)
    return data, len(words), len(often), min(often, key=lambda w: (-often[w], w)).decode()


def real_input(client, text):
    client.show("info", most=4)
    client.show("put", f"{GUESTS}/wordcount")
    out = client.show("run", "-i", "wordcount", 3, file=text)
    data, words, different, first = words_of(text)
    lines = data.count(b"\n")
    check(out.startswith(f"{lines} lines, {words} words, {len(data)} bytes, {different} different words\n")
          and out.splitlines()[1].split()[1] == first,
          "the guest counted what Python counts in the same file")


def explores(client):
    client.show("put", f"{GUESTS}/explore")
    before = client.json("stats")["meters"]["fork"]["count"]
    out = client.show("run", "explore", QUEENS)
    forks = client.json("stats")["meters"]["fork"]["count"] - before - 1  # run itself forks the image
    check(out == f"{SOLUTIONS} solutions for {QUEENS} queens\n" and forks > 100,
          f"{QUEENS} queens have {SOLUTIONS} solutions, found by {forks} guests that were forked by guests")


def prepare(client, text):
    client.show("put", f"{GUESTS}/sampler")
    client.show("run", "-i", "--name", "model", "sampler", file=text)
    client.show("snapshots")
    return client.when_still()


def branch(client, before):
    start = time.monotonic()
    say(f"  $ creelctl fork -i -n {FORKS} --name try trained")
    made = client.quiet("fork", "-i", "-n", FORKS, "--name", "try", "trained").split()
    seconds = time.monotonic() - start
    check(len(set(made)) == FORKS, f"{FORKS} forks in {seconds:.2f} s, on an emulated processor")
    after = client.when_still()
    check(after["guests"]["waiting"] == FORKS, f"{FORKS} guests are alive at once; each has answered, and waits")
    held = (before["frames"]["free"] - after["frames"]["free"] -
            (after["frames"]["quarantined"] - before["frames"]["quarantined"])) * PAGE
    check(held / FORKS < 64 << 10, f"a guest of 16 MiB takes {held / FORKS / 1024:.0f} KiB of the machine, "
                                   "with all that it wrote and printed")


def gather(client):
    """Every fork's answer: {name: (bits, seed, sentence)}"""
    answers = {}
    say(f"  $ for i in $(seq {FORKS}); do creelctl logs try-$i; done | sort -n")
    for i in range(1, FORKS + 1):
        bits, seed, sentence = client.quiet("logs", f"try-{i}").rstrip("\n").split(" ", 2)
        answers[f"try-{i}"] = float(bits), seed, sentence
    ranked = sorted(answers, key=lambda name: answers[name])
    shown("\n".join(f"{answers[n][0]:.2f} {answers[n][2]}" for n in ranked[:3]))
    say("    …")
    shown("\n".join(f"{answers[n][0]:.2f} {answers[n][2]}" for n in ranked[-2:]))
    seeds = {seed for _, seed, _ in answers.values()}
    check(len(seeds) == FORKS, f"all {FORKS} results read: {FORKS} different seeds, "
                               f"{len({s for _, _, s in answers.values()})} different sentences")
    return ranked


def roll_back(client, worst):
    say("  The worst one is sent into its ruin, and rolled back to where it was forked:")
    generation = client.json("inspect", worst)[0]["generation"]
    client.show("attach", "-i", worst, line="wreck", status=134)
    client.show("rollback", worst, "trained")
    client.when_still()
    lines = client.show("logs", worst).splitlines()
    guest = client.json("inspect", worst)[0]
    check(len(lines) == 2 and lines[0] != lines[1] and guest["state"] == "waiting" and
          guest["generation"] > generation,
          "the model is whole again, and what it says is new: other random numbers, a new generation")


def keep_best(client, best, ranked):
    say("  The best one is kept and goes on; all others are removed:")
    rest = [n for n in ranked if n != best]
    say(f"  $ creelctl rm -f {rest[0]} {rest[1]} … {rest[-1]}")
    client.quiet("rm", "-f", *rest)
    client.show("tree", most=9)
    guests = client.json("ps")
    check([g["name"] for g in guests] == [best], f"only {best} is alive")
    out = client.show("attach", "-i", best, line="more")
    check(re.match(r"\d+\.\d\d [0-9a-f]{16} \S", out), "it answers from the state that it was in")


def clean_up(client, first):
    say("  All is removed, and the machine has its memory back:")
    client.quiet("rm", "-f", *[str(g["id"]) for g in client.json("ps", "-a")])
    client.quiet("rm", *[str(s["id"]) for s in client.json("snapshots")])
    client.quiet("rmi", *[i["name"] for i in client.json("images")])
    now = client.when_still()
    held = sum(now["frames"][k] for k in ("table", "data", "stream", "image"))
    records = now["frames"]["state"] - first["frames"]["state"]
    check(held == 0 and records < 64,
          f"no page, table, stream or image is left; {records} frames of records wait for the next guests")


def costs(client, backend):
    meters = client.json("stats")["meters"]
    if backend == "VT-x":  # Bochs's TSC moves by one with each instruction
        say("  What the host says of its costs (creelctl stats); one tick here is one instruction:")
    else:
        say("  What the host counted (creelctl stats):")
    for name in ("fork", "rollback", "cow_fault", "table_walk_fault", "hypercall", "page_copy"):
        m = meters[name]
        each = f", {m['ticks'] // m['count']:,} each" if backend == "VT-x" and m["ticks"] else ""
        say(f"    {name.replace('_', ' '):18} {m['count']:7,}{each}")


def story(kind, iso, text):
    backend, options, sentence = MACHINES[kind]
    chapter("Power on, from the ISO alone")
    say(f"  {sentence}.")
    with Machine(kind, iso=iso, **options) as machine:
        power_on(machine, backend)
        client = Client(machine.port)
        first = client.when_still()
        chapter("A client on the network puts a guest image in, and runs it on real input")
        real_input(client, text)
        chapter("A guest that forks itself at each choice")
        explores(client)
        chapter("An environment is prepared once: a small language model, trained in a guest")
        before = prepare(client, text)
        chapter(f"... and forked {FORKS} times. Each fork draws a sentence of its own")
        branch(client, before)
        ranked = gather(client)
        chapter("Roll back, keep the best, drop the rest")
        roll_back(client, ranked[-1])
        keep_best(client, ranked[0], ranked)
        costs(client, backend)
        clean_up(client, first)
    check(not machine.running() and machine.dir is None, "the machine is switched off")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("iso", help="beside the BOOTX64.EFI that is on it")
    p.add_argument("--only", choices=MACHINES)
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    text = next(t for t in TEXTS if os.path.exists(t))
    start = time.monotonic()
    with open(os.path.join(os.path.dirname(a.iso), "BOOTX64.EFI"), "rb") as f:
        efi = f.read()
    say(f"The appliance is one EFI binary of {len(efi) // 1024} KiB, on {os.path.relpath(a.iso, ROOT)}: "
        f"SHA-256 {hashlib.sha256(efi).hexdigest()[:16]}…")
    kinds = [a.only] if a.only else list(MACHINES)
    for kind in kinds:
        try:
            story(kind, a.iso, text)
        except KeyboardInterrupt:
            return 130
        except (Wrong, Timeout, Died, AssertionError, subprocess.TimeoutExpired) as e:
            say(f"  ✗ {e}")
            say(f"\nThe demo FAILED on {kind}, after {time.monotonic() - start:.0f} s.")
            return 1
    say(f"\nDone in {time.monotonic() - start:.0f} s: the same binary did the same on "
        f"{' and on '.join(MACHINES[k][0] for k in kinds)}. Nothing is left running.")
    say("Next: `make run` leaves a host running for you.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
