"""The SDK's examples do their work, and so does a guest that is built outside the tree."""
import collections
import os
import random
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hosts import ROOT, on, unchanged  # noqa: E402

ALL = ("qemu1", "qemu2", "bochs")
MIB = 1 << 20


@on(*ALL)
def hello(host):
    with unchanged(host):
        lines = host.run("hello", "a", "b c").text.splitlines()
        assert re.fullmatch(r"hello from guest \d+, 16 MiB of memory", lines[0]), lines
        assert lines[1:] == ["argument 0: hello", "argument 1: a", "argument 2: b c"], lines


def text_of(size):
    """Words as unequal as those of a language, the same on each run."""
    r = random.Random(size)
    words = ["".join(r.choices("etaoinshrdlucmfwypvbgkq", k=r.randint(1, 9))) for _ in range(3000)]
    parts, total = [], 0
    while total < size:
        line = " ".join(words[int(len(words) * r.random() ** 3)] for _ in range(12)) + ".\n"
        parts.append(line)
        total += len(line)
    return "".join(parts)


def counted(text, most):
    words = re.findall(r"[a-z0-9']+", text.lower())
    counts = collections.Counter(words)
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
    head = (f"{text.count(chr(10))} lines, {len(words)} words, {len(text)} bytes, "
            f"{len(counts)} different words")
    return "\n".join([head] + [f"{n:8} {w}" for w, n in top]) + "\n"


@on(*ALL)
def wordcount(host):
    text = text_of(MIB // 4 if host.name == "bochs" else 3 * MIB)
    with unchanged(host):
        out = host.run("wordcount", "12", options=["-i"], stdin=text.encode()).text
        assert out == counted(text, 12), out


@on(*ALL)
def echo_of_binary_data(host):
    data = random.Random(1).randbytes(MIB // 4 if host.name == "bochs" else 3 * MIB)
    with unchanged(host):
        assert host.run("echo", options=["-i"], stdin=data).out == data
        assert host.run("echo", options=["-i"], stdin=b"").out == b""


@on(*ALL)
def explore_finds_all_solutions(host):
    with unchanged(host):
        for queens, rows, solutions in ((4, 2, 2), (6, 3, 4), (8, 2, 92)):
            out = host.run("explore", queens, rows).text
            assert out == f"{solutions} solutions for {queens} queens\n", out
        if host.name != "bochs":
            assert host.run("explore", 9, 3).text == "352 solutions for 9 queens\n"
        host.run("explore", 17, status=2)


@on("qemu1", "bochs")
def explore_tells_of_a_fork_that_failed(host):
    with unchanged(host):
        first = host.start("explore", 13, 1)
        end = time.monotonic() + 60
        while len(forks := [g["id"] for g in host.json("ps") if g["parent"] == int(first)]) < 5:
            assert time.monotonic() < end
        host.command("kill", forks[0])
        for fork in forks[1:]:  # nor need we wait for the rest
            host.command("kill", fork, status=None)
        while host.get(first)["state"] != "stopped":
            assert time.monotonic() < end
            for g in host.json("ps"):
                if g["parent"] == int(first):
                    host.command("kill", g["id"], status=None)
        ended = host.get(first)
        assert (ended["stop"], ended["exit_status"]) == ("exited", 1), ended
        said = host.command("logs", "--stderr", first).err
        assert b"forks ended without an answer" in said, said
        host.command("rm", first)


@on("qemu1")
def explore_within_a_small_budget(host):
    """Where it may not fork, it counts by itself."""
    with unchanged(host):
        out = host.run("explore", 8, 3, options=["--max-guests", "5"]).text
        assert out == "92 solutions for 8 queens\n", out


def files_of_the_docs():
    """{name: text} of the files that docs/guests.md shows."""
    with open(os.path.join(ROOT, "docs", "guests.md")) as f:
        page = f.read()
    files = {}
    for name in ("agent.c", "Makefile"):
        block = re.search(rf"`{re.escape(name)}`:\n\n((?:    .*\n|\n)+)", page).group(1)
        files[name] = "".join(line.removeprefix("    ") + "\n" for line in block.splitlines())
    return files


@on("qemu1", "bochs")
def built_outside_the_tree(host):
    with tempfile.TemporaryDirectory() as d, unchanged(host):
        files = files_of_the_docs()
        assert files["Makefile"].count("\n") <= 13
        for name, text in files.items():
            with open(os.path.join(d, name), "w") as f:
                f.write(text)
        environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
        subprocess.run(["make", "-s", f"CREEL={ROOT}"], cwd=d, check=True, env=environment)
        host.command("put", os.path.join(d, "agent"), "mine")
        out = host.run("mine", "me", options=["-i"], stdin=b"hello\nthere\n").text
        assert out == "me: hello\nme: there\n", out
        host.command("rmi", "mine")
