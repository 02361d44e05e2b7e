"""The machine that is measured, and how it is asked."""
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "emu"))
from keys import KEYS  # noqa: E402
from run import Machine  # noqa: E402
from client import Connection, Failed  # noqa: E402

CTL = os.path.join(ROOT, "build", "creelctl")
GUEST = os.path.join(ROOT, "build", "test-guests", "bench")
CPU = "EPYC,+svm,+npt"
ICOUNT = 7
PAGE = 4096
REPEAT = 9
PAUSE = 0.03  # seconds in which a host that is idle frees and zeroes something


def median(values):
    return median_by(values, lambda v: v)


def median_by(values, key):
    return sorted(values, key=key)[len(values) // 2]


class Host:
    """An appliance on QEMU, and creelctl to steer it. An instruction takes 2^icount ticks of the TSC."""

    def __init__(self, mem, icount=ICOUNT):
        self.icount = icount
        self.machine = Machine("qemu", cpus=1, mem=mem, cpu=CPU, icount=icount, real_idle=True,
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

    def instructions(self, ticks):
        return ticks / (1 << self.icount)

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


def fork_cost(host, source):
    """Median instructions of a client's fork of `source`, request parsed to child runnable."""
    costs = []
    for _ in range(REPEAT):
        before = host.stats()
        child = host.client.fork(source)[0]
        costs.append(ticks(before, host.stats(), "fork"))
        host.kill(child)
    host.settle()
    return host.instructions(median(costs))


def used(stats):
    """Bytes that the host has not got any more, whoever holds them."""
    f = stats["frames"]
    return (f["total"] - f["free"] - f["quarantined"]) * PAGE
