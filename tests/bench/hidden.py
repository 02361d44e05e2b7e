"""Beside instructions: exits, flushes, locked operations and uses of frame records, for each row.

Every operation is recorded a few times (trace.py); the recording with the median number of
instructions is the one that counts.
"""
import os
import re

from host import median_by
from trace import Cost, Recorder

TIMES = 3
FIELDS = ("exits", "flushes", "locked", "records")


def recorder_of(host, root, guest_elf):
    image = re.search(r"image at 0x([0-9a-f]+)", host.machine.serial)
    return Recorder(host.machine, os.path.join(root, "build", "creel.elf"), guest_elf, int(image[1], 16), root)


class Hidden:
    """`host`, and the guests of bench.py: `plain` is a name, make_guest(name) starts one more."""

    def __init__(self, host, root, guest_elf, small, large, plain, make_guest):
        self.host, self.small, self.large, self.plain = host, small, large, plain
        self.make_guest = make_guest
        self.recorder = recorder_of(host, root, guest_elf)

    def measure(self):
        """{row: Cost}"""
        self.zero = self._zero()
        kinds = {
            "fork_instructions": self.fork,
            "fork_to_first_exit_instructions": self.first_exit,
            "fork_100r_50w_instructions": self.ask("rw 100 50", 0),
            "snapshot_instructions": self.snapshot,
            "rollback_256_dirty_instructions": lambda: self.rollback(False),
            "rollback_256_dirty_total_instructions": lambda: self.rollback(True),
            "cow_fault_instructions": self.ask("cow 64", 3, 64),
            "first_cow_fault_instructions": self.first_fault,
            "hypercall_instructions": self.ask("hypercall 64", 0, 64),
            "cpuid_exit_instructions": self.ask("cpuid 64", 0, 64),
            "kill_instructions": self.kill,
        }
        return {row: median_by([take() for _ in range(TIMES)], lambda c: c.instructions)
                for row, take in kinds.items()}

    def _flushes(self, stats):
        return sum(stats["meters"][kind]["count"] for kind in ("flush_guest", "flush_all"))

    def _record(self, operation):
        """(the operation's result, its trace, flushes on its account until all guests wait again)"""
        before = self._flushes(self.host.settle())
        result, trace = self.recorder.record(lambda: (operation(), self.host.settle())[0])
        return result, trace, self._flushes(self.host.stats()) - before

    @staticmethod
    def _cost(windows, flushes, n=1):
        cost = Cost(windows, n)
        cost.flushes = flushes / n
        return cost

    def ask(self, command, clock, n=1):
        """What the small guest sees between its RDTSC number `clock` and the next."""
        def take():
            _, trace, flushes = self._record(lambda: self.small.ask(command))
            return self._cost([trace.guest_clock(clock)], flushes, n)
        return take

    def fork(self):
        made, trace, flushes = self._record(
            lambda: self.host.client.fork(self.small.name))
        self.host.kill(*made)
        return self._cost(trace.meter("fork"), flushes)

    def first_exit(self):
        made, trace, flushes = self._record(
            lambda: self.host.client.fork(self.plain, paused=False))
        self.host.kill(*made)
        return self._cost([trace.meter(k)[0] for k in ("fork", "load", "first_exit")], flushes)

    def snapshot(self):
        made, trace, flushes = self._record(lambda: self.host.client.snapshot(self.small.name))
        self.host.ctl("rm", str(made))
        return self._cost(trace.meter("snapshot"), flushes)

    def _zero(self):
        """The least that zeroing a frame takes, seen while a new guest uses up frames."""
        guest = self.make_guest("fresh")
        _, trace, _ = self._record(lambda: guest.ask("touch 64"))
        guest.process.kill()
        guest.process.wait()
        return min(trace.meter("zero"), key=lambda w: w.instructions)

    def _later(self, trace, pages):
        """What was freed, and what zeroing `pages` frames takes."""
        return trace.meter("reap") + [self.zero] * pages

    def rollback(self, total):
        snapshot = str(self.host.json("snapshot", self.small.name)["id"])
        self.small.ask("touch 256")
        _, trace, flushes = self._record(
            lambda: self.host.client.rollback(self.small.name, snapshot))
        self.host.ctl("rm", snapshot)
        windows = trace.meter("rollback") + (self._later(trace, 256) if total else [])
        return self._cost(windows, flushes)

    def first_fault(self):
        _, trace, flushes = self._record(lambda: self.large.ask("cow 1"))
        fault = max(trace.meter("fault"), key=lambda w: w.instructions)
        _, trace, _ = self._record(lambda: self.small.ask("port 1"))
        return self._cost([fault, trace.guest_clock(0)], flushes)

    def kill(self):
        child = str(self.host.json("fork", self.small.name, "0", "50")[0]["id"])
        self.host.settle()
        pages = self.host.json("inspect", child)[0]["private_pages"]
        _, trace, flushes = self._record(lambda: self.host.client.kill(child))
        self.host.ctl("rm", child)
        return self._cost(trace.meter("kill") + self._later(trace, pages), flushes)
