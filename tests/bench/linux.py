"""What a Linux guest costs: Debian's kernel with Python, 256 MiB, warmed up as in make demo-linux.

The clock of this machine goes slower against its instructions than in the other rows (ICOUNT): else most
of what Linux does would be ticks of its own timer.
"""
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/demo", "tests/linux"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import guest  # noqa: E402
from client import Failed  # noqa: E402
from demo_linux import SERVER  # noqa: E402
from hidden import TIMES, recorder_of  # noqa: E402
from trace import Cost  # noqa: E402
from host import GUEST, PAGE, REPEAT, Host, count, fork_cost, median, median_by, meter, ticks, used  # noqa: E402

ICOUNT = 1
MEMORY = "256M"
BOOT_SECONDS = 900
IDLE_SECONDS, IDLE_SECONDS_QUICK = 60, 10
DIRTY, SPARE = 1000, 8
PAUSED = 64
BATCH = 50
ANSWER_SECONDS = 60
ROOM = 0.1  # of a machine that is filled stays free: guests that only wait write a page now and then
FRAMES = ("table", "data", "state", "stream")
EXITS = ("io", "msr", "cpuid", "hlt", "interrupt", "other_exit", "cow_fault", "zero_fault",
         "table_walk_fault", "raise_fault")
ASK = 'printf %s "$1" >/tmp/task; cat /tmp/result'
# What a processor must do for a fork to answer, beyond the pages that the fork has to copy.
FIRST_OUTPUT_LIMIT, FIRST_OUTPUT_PAGE_LIMIT = 100000, 2000


def first_output_limit(out):
    return FIRST_OUTPUT_LIMIT + FIRST_OUTPUT_PAGE_LIMIT * out["linux_fork_to_exec_pages_copied"]


# key: (limit, or a function of all results that tells it, or None; what others take, in words)
ROWS = {
    "linux_fork_instructions": (8000, "Zeroboot's fork 440,000"),
    "linux_fork_to_exec_instructions": (None, ""),
    "linux_fork_to_exec_guest_instructions": (None, ""),
    "linux_fork_to_exec_host_instructions": (first_output_limit, ""),
    "linux_bytes_fork_never_run": (16384, "Zeroboot 265,000"),
    "linux_bytes_after_python": (4 << 20, ""),
    "linux_idle_exits_per_second": (20, ""),
    "linux_rollback_1000_dirty_instructions": (60000, ""),
    "linux_rollback_1000_dirty_total_instructions": (1000000, ""),
    "linux_forks_in_2gib": (300, ""),
    "linux_boot_exits": (None, ""),
}


def exits(before, after):
    return {kind: count(before, after, kind) for kind in EXITS}


def frames(before, after):
    return {kind: (after["frames"][kind] - before["frames"][kind]) * PAGE for kind in FRAMES}


def ask(host, name, task):
    """A line for the warm interpreter, as a person types it; its answer."""
    return host.ctl("exec", name, "--", "sh", "-c", ASK, "sh", task)


def boot(host):
    """Stats before, when a command has run, and when one more has."""
    host.ctl("put", guest.python_bundle(), "python")
    found = [host.settle()]
    host.ctl("run", "-d", "--name", "warm", "--memory", MEMORY, "python")
    for _ in range(2):
        host.ctl("exec", "--wait", str(BOOT_SECONDS), "warm", "--", "hostname", timeout=BOOT_SECONDS)
        found.append(host.settle())
    return found


def warm_up(host):
    """One interpreter that has loaded a part of its library waits for lines."""
    script = os.path.join(host.machine.dir, "server.py")
    with open(script, "w") as f:
        f.write(SERVER)
    host.ctl("cp", script, "warm:/tmp/server.py")
    host.ctl("exec", "warm", "--", "sh", "-c",
             "python3 /tmp/server.py >/tmp/log 2>&1 & while [ ! -s /tmp/log ]; do sleep 0.1; done")
    if ask(host, "warm", "6 * 7") != "42":
        raise Failed("the warm interpreter does not answer")
    host.settle()


def measure_boot(found, out):
    """All until a command has run, less what such a command takes: kernel entry to agent ready."""
    before, between, after = found
    command = exits(between, after)
    each = {kind: max(n - command[kind], 0) for kind, n in exits(before, between).items()}
    out["linux_boot_exits"] = sum(each.values())
    out.update((f"linux_boot_exits_{kind}", n) for kind, n in each.items())


def measure_never_run(host, out):
    before = used(host.settle())
    ids = [f["id"] for f in host.json("fork", "-n", str(PAUSED), "--paused", "warm")]
    out["linux_bytes_fork_never_run"] = (used(host.settle()) - before) / PAUSED
    host.kill(*ids)


def measure_line(host, out):
    """One fork that evaluates a line, with all that makes it another guest."""
    before = host.settle()
    host.ctl("fork", "--name", "line", "warm")
    if ask(host, "line", "sum(range(100))") != "4950":
        raise Failed("the interpreter of a fork does not answer")
    after = host.settle()
    key = "linux_bytes_after_python"
    parts = frames(before, after)
    out[key] = sum(parts.values())
    out.update((f"{key}_{kind}", n) for kind, n in parts.items())
    host.kill("line")


class FirstOutput:
    """A fork, a command in it, and its first output; recorded instruction by instruction."""

    COMMAND = ("sh", "-c", "echo x; read y")  # and then it waits, so that nothing follows

    def __init__(self, host):
        self.host, self.other = host, host.connect()
        self.recorder = recorder_of(host, ROOT, GUEST)
        self.copied = self.flushes = 0

    def _operate(self):
        end, held = os.pipe()
        before = self.other.stats()
        forked = self.host.client.fork("warm", paused=False)[0]

        def came():
            self.recorder.stop()
            after = self.other.stats()
            self.copied = count(before, after, "page_copy")
            self.flushes = count(before, after, "flush_guest") + count(before, after, "flush_all")
            return True
        self.host.client.exec(forked, self.COMMAND, end, came)
        for fd in (end, held):
            os.close(fd)
        return forked

    @staticmethod
    def _ends(trace):
        """From the Ethernet frame with the request to the end of the turn that sends the output."""
        starts = {name: address for address, name in trace.program.functions}
        at = {name: [i for i, (address, in_guest) in enumerate(trace.steps)
                     if not in_guest and address == starts[name]]
              for name in ("service_poll", "net_input", "guest_fork", "port_put", "guest_output")}
        turn = max(i for i in at["service_poll"] if i < at["guest_fork"][0])
        read = min(i for i in at["guest_output"] if i > max(at["port_put"]))
        end = next((i for i in range(read, len(trace.steps))
                    if trace.program.function(trace.steps[i][0]) == "run_turn"), len(trace.steps))
        return min(i for i in at["net_input"] if i > turn), end

    def _take(self):
        forked, trace = self.recorder.record(self._operate)
        self.host.kill(forked)
        self.host.settle()
        cost = Cost([trace.window(*self._ends(trace))])
        cost.flushes, cost.copied = self.flushes, self.copied
        cost.guest = cost.functions["(the guest)"]
        return cost

    def measure(self, out):
        """The median one, by what the host has executed."""
        costs = [self._take() for _ in range(TIMES)]
        cost = median_by(costs, lambda c: c.instructions - c.guest)
        out["linux_fork_to_exec_instructions"] = cost.instructions
        out["linux_fork_to_exec_guest_instructions"] = cost.guest
        out["linux_fork_to_exec_host_instructions"] = cost.instructions - cost.guest
        out["linux_fork_to_exec_pages_copied"] = cost.copied
        return cost


def measure_idle(host, out, wait):
    def look():
        return host.stats(), host.json("inspect", "warm")[0]["exits"], host.json("info")["uptime_ns"]
    host.settle()
    before, exits_before, ns_before = look()
    time.sleep(wait)
    after, exits_after, ns_after = look()
    seconds = (ns_after - ns_before) / 1e9
    key = "linux_idle_exits_per_second"
    out[key] = (exits_after - exits_before) / seconds
    out.update((f"{key}_{kind}", n / seconds) for kind, n in exits(before, after).items() if n)


def touch(host, pages):
    ask(host, "roll", f"len(b'x' * {pages * PAGE})")


def measure_rollback(host, out):
    """A guest that has written DIRTY pages since its snapshot, what its system wrote counted in."""
    first, total, dirty = [], [], []
    host.ctl("fork", "--name", "roll", "warm")
    touch(host, DIRTY)
    snapshot = str(host.json("snapshot", "--no-quiesce", "roll")["id"])
    shared, pages = host.settle(), DIRTY
    for _ in range(1 + REPEAT):
        touch(host, pages)
        before = host.settle()
        own = frames(shared, before)
        host.client.rollback("roll", snapshot)
        after = host.settle()
        if own["data"] < DIRTY * PAGE:
            raise Failed(f"{own['data'] // PAGE} pages were written, and not {DIRTY}")
        dirty.append(own["data"] // PAGE)
        first.append(meter(after, "rollback")["last"])
        total.append(first[-1] + ticks(before, after, "reap") +
                     (own["data"] + own["table"]) // PAGE * host.zero_cost)
        # The rounds tell how many pages the system writes meanwhile.
        pages -= dirty[-1] - DIRTY - SPARE
    out["linux_rollback_1000_dirty_instructions"] = host.instructions(median(first[1:]))
    out["linux_rollback_1000_dirty_total_instructions"] = host.instructions(median(total[1:]))
    out["linux_rollback_1000_dirty_pages"] = median(dirty[1:])
    host.kill("roll")
    host.ctl("rm", snapshot)


def measure(out, step, quick=False):
    """All but the machine that is filled. Returns the recorded Cost of fork to first output."""
    with Host(2048, ICOUNT) as host:
        step("Linux: boot")
        found = boot(host)
        warm_up(host)
        measure_boot(found, out)
        step("Linux: fork")
        out["linux_fork_instructions"] = fork_cost(host, "warm")
        measure_never_run(host, out)
        measure_line(host, out)
        step("Linux: rollback")
        measure_rollback(host, out)
        step("Linux: fork to first output")
        cost = FirstOutput(host).measure(out)
        step("Linux: idle")
        measure_idle(host, out, IDLE_SECONDS_QUICK if quick else IDLE_SECONDS)
    return cost


def answered(host, names):
    """Runs a command in each, up to the first that does not answer; how many have, and why not that one."""
    for i, name in enumerate(names):
        try:
            said = host.client.exec(name, ["hostname"], start_seconds=ANSWER_SECONDS).strip()
        except Failed as e:
            said = str(e)
        if said != name:
            last = host.json("inspect", name)[0]
            return i, f"{name}, {last['state']} ({last['reason'] or last['stop']}): {said}"
    return len(names), ""


def has_room(host):
    frames = host.stats()["frames"]
    return frames["free"] > frames["total"] * ROOM


def fill(out):
    """Forks, each of which runs a command, until a 2 GiB machine has left what they need to live on."""
    with Host(2048, ICOUNT) as host:
        boot(host)
        warm_up(host)
        names, silent = [], ""
        while has_room(host) and not silent:
            batch = f"f{len(names) // BATCH}"
            host.ctl("fork", "-n", str(BATCH), "--name", batch, "warm")
            more = [f"{batch}-{i + 1}" for i in range(BATCH)]
            n, silent = answered(host, more)
            names += more[:n]
        states = {g["name"]: g["state"] for g in host.json("ps")}
        out["linux_forks_in_2gib"] = sum(states[name] in ("waiting", "running") for name in names)
        print(f"\n{len(names)} Linux guests in 2 GiB have answered, "
              f"{out['linux_forks_in_2gib']} of them go on {silent}")
