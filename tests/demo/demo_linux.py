#!/usr/bin/python3
"""What most users do: a Linux guest with Python, warmed up once, then forked for each task.

    tests/demo/demo_linux.py ISO

Debian's unmodified kernel, and the image that docs/linux.md has the recipe of. QEMU counts instructions
(-icount), so what a step costs can be said in them. Every result is checked.
"""
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("tests/demo", "tests/emu", "tests/linux"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import guest  # noqa: E402
from demo import Client, PAGE, Wrong, chapter, check, say, shown  # noqa: E402
from run import Died, Machine, Timeout  # noqa: E402

FORKS = int(os.environ.get("CREEL_FORKS", "100"))
ICOUNT = 1
TICKS = 1 << ICOUNT  # of the TSC, for each instruction
KINDS = ("table", "data", "state", "stream", "image")
EXITS = ("io", "msr", "cpuid", "hlt", "interrupt", "cow_fault", "zero_fault", "table_walk_fault")
# The kernel and the agent of a guest that nothing has been asked of are up within this.
BOOT_SECONDS = 300
LAST_WORDS = 6000 # characters of a guest's log, when it did not answer
MODULES = "json, re, hashlib, decimal, collections, itertools, statistics, textwrap, random, datetime"

# It waits for a task as a line on a named pipe, with all that it imports in memory, and answers on another.
SERVER = f"""
import os, sys, {MODULES}
os.mkfifo("/tmp/task"); os.mkfifo("/tmp/result")
print("warm", flush=True)
while True:
    with open("/tmp/task") as f:
        task = f.read()
    try:
        answer = repr(eval(task))
    except Exception as e:
        answer = repr(e)
    with open("/tmp/result", "w") as f:
        f.write(answer)
"""

TASKS = [
    ("sum(i * i for i in range({n}))", lambda n: sum(i * i for i in range(n))),
    ("hashlib.sha256(b'{n}').hexdigest()[:16]", lambda n: __import__("hashlib").sha256(b"%d" % n).hexdigest()[:16]),
    ("json.loads('[{n}, {{\"x\": {n}}}]')[1]['x']", lambda n: n),
    ("sorted(str({n} ** 7))[-1]", lambda n: sorted(str(n ** 7))[-1]),
    ("statistics.mean(range({n}))", lambda n: __import__("statistics").mean(range(n))),
    ("len(re.findall('7', str(list(range({n})))))", lambda n: str(list(range(n))).count("7")),
    ("(datetime.date(2000, 1, 1) + datetime.timedelta({n})).isoformat()",
     lambda n: (__import__("datetime").date(2000, 1, 1) + __import__("datetime").timedelta(n)).isoformat()),
]


class Costs:
    """What the host counted in a step."""

    def __init__(self, client):
        self.client = client
        self.restart()

    def restart(self):
        self.before, self.ran_before = self.client.json("stats"), self._ran()

    def _ran(self):
        """Processor time of all guests in ns: theirs, and the host's for their exits."""
        return sum(g["cpu_ns"] for g in self.client.json("ps", "-a"))

    def tell(self, what, each=1, meter=None):
        now, ran = self.client.json("stats"), self._ran()
        meters = {k: (v["count"] - self.before["meters"][k]["count"],
                      v["ticks"] - self.before["meters"][k]["ticks"]) for k, v in now["meters"].items()}
        exits = sum(meters[k][0] for k in EXITS if k in meters)
        frames = sum(now["frames"][k] - self.before["frames"][k] for k in KINDS)
        executed = (ran - self.ran_before) * now["tsc_khz"] / 1e6 / TICKS / each
        parts = []
        if meter and meters[meter][0]:
            parts.append(f"{meters[meter][1] // meters[meter][0] // TICKS:,} instructions of the host")
        parts.append(f"{executed:,.0f} of guests and their exits")
        parts.append(f"{exits / each:,.0f} exits")
        parts.append(f"{abs(frames) / each:,.0f} pages ({abs(frames) * PAGE / each / 1024:,.0f} KiB)" +
                     (" given back" if frames < 0 else ""))
        say(f"    cost of {what}: {', '.join(parts)}")
        self.before, self.ran_before = now, ran


def ask(client, name, task):
    """The line that a person types, and what comes back."""
    try:
        return client.quiet("exec", name, "--", "sh", "-c", 'printf %s "$1" >/tmp/task; cat /tmp/result', "sh",
                            task)
    except Wrong:
        say(client.quiet("logs", name)[-LAST_WORDS:])
        raise


def boot(client, costs):
    client.show("put", os.path.relpath(guest.python_bundle(), ROOT), "python")
    costs.restart()
    client.show("run", "-d", "--name", "warm", "python")
    out = client.show("exec", "--wait", BOOT_SECONDS, "warm", "--", "python3", "-V")
    check(out.startswith("Python 3."), "Debian's kernel is up, and its agent has run a command")
    costs.tell("the boot")


def warm_up(client, costs):
    say("  $ creelctl push warm /tmp/server.py <<END … END")
    with open(os.path.join(ROOT, "build", "demo-server.py"), "w") as f:
        f.write(SERVER)
    with open(f.name) as f:
        client.quiet("push", "warm", "/tmp/server.py", stdin=f)
    client.show("exec", "warm", "--", "sh", "-c",
                "python3 /tmp/server.py >/tmp/log 2>&1 & while [ ! -s /tmp/log ]; do sleep 0.1; done; cat /tmp/log")
    check(ask(client, "warm", "6 * 7") == "42", f"one interpreter has {len(MODULES.split(','))} modules of the "
                                                "standard library loaded, and waits for a task")
    costs.tell("the warm-up")
    client.show("snapshot", "--quiesce", "warm", "ready")
    costs.tell("the snapshot", meter="snapshot")


def fork_all(client, costs):
    start = time.monotonic()
    say(f"  $ creelctl fork -n {FORKS} --name task ready")
    made = client.quiet("fork", "-n", FORKS, "--name", "task", "ready").split()
    check(len(set(made)) == FORKS, f"{FORKS} forks in {time.monotonic() - start:.2f} s")
    costs.tell("each fork, which nothing was asked of yet", each=FORKS, meter="fork")


def work(client, costs):
    right, lines, draws = 0, [], set()
    start = time.monotonic()
    for i in range(1, FORKS + 1):
        template, expected = TASKS[i % len(TASKS)]
        task = template.format(n=100 + i)
        out = ask(client, f"task-{i}", f"({task}, os.urandom(16).hex(), os.uname().nodename)")
        answer, draw, name = eval(out, {"datetime": None})
        right += answer == expected(100 + i) and name == f"task-{i}"
        draws.add(draw)
        lines.append(f"task-{i}: {task} = {answer}")
    say(f"  $ for i in $(seq {FORKS}): a different task in task-$i, through its interpreter")
    shown("\n".join(lines[::17]))
    check(right == FORKS, f"{FORKS} different tasks have the results that Python has here "
                          f"({time.monotonic() - start:.0f} s, on an emulated processor)")
    check(len(draws) == FORKS, "no two forks drew the same from /dev/urandom")
    costs.tell("each task, with what makes a fork another one", each=FORKS)


def ruin_and_roll_back(client, costs):
    client.show("exec", "task-1", "--", "rm", "-rf", "/", status=1) # not all of /proc and /sys goes
    out = client.show("exec", "task-1", "--", "python3", "-V", status=125)
    check("No such file" in out, "after rm -rf / nothing is left there")
    costs.tell("the ruin")
    client.show("rollback", "task-1", "ready")
    check(ask(client, "task-1", "json.dumps([1, 2])") == "'[1, 2]'", "and after a rollback all is, warm as before")
    costs.tell("the rollback and a task", meter="rollback")
    check(ask(client, "task-2", "1 + 1") == "2", "its sisters noticed nothing")


def main():
    with Machine("qemu", iso=sys.argv[1], cpus=1, mem=1536, cpu="EPYC,+svm,+npt", icount=ICOUNT,
                 real_idle=True) as machine:
        chapter("Power on")
        machine.wait_for(r"\] address: \d", 180, fail=r"cannot start|PANIC")
        client = Client(machine.port)
        costs = Costs(client)
        chapter("Debian's kernel and Python boot once")
        boot(client, costs)
        chapter("The interpreter is warmed up, and frozen")
        warm_up(client, costs)
        chapter(f"{FORKS} forks")
        fork_all(client, costs)
        chapter("A different task in each")
        work(client, costs)
        chapter("rm -rf /, and back")
        ruin_and_roll_back(client, costs)
        client.quiet("rm", "-f", *[str(g["id"]) for g in client.json("ps", "-a")])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Wrong, Timeout, Died, AssertionError, subprocess.TimeoutExpired, json.JSONDecodeError) as e:
        say(f"  ✗ {e}")
        sys.exit(1)
