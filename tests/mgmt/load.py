#!/usr/bin/python3
"""creelctl bench, against the real server on pretended guests.

usage: load.py FAKE_HOST CREELCTL [WORD]    (WORD: only the tests whose name holds it)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import signal
import subprocess
import sys
import time

import creelctl as base
from creelctl import INTERRUPTED, REFUSED, USAGE, ctl, put, run_detached


def bench(*args, status=0):
    """The operations by name."""
    result = ctl("bench", "--json", *args, status=status).json()
    return {o["operation"]: o for o in result["operations"]}


def left():
    """Guests and snapshots that there are."""
    info = ctl("info", "--json").json()
    return info["guests"]["all"], info["snapshots"], info["connections"]


def test_bench_counts_requests():
    put("prog", "wait\n")
    guest = run_detached("prog")
    before = left()
    got = bench("-n", 500, "-c", 5, "--mix", "fork=3,kill=2,info,ps,snapshot,run", "--image", "prog", guest)
    assert set(got) == {"fork", "kill", "info", "ps", "snapshot", "run", "all"}, got
    assert got["all"]["requests"] == 500 and got["all"]["failed"] == 0, got
    for o in got.values():
        assert 0 < o["p50_us"] <= o["p90_us"] <= o["p99_us"] <= o["p999_us"] <= o["max_us"], o
    assert left() == before  # all that it made is gone


def test_bench_for_a_time_with_idle_connections():
    started = time.monotonic()
    got = bench("-t", 1, "-c", 3, "--idle", 20)
    assert 1 <= time.monotonic() - started < 20
    assert got["info"]["requests"] > 10, got
    table = ctl("bench", "-n", 10).out
    assert "PER SECOND" in table and "info" in table, table


def test_bench_tells_what_is_wrong():
    ctl("bench", "--mix", "sleep=1", status=USAGE)
    ctl("bench", "--mix", "fork", status=USAGE)
    ctl("bench", "--mix", "run", status=USAGE)
    got = bench("-n", 3, "-c", 1, "--mix", "fork", "nobody", status=REFUSED)
    assert got["fork"]["failed"] == 3, got


def test_bench_ends_when_interrupted():
    process = subprocess.Popen([base.CREELCTL, "bench", "-t", "600"], env=base.environment(),
                               stdout=subprocess.PIPE)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=base.TIMEOUT)
    assert process.returncode in (0, INTERRUPTED)
    assert process.returncode or b"info" in out


if __name__ == "__main__":
    sys.exit(base.run_tests("load", globals()))
