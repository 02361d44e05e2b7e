"""The agent in guests with Debian's unmodified kernel: commands, files, forks that are none alike."""
import filecmp
import os
import pty
import re
import subprocess
import sys
import termios
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for _folder in ("tests/e2e", "tests/linux"):
    sys.path.insert(0, os.path.join(ROOT, _folder))
import guest  # noqa: E402
import wire  # noqa: E402
from hosts import CTL, Attached, on  # noqa: E402

ALL = ("linux-qemu",)
BOTH = ("linux-qemu", "linux-bochs")
IMAGE = "with-agent"
FORKS = int(os.environ.get("CREEL_DRAWS", "1000"))
LINE = 2 * 64 + 3  # bytes that a fork writes, at a terminal
AT_ONCE = 50
WAIT = "300"  # seconds, for a guest that boots under emulation


def put(host):
    if any(i["name"] == IMAGE for i in host.json("images")):
        return
    folder = host.machine.dir
    initrd, bundle = os.path.join(folder, "agent-initrd"), os.path.join(folder, "agent.bundle")
    with open(initrd, "wb") as f:
        f.write(guest.agent_initrd())
    host.command("image", "build", "--kernel", guest.kernel(), "--initrd", initrd,
                 "--cmdline", "console=hvc0 panic=-1 quiet", "-m", "128M", bundle)
    host.command("put", bundle, IMAGE)


def busybox(host, number, line, status=0):
    return host.command("exec", "--wait", WAIT, number, "/bin/busybox", "sh", "-c", line, status=status)


def ready(host):
    """A guest whose agent has run a command."""
    put(host)
    number = host.command("run", "-d", IMAGE).text.strip()
    busybox(host, number, "/bin/busybox --install -s /bin")
    return number


def folders_come_back_as_they_went(host, number):
    top, back = (os.path.join(host.machine.dir, name) for name in ("tree", "back"))
    os.makedirs(os.path.join(top, "sub"))
    for name, size in (("none", 0), ("sub/much", 300_000)):
        with open(os.path.join(top, name), "wb") as f:
            f.write(os.urandom(size))
    os.symlink("sub/much", os.path.join(top, "link"))
    host.command("cp", top, f"{number}:/tmp/tree")
    assert busybox(host, number, "cd /tmp/tree; readlink link; wc -c <link; ls -A").text.split() == [
        "sub/much", "300000", "link", "none", "sub"]
    host.command("cp", f"{number}:/tmp/tree", back)
    same = filecmp.dircmp(top, back)
    assert sorted(same.common) == ["link", "none", "sub"] and not same.diff_files + same.left_only + same.right_only
    assert filecmp.cmp(os.path.join(top, "sub/much"), os.path.join(back, "sub/much"), shallow=False)


def a_terminal_is_one_in_the_guest(host, number):
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (33, 101))
    line = 'tty; stty size; read x; echo "<$x>"'
    client = subprocess.Popen([CTL, "exec", "-it", number, "/bin/busybox", "sh", "-c", line], stdin=slave,
                              stdout=slave, stderr=slave, env=host.environment, start_new_session=True)
    os.close(slave)
    seen = b""
    while b"33 101" not in seen:
        seen += os.read(master, 1000)
    assert b"/dev/pts/" in seen, seen
    os.write(master, b"hello\r")
    while b"<hello>" not in seen:
        seen += os.read(master, 1000)
    assert client.wait(60) == 0
    os.close(master)


def the_hosts_entropy_reaches_the_guest(host, number):
    r = busybox(host, number, "cat /sys/class/misc/hw_random/rng_current; "
                "for i in 1 2; do head -c 64 /dev/hwrng | tee /tmp/drawn | md5sum; wc -c </tmp/drawn; done")
    name, first, _, size, second, _, again = r.text.split()
    assert name.startswith("virtio_rng") and size == again == "64" and first != second, r


@on(*BOTH)
def commands_run_in_the_guest(host):
    number = ready(host)
    r = busybox(host, number, "uname -s; echo err >&2; exit 7", status=7)
    assert r.text == "Linux\n" and r.err == b"err\n", r
    assert busybox(host, number, "cat /proc/1/comm").text == "init\n"
    assert busybox(host, number, "hostname").text == f"creel-{number}\n"
    wall = int(busybox(host, number, "date +%s").text)
    assert abs(wall - host.json("info")["wall_ns"] // 10**9) < 30, wall
    the_hosts_entropy_reaches_the_guest(host, number)
    folders_come_back_as_they_went(host, number)
    a_terminal_is_one_in_the_guest(host, number)
    host.remove(number)


def commands_wait_while_a_snapshot_is_taken(host, number):
    """Those that come while all stand still begin then, and hold nothing up."""
    started = []
    for _ in range(3):
        started += [Attached(host, "exec", number, "/bin/busybox", "sh", "-c", f"echo {i}") for i in range(4)]
        host.command("rm", host.command("snapshot", "--quiesce", number).text.strip())
    for i, one in enumerate(started):
        assert one.line(120) == str(i % 4) and one.process.wait(60) == 0


@on(*ALL)
def forks_are_each_another_one(host):
    number = ready(host)
    commands_wait_while_a_snapshot_is_taken(host, number)
    before = host.command("snapshot", "--quiesce", number).text.strip()
    forks = host.command("fork", "-n", "10", before).text.split() + host.command(
        "fork", "-n", "10", number).text.split()
    seen = set()
    for fork in forks:
        r = busybox(host, fork, "head -c 32 /dev/urandom | md5sum; hostname; cat /etc/machine-id; "
                    "od -An -tx8 -N8 /run/creel/generation")
        draw, name, identity, generation = r.text.split("\n")[:4]
        assert name == f"creel-{fork}", r
        for one in (draw, identity, generation):
            assert one not in seen, r
            seen.add(one)
    host.command("rollback", number, before)
    again = busybox(host, number, "head -c 32 /dev/urandom | md5sum").text.strip()
    host.command("rollback", number, before)
    assert busybox(host, number, "head -c 32 /dev/urandom | md5sum").text.strip() not in (again, *seen)
    host.remove(number, *forks)
    host.command("rm", before)


SERVICE = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /run /etc /sys/fs/cgroup /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup; mount -t devpts devpts /dev/pts
for driver in /drivers/*; do
	case $driver in *net_failover* | *virtio_net*) later="$later $driver";; *) insmod $driver;; esac
done
(sleep 3; for driver in $later; do insmod $driver; done) &
chmod 755 /agent
(i=0; while :; do i=$((i + 1)); echo $i >/tmp/new; mv /tmp/new /tmp/tick; sleep 0.05; done) &
(while :; do /agent; sleep 1; done) &
while :; do wait; sleep 1; done
"""


def has_its_own_card(host, number, name):
    n = int(number)
    r = busybox(host, number, f"until ip addr show {name} | grep -q 'inet 100'; do sleep 0.2; done 2>/dev/null; "
                f"cat /sys/class/net/{name}/address; ping -c 1 -W 5 {guest.gateway_of(n)} >/dev/null && echo answered")
    assert r.text == f"06:c7:ee:00:{n >> 8:02x}:{n & 255:02x}\nanswered\n", r


@on(*ALL)
def the_agent_as_a_service(host):
    """Below an init of another kind, whose processes stand still for a snapshot too, and go on in a fork."""
    initrd, bundle = (os.path.join(host.machine.dir, n) for n in ("service-initrd", "service.bundle"))
    with open(os.path.join(ROOT, "build", "creel-agent"), "rb") as a, open(initrd, "wb") as f:
        f.write(guest.initrd(SERVICE, [*guest.drivers(), ("agent", a.read())]))
    host.command("image", "build", "--kernel", guest.kernel(), "--initrd", initrd, "--cmdline",
                 "console=hvc0 panic=-1 quiet", "-m", "128M", bundle)
    host.command("put", bundle, "service")
    number = host.command("run", "-d", "service").text.strip()
    assert busybox(host, number, "cat /proc/1/comm; ps | grep -c '[/]agent'").text.startswith("init\n")
    # its card comes after the agent, and has another name when it is forked
    has_its_own_card(host, number, "eth0")
    busybox(host, number, "ip link set eth0 down; ip link set eth0 name enp0s3; ip link set enp0s3 up")
    before = host.command("snapshot", "--quiesce", number).text.strip()
    fork = host.command("fork", before).text.strip()
    for one in (fork, number):
        r = busybox(host, one, "hostname; a=$(cat /tmp/tick); sleep 1; [ $a != $(cat /tmp/tick) ] && echo on")
        assert r.text == f"creel-{one}\non\n", r
    has_its_own_card(host, fork, "enp0s3")
    host.remove(number, fork)
    host.command("rm", before)


def drawn_by(host, client, forks):
    """What each has drawn, of the kernel and of its own generator."""
    left, drawn, end = [int(f) for f in forks], [], time.monotonic() + 600
    while left:
        written = {g["id"]: g["bytes_out"] for g in host.json("ps")}
        said = client.all({f: wire.attach(f, f, wire.ATTACH_OUT) for f in left if written[f] >= LINE})
        for f, frames in said.items():
            text = b"".join(payload[14:] for kind, payload in frames if kind == wire.DATA).decode()
            # (a kernel that waited long for its turn may have complained of that as well)
            found = re.findall(r"\b([0-9a-f]{64}) ([0-9a-f]{64})\r?\n", text)
            assert len(found) < 2, text
            if found:
                left.remove(f)
                drawn += found
        assert time.monotonic() < end, f"{len(left)} forks have drawn nothing"
        time.sleep(0.2)
    return drawn


@on(*ALL)
def forks_draw_apart(host):
    number = ready(host)
    host.command("push", "--mode", "755", number, "/tmp/draw", stdin=guest.drawer())
    busybox(host, number, "/tmp/draw >/dev/hvc0 2>&1 </dev/null &")
    host.wait_output(number, "seeded")
    before = host.command("snapshot", "--quiesce", number).text.strip()
    host.remove(number)
    kernel, own, left = set(), set(), FORKS
    with wire.Client(host, timeout=600) as client:
        while left:
            forks = host.command("fork", "-n", min(left, AT_ONCE), before).text.split()
            left -= len(forks)
            for drawn_kernel, drawn_own in drawn_by(host, client, forks):
                kernel.add(drawn_kernel)
                own.add(drawn_own)
            host.command("rm", "-f", *forks)
    assert len(kernel) == len(own) == FORKS and not kernel & own, (len(kernel), len(own))
    host.command("rm", before)


@on(*ALL)
def no_process_sees_a_fork_that_is_partly_another(host):
    """Name, identity, card, clock and generation are others before a busy process goes on: a look may have
    been under way, and none comes after it."""
    number = ready(host)
    host.command("push", "--mode", "755", number, "/tmp/witness", stdin=guest.program("witness", host.machine.dir))
    busybox(host, number, "/tmp/witness >/dev/hvc0 2>&1 </dev/null &")
    host.wait_output(number, "looking")
    before = host.command("snapshot", "--no-quiesce", number).text.strip()
    time.sleep(4)
    forks, seen = host.command("fork", "-n", "5", before).text.split(), []
    for fork in forks:
        host.wait_output(fork, "partly another")
        seen.append(re.search(r"(\d+) looks, (\d+) of them partly another", host.command("logs", fork).text))
    looks = [int(s[1]) for s in seen]
    assert max(looks) - min(looks) <= 1 and all(int(s[2]) <= 1 for s in seen), [s[0] for s in seen]
    host.remove(number, *forks)
    host.command("rm", before)


@on(*ALL)
def clocks_are_stepped_after_a_pause_of_a_fork(host):
    number = ready(host)
    before = host.command("snapshot", number).text.strip()
    time.sleep(4)
    fork = host.command("fork", before).text.strip()
    early = host.json("info")["wall_ns"] // 10**9
    wall = int(busybox(host, fork, "date +%s").text)
    assert early - 1 <= wall <= host.json("info")["wall_ns"] // 10**9 + 1, (early, wall)
    host.remove(number, fork)
    host.command("rm", before)


PYTHON = "import json, os, hashlib, mmap; print(json.dumps([sum(range(1000)), os.uname().sysname]))"


@on("linux-python")
def python_of_the_documented_recipe_forks_warm(host):
    host.command("put", guest.python_bundle(), "python")
    number = host.command("run", "-d", "python").text.strip()
    r = host.command("exec", "--wait", WAIT, number, "python3", "-c", PYTHON)
    assert r.text == '[499500, "Linux"]\n', r
    # a generator of a program's own, seeded before the fork, that asks for the generation
    host.command("push", number, "/tmp/draw.py", stdin=DRAW)
    host.command("exec", number, "sh", "-c",
                 "python3 /tmp/draw.py </dev/null >/dev/null 2>&1 & while [ ! -e /tmp/up ]; do sleep 0.1; done")
    before = host.command("snapshot", "--quiesce", number).text.strip()
    seen = set()
    left = int(os.environ.get("CREEL_FORKS", "20"))
    while left:
        forks = host.command("fork", "-n", str(min(left, 50)), before).text.split()
        left -= len(forks)
        for fork in forks:
            r = host.command("exec", fork, "sh", "-c", "echo >/tmp/ask; cat /tmp/say")
            kernel, own = r.text.split()
            assert len(kernel) == len(own) == 64 and kernel not in seen and own not in seen, r
            seen |= {kernel, own}
        host.command("kill", *forks)
        host.command("rm", *forks)
    host.command("kill", number)
    host.command("rm", number)
    host.command("rm", before)


DRAW = b"""
import mmap, os, random
os.path.exists("/tmp/ask") or os.mkfifo("/tmp/ask")
os.path.exists("/tmp/say") or os.mkfifo("/tmp/say")
page = mmap.mmap(os.open("/run/creel/generation", os.O_RDONLY), 8, prot=mmap.PROT_READ)
seen, own = page[:8], random.Random(1)
open("/tmp/up", "w").close()
while True:
    open("/tmp/ask").read()
    if page[:8] != seen:
        seen = page[:8]
        own.seed(os.urandom(32))
    with open("/tmp/say", "w") as f:
        f.write(os.urandom(32).hex() + " " + own.randbytes(32).hex())
"""
