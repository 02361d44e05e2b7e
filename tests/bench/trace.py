"""What instructions hide: an operation of the appliance, instruction by instruction.

QEMU logs every instruction that it executes while a Recorder records. The meters of the appliance
(hv/meter.h) and the bench guest read the TSC around what they measure, so the trace is cut at the same
RDTSC instructions: a Window is exactly what the meter counts. Names come from the ELF files.
"""
import bisect
import os
import re
import subprocess
from collections import Counter

IN_GUEST = 1 << 21  # HF_GUEST_MASK of QEMU's translation flags
LINE = re.compile(rb"^Trace [^[]*\[[0-9a-f]+/([0-9a-f]+)/([0-9a-f]+)/", re.MULTILINE)

# Inlined functions that look at, or change, one frame record each time that they are executed. What
# follows on the same record, such as freeing the frame whose last reference was dropped, is not
# counted again.
RECORD_USES = {"frame_get", "frame_get_child", "frame_put", "frame_drop", "frame_drop_record",
               "frame_refs"}
# The same for (function, the one that calls it).
RECORD_USES_IN = {("list_next", "list_move"), ("list_pop", "take_for_zeroing"),
                  ("list_push", "take_untouched")}
# Functions that are not inlined, and use one record a call.
RECORD_CALLS = {"frame_alloc"}


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=True, **more).stdout


class Program:
    """An ELF file with debug information."""

    def __init__(self, path):
        self.path = path
        self.functions = []  # (address, name), ascending
        self.locked, self.rdtsc = set(), set()
        self.chains = {}
        for line in run("objdump", "-d", "--no-show-raw-insn", path).splitlines():
            function = re.match(r"([0-9a-f]{16}) <(.+)>:", line)
            if function:
                self.functions.append((int(function[1], 16), function[2]))
                continue
            address, _, text = line.partition(":\t")
            if text.startswith("rdtsc"):
                self.rdtsc.add(int(address, 16))
            elif text.startswith("lock ") or re.match(r"xchg .*\(", text):
                self.locked.add(int(address, 16))
        self.starts = [a for a, _ in self.functions]

    def function(self, address):
        i = bisect.bisect_right(self.starts, address) - 1
        return self.functions[i][1] if i >= 0 else "?"

    def look_up(self, addresses):
        """Fill `chains` for the addresses: [(function, file:line)...], the innermost inlined one first."""
        wanted = [a for a in addresses if a not in self.chains]
        if not wanted:
            return
        lines = run("addr2line", "-a", "-i", "-f", "-e", self.path,
                    input="".join(f"{a:#x}\n" for a in wanted)).splitlines()
        name = None
        for line in lines:
            if re.fullmatch(r"0x[0-9a-f]{16}", line):
                chain = self.chains[int(line, 16)] = []
                name = None
            elif name is None:
                name = line.partition(".")[0]
            else:
                chain.append((name, line.partition(" ")[0]))
                name = None


class Clocks:
    """The RDTSC instructions of the appliance: where which meter starts and ends."""

    def __init__(self, program, root):
        program.look_up(program.rdtsc)
        self.starts, self.ends = {}, {}
        for address in program.rdtsc:
            chain = program.chains[address]
            names = [name for name, _ in chain]
            if len(chain) >= 3 and names[1] == "meter_time":
                self.ends[address] = (names[2], self._meter(root, chain[1][1], chain[2][1]))
            elif len(chain) >= 2 and names[0] == "rdtsc":
                self.starts[address] = names[1]

    @staticmethod
    def _meter(root, _, where):
        path, _, line = where.rpartition(":")
        with open(os.path.join(root, path)) as f:
            text = f.read().splitlines()[int(line) - 1]
        kind = re.search(r"METER_(\w+)", text)
        return kind[1].lower() if kind else "fault"


class Window:
    """Some of the executed instructions: [(address, in the guest)...]."""

    def __init__(self, program, steps):
        self.instructions = len(steps)
        self.exits = sum(1 for a, b in zip(steps, steps[1:]) if a[1] and not b[1])
        counts = Counter(a for a, guest in steps if not guest)
        program.look_up(counts)
        self.locked = sum(n for a, n in counts.items() if a in program.locked)
        self.records = self._records(program, counts)
        self.functions = Counter()
        for a, n in counts.items():
            self.functions[program.function(a)] += n
        in_guest = self.instructions - sum(counts.values())
        if in_guest:
            self.functions["(the guest)"] = in_guest

    @staticmethod
    def _records(program, counts):
        """An inlined function was executed as often as the most executed of its instructions."""
        uses = Counter()
        for a, n in counts.items():
            chain = program.chains[a]
            names = [name for name, _ in chain]
            for i in reversed(range(len(chain))):
                caller = names[i + 1] if i + 1 < len(chain) else None
                if caller and (names[i] in RECORD_USES or (names[i], caller) in RECORD_USES_IN):
                    key = (program.function(a), *chain[i + 1:])
                    uses[key] = max(uses[key], n)
                    break
        return sum(uses.values()) + sum(n for a, n in counts.items() if a in program.starts and
                                        program.function(a) in RECORD_CALLS)


class Cost:
    """The sum of windows, divided by `n`."""

    def __init__(self, windows, n=1):
        self.n = n
        for name in ("instructions", "exits", "locked", "records"):
            setattr(self, name, sum(getattr(w, name) for w in windows) / n)
        self.functions = sum((w.functions for w in windows), Counter())

    def dearest(self, many=5):
        return [(name, count / self.n) for name, count in self.functions.most_common(many)]


class Trace:
    """What was recorded, and the windows in it."""

    def __init__(self, steps, program, clocks, guest):
        self.steps, self.program, self.clocks, self.guest = steps, program, clocks, guest

    def meter(self, *kinds):
        """The windows of these meters, in order of time."""
        begun, found = {}, []
        for i, (address, in_guest) in enumerate(self.steps):
            if in_guest:
                continue
            if address in self.clocks.starts:
                begun[self.clocks.starts[address]] = i
            elif address in self.clocks.ends:
                function, kind = self.clocks.ends[address]
                if kind in kinds and function in begun:
                    found.append(self.window(begun[function], i))
        return found

    def guest_clock(self, first):
        """The window between the guest's RDTSC number `first` and its next one."""
        at = [i for i, (address, in_guest) in enumerate(self.steps)
              if in_guest and address in self.guest.rdtsc]
        return self.window(at[first], at[first + 1])

    def window(self, start, end):
        return Window(self.program, self.steps[start:end])


class Recorder:
    """Records what a machine executes. `image` is where the appliance was loaded."""

    def __init__(self, machine, elf, guest_elf, image, root):
        self.machine, self.image = machine, image
        self.program, self.guest = Program(elf), Program(guest_elf)
        self.clocks = Clocks(self.program, root)
        self.files = 0

    def record(self, operation):
        """Calls operation(); returns (what it returns, Trace)."""
        self.files += 1
        path = os.path.join(self.machine.dir, f"trace-{self.files}")
        for command in ("singlestep on", f"logfile {path}", "log exec"):
            self.machine.monitor(command)
        try:
            result = operation()
        finally:
            self.stop()
        with open(path, "rb") as f:
            steps = [self._step(m) for m in LINE.finditer(f.read())]
        os.unlink(path)
        return result, Trace(steps, self.program, self.clocks, self.guest)

    def stop(self):
        """Also for an operation of which not all is to be recorded."""
        for command in ("log none", "singlestep off"):
            self.machine.monitor(command)

    def _step(self, match):
        pc, in_guest = int(match[1], 16), bool(int(match[2], 16) & IN_GUEST)
        return (pc if in_guest else pc - self.image, in_guest)
