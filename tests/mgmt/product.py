#!/usr/bin/python3
"""creelctl's output in other forms: templates, drawings.

usage: product.py FAKE_HOST CREELCTL [WORD]    (WORD: only the tests whose name holds it)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import os
import subprocess
import sys

import creelctl as base
from creelctl import USAGE, ctl, put, run_detached


# ---- formats ----

def test_format():
    put("wait", "wait\n")
    a, b = run_detached("wait", "--name", "one"), run_detached("wait", "--name", "two")
    assert ctl("ps", "--format", "{id}={name}").out == f"{a}=one\n{b}=two\n"
    assert ctl("ps", "--format", r"{{{state}}}\t{memory}\\n").out == "{waiting}\t16777216\\n\n" * 2
    assert ctl("--format", "{frames.free} {guests.waiting}", "info").out.split()[1] == "2"
    assert ctl("stats", "--format", "{meters.meter_4.count}").out == "2\n"
    assert ctl("kill", "--format", "{target} {ok}", "one").out == "one true\n"
    assert ctl("log", "--format", "<{value}>").out.endswith("<management: listening>\n")
    forks = ctl("fork", "-n2", "--format", "{index}:{id}", "two").out.split()
    assert [f.split(":")[0] for f in forks] == ["0", "1"], forks
    image = ctl("images", "--format", "{id}").out.strip()
    assert ctl("tree", "--format", "{depth} {kind} {id}").out.splitlines() == [
        f"0 image {image}", f"1 guest {a}", f"1 guest {b}"] + [
        f"2 guest {f.split(':')[1]}" for f in forks]
    put("three", "echo out\nexit 3\n")
    assert ctl("run", "--format", "{stop} {exit_status} {stdout}", "three", status=3).out == \
        "exited 3 out\n\n"


def test_format_that_is_wrong():
    put("wait", "wait\n")
    run_detached("wait")
    r = ctl("ps", "--format", "{nmae}", status=USAGE)
    assert 'there is no field "nmae"' in r.err and "exit_status" in r.err and not r.out, r
    for bad in ["{", "}", "a{b", "{}", "{a{b}", "{" + "x" * 200 + "}"]:
        assert "stands alone" in ctl("ps", "--format", bad, status=USAGE).err
    assert ctl("ps", "--format", " ").out == " \n"


def test_version():
    assert ctl("version").out == ctl("--version").out
    assert ctl("version").out.split()[0] == "creelctl"
    assert ctl("version", "--format", "{version}").out.strip() == ctl("version").out.split()[1]


def test_tree_by_locale():
    put("wait", "wait\n")
    g = run_detached("wait", "--name", "root")
    s = ctl("snapshot", "root", "clean").out.strip()
    k = ctl("fork", "clean").out.strip()
    for locale, text in [
            ("C.UTF-8", f"wait  holds 48 KiB\n└─ {g} root  waiting  20 KiB of 16 MiB its own\n"
                        f"   └─ ◆ {s} clean  holds 12 KiB\n"
                        f"      └─ {k}  waiting  20 KiB of 16 MiB its own\n"),
            ("C", f"wait  holds 48 KiB\n`- {g} root  waiting  20 KiB of 16 MiB its own\n"
                  f"   `- * {s} clean  holds 12 KiB\n"
                  f"      `- {k}  waiting  20 KiB of 16 MiB its own\n")]:
        r = ctl("tree", env={"LC_ALL": locale})
        assert r.out == text, r


# ---- the library ----

def test_calls_that_nobody_waits_for():
    program = os.path.join(os.path.dirname(base.CREELCTL), "async-client")
    mine, base.host = base.host, base.Host()
    try:
        put("hello", "echo hello\nexit 3\n")
        put("cat", "cat\n")
        put("wait", "wait\n")
        r = subprocess.run([program, str(base.host.process.pid)], capture_output=True, text=True,
                           timeout=60, env=base.environment())
        assert r.returncode == 0 and not r.stderr, r
    finally:
        base.host.process.wait()
        base.host = mine


if __name__ == "__main__":
    sys.exit(base.run_tests("product", globals()))
