"""make run and make stop: a host is left running, is steered by creelctl, and goes without a trace."""
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "emu"))
from run import ROOT, free_port  # noqa: E402

SERVE = os.path.join(ROOT, "tests", "emu", "serve.py")
CREELCTL = os.path.join(ROOT, "build", "creelctl")
EXAMPLES = [os.path.join(ROOT, "build", "guests", name)
            for name in ("hello", "wordcount", "explore", "sampler")]


class Host:
    def __init__(self, directory):
        self.port = free_port()
        self.environment = dict(os.environ, CREEL_RUN=directory)

    def serve(self, *arguments):
        return subprocess.run([sys.executable, SERVE, *arguments], env=self.environment,
                              capture_output=True, text=True, timeout=300)

    def ctl(self, *arguments):
        environment = dict(self.environment, XDG_CONFIG_HOME=self.environment["CREEL_RUN"] + "/keys")
        return subprocess.run([CREELCTL, *arguments], env=environment, check=True,
                              capture_output=True, text=True, timeout=60).stdout


def lines_that_it_prints_work(text):
    export = re.search(r"^    (export XDG_CONFIG_HOME=.*)$", text, re.MULTILINE)[1]
    lines = [line.split("#")[0].strip() for line in text.splitlines()
             if line.startswith("    build/creelctl ")]
    assert len(lines) > 8, text
    for line in lines:
        for _ in range(100):  # what a fork writes is there when it has run
            r = subprocess.run(f"{export}\n{line}", shell=True, cwd=ROOT, text=True, capture_output=True, timeout=60)
            assert r.returncode == 0 and not r.stderr, (line, r)
            if r.stdout:
                break
            time.sleep(0.1)
        assert r.stdout, line


def test_a_host_stays_until_it_is_stopped():
    with tempfile.TemporaryDirectory() as d:
        host = Host(d)
        assert host.serve("status").returncode == 1
        images = [a for e in EXAMPLES for a in ("--image", e)]
        started = host.serve("start", "--port", str(host.port), "--tcg", *images)
        try:
            assert started.returncode == 0, started.stdout + started.stderr
            assert "Creel" in host.ctl("info")
            assert "argument 1: you" in host.ctl("run", "hello", "you")
            lines_that_it_prints_work(started.stdout)
            again = host.serve("start")
            assert again.returncode == 0 and "running already" in again.stdout
            assert host.serve("status").returncode == 0
        finally:
            stopped = host.serve("stop")
        assert stopped.returncode == 0 and "has ended" in stopped.stdout, stopped.stdout
        assert host.serve("status").returncode == 1
        assert os.listdir(d) == ["serial.log"], os.listdir(d)


def test_a_host_that_cannot_start_is_told_so():
    with tempfile.TemporaryDirectory() as d:
        host = Host(d)
        started = host.serve("start", "--port", str(host.port), "--mem", "64", "--tcg")
        assert started.returncode == 1
        assert "did not start" in started.stdout
        assert "Creel needs at least 96 MiB" in started.stdout
        assert host.serve("status").returncode == 1
