#!/usr/bin/python3
"""creelctl bench and exporter, against the real server on pretended guests.

usage: load.py FAKE_HOST CREELCTL [WORD]    (WORD: only the tests whose name holds it)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

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
    base.put("wait", "wait\n")
    base.run_detached("wait", "--name", "ended")
    ctl("kill", "ended")
    got = bench("-n", 3, "-c", 1, "--mix", "fork", "ended", status=REFUSED)
    assert got["fork"]["failed"] == 3, got


def test_bench_ends_when_interrupted():
    process = subprocess.Popen([base.CREELCTL, "bench", "-t", "600"], env=base.environment(),
                               stdout=subprocess.PIPE)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=base.TIMEOUT)
    assert process.returncode in (0, INTERRUPTED)
    assert process.returncode or b"info" in out


class Exporter:
    def __init__(self, *args):
        self.process = subprocess.Popen([base.CREELCTL, "exporter", "--listen", "127.0.0.1:0", *args],
                                        env=base.environment(), stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.port = int(re.search(r":(\d+)/metrics$", self.url)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(base.TIMEOUT) == 0

    def scrape(self):
        with urllib.request.urlopen(self.url, timeout=base.TIMEOUT) as r:
            assert r.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            return r.read().decode()

    def samples(self):
        """{name with labels: value}"""
        lines = [l for l in self.scrape().splitlines() if not l.startswith("#")]
        found = dict(l.rsplit(" ", 1) for l in lines)
        assert len(found) == len(lines), "a sample is there twice"
        return {k: float(v) for k, v in found.items()}

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=base.TIMEOUT)

    def ask(self, request):
        """The status line's number, to any bytes."""
        with self.connect() as s:
            s.sendall(request)
            answer = b""
            while more := s.recv(65536):
                answer += more
        return int(answer.split()[1]) if answer else None


def value(samples, name, *labels):
    found = [v for k, v in samples.items() if k.startswith(name + "{") and all(x in k for x in labels)]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def test_exporter_pleases_promtool():
    put("prog", "echo hi\nwait\n")
    guest = run_detached("prog", "--name", "odd")
    ctl("fork", guest)
    with Exporter() as e:
        text = e.scrape()
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                                 text=True, timeout=base.TIMEOUT)
        assert checked.returncode == 0 and not checked.stderr and not checked.stdout, checked
        s = e.samples()
    assert value(s, "creel_up") == 1
    assert value(s, "creel_guest_info", f'guest="{guest}"', 'name="odd"', 'image="prog"') == 1
    assert value(s, "creel_guest_stream_bytes_total", f'guest="{guest}"', 'stream="stdout"') == 3
    assert value(s, "creel_host_guests", 'state="waiting"') == 2
    assert value(s, "creel_request_duration_seconds_count", 'request="fork"') == 1
    assert value(s, "creel_management_requests_total", 'result="refused"') == 0
    assert value(s, "creel_management_queue_depth") == 0
    assert value(s, "creel_client_connections") == 1


def test_exporter_histograms_add_up():
    with Exporter() as e:
        ctl("bench", "-n", 200)
        s = e.samples()
    buckets = [v for k, v in s.items() if "_bucket{" in k and 'request="other"' in k]
    assert buckets == sorted(buckets) and buckets[-1] >= 200
    assert buckets[-1] == value(s, "creel_request_duration_seconds_count", 'request="other"')


def test_exporter_bounds_what_it_tells_of_guests():
    put("prog", "wait\n")
    ctl("fork", "-n", 40, run_detached("prog"))
    for option, each in ((("--guests", "10"), 10), (("--no-guests",), 0)):
        with Exporter(*option) as e:
            s = e.samples()
        assert sum(1 for k in s if k.startswith("creel_guest_info{")) == each
        assert sum(1 for k in s if k.startswith("creel_guest_private_bytes{")) == each + 1
        assert value(s, "creel_guest_memory_bytes", 'guest="other"') > 0


def test_exporter_tells_which_hosts_are_down():
    good, dead = f"127.0.0.1:{base.host.port}", "127.0.0.1:1"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = f"127.0.0.1:{silent.getsockname()[1]}"
        with Exporter(good, dead, mute) as e:
            s = e.samples()
            assert [value(s, "creel_up", f'"{h}"') for h in (good, dead, mute)] == [1, 0, 0]
            assert value(s, "creel_host_cores", f'"{good}"') > 0
            base.host.process.kill()
            base.host.process.wait()
            assert value(e.samples(), "creel_up", f'"{good}"') == 0
    base.host = base.Host()


def test_exporter_withstands_its_scrapers():
    with Exporter() as e:
        assert e.ask(b"GET / HTTP/1.1\r\n\r\n") == 200
        assert e.ask(b"HEAD /metrics HTTP/1.0\n\n") == 200
        assert e.ask(b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n") == 200
        assert e.ask(b"GET /etc/passwd HTTP/1.1\r\n\r\n") == 404
        assert e.ask(b"POST /metrics HTTP/1.1\r\n\r\n") == 405
        for bad in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET /metrics SPDY\n\n",
                    b"\0" * 100, bytes(range(256))):
            assert e.ask(bad) == 400, bad
        assert e.ask(b"GET /" + b"a" * 9000) == 431
        assert e.ask(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000) == 431
        # as many as there may be, who say nothing: one more is turned away, and none is kept for long
        idle = [e.connect() for _ in range(64)]
        time.sleep(0.5)
        assert e.ask(b"") == 503
        started = time.monotonic()
        assert idle[0].recv(100).split()[1] == b"408"
        assert time.monotonic() - started < 20
        for s in idle:
            s.close()
        # who goes in the middle of an answer, and who resets
        for _ in range(20):
            with e.connect() as s:
                s.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert value(e.samples(), "creel_up") == 1


def test_exporter_serves_many_scrapers_at_once():
    with Exporter() as e:
        waiting = [e.connect() for _ in range(50)]
        for s in waiting:
            s.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        for s in waiting:
            answer = b""
            while more := s.recv(65536):
                answer += more
            assert answer.startswith(b"HTTP/1.1 200") and b"creel_up" in answer
            s.close()
        accepted = value(e.samples(), "creel_management_connections_total", 'result="accepted"')
        assert accepted < 10  # one connection to the host for all of them


def test_exporter_says_why_it_cannot_listen():
    ctl("exporter", "--listen", "nonsense", status=REFUSED)
    with Exporter() as e:
        ctl("exporter", "--listen", f"127.0.0.1:{e.port}", status=REFUSED)


if __name__ == "__main__":
    sys.exit(base.run_tests("load", globals()))
