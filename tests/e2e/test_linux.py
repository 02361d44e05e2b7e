"""Debian's unmodified kernel as a guest: from power on to power off, snapshots, forks, rollback."""
import collections
import hashlib
import os
import re
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for _folder in ("tests/e2e", "tests/linux"):
    sys.path.insert(0, os.path.join(ROOT, _folder))
import guest  # noqa: E402
from hosts import COMMAND, Attached, on, unchanged  # noqa: E402

ALL = ("linux-qemu",)
BOTH = ("linux-qemu", "linux-bochs")
IMAGE = "linux"
VIRTIO = "linux-virtio"  # its console is hvc0
FULL = "linux-full"  # the kernel for all machines
BOOT = 150  # seconds
AVX512 = 0xe7  # XCR0, where the processor has it; QEMU's has not
FUZZ_SECONDS = int(os.environ.get("CREEL_FUZZ_SECONDS", "60"))  # on each emulator
IDLE_EXITS = 20  # a second
# What the kernel would wake up for: docs/linux.md.
QUIET = "sysctl.vm.compaction_proactiveness=0 sysctl.vm.stat_interval=10"
DISK = bytes(range(256)) * 2 * 4096  # sectors that are alike
SECTOR = hashlib.md5(DISK[:512]).hexdigest()


def put(host, image=IMAGE):
    """The image, once for each host."""
    if any(i["name"] == image for i in host.json("images")):
        return
    folder = host.machine.dir
    initrd, bundle = os.path.join(folder, "initrd"), os.path.join(folder, image + ".bundle")
    virtio = image == VIRTIO
    files = [("bin/" + name, guest.program(name, folder)) for name in ("frames", "vector")]
    with open(initrd, "wb") as f:
        f.write(guest.initrd(files=files + (guest.drivers() if virtio else [])))
    more = ()
    if virtio:
        more = ("--disk", os.path.join(folder, "disk"))
        with open(more[1], "wb") as f:
            f.write(DISK)
    kernel = guest.kernel("amd64" if image == FULL else "cloud-amd64")
    memory = "160M" if image == FULL else "128M"
    host.command("image", "build", "--kernel", kernel, "--initrd", initrd, "--cmdline",
                 f"console={'hvc0' if virtio else 'ttyS0'} panic=-1 quiet {QUIET}", "-m", memory, *more,
                 bundle)
    host.command("put", bundle, image)


def until(client, word, timeout=BOOT):
    """Lines up to the one that is `word`."""
    lines = []
    while (line := client.line(timeout)) != word:
        lines.append(line)
    return lines


def newest(host):
    return max(g["id"] for g in host.json("ps") if g["name"] != "canary")


def booted(host, *options, image=IMAGE, timeout=BOOT):
    """A guest at its shell, and its number."""
    put(host, image)
    client = Attached(host, "run", "-i", *options, image)
    until(client, "shell", timeout)
    return client, newest(host)


def ready(host, image=IMAGE):
    """The same, as a fork of the first one that was booted."""
    name = "ready-" + image
    if any(s["name"] == name for s in host.json("snapshots")):
        number = int(host.command("fork", "-i", name).text)
        return shell_of(host, number), number
    client, number = booted(host, image=image)
    host.command("snapshot", "--name", name, number)
    return client, number


def have_ready(host, image=IMAGE):
    """So that what follows forks only."""
    client, number = ready(host, image)
    client.drop()
    host.remove(number)


def shell_of(host, number):
    """A client of a guest that runs already."""
    return Attached(host, "attach", "-i", str(number))


@on(*BOTH)
def boots_answers_and_switches_itself_off(host):
    client, number = ready(host)
    assert client.ask("uname -s -m") == ["Linux x86_64"]
    memory = int(client.ask("grep MemTotal /proc/meminfo")[0].split()[1])
    assert 64 * 1024 < memory < 128 * 1024, memory
    clock = client.ask("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
    assert clock in (["tsc"], ["kvm-clock"]), clock
    wall = int(client.ask("date +%s")[0])
    assert abs(wall - host.json("info")["wall_ns"] // 10**9) < 30, wall
    began = float(client.ask("cat /proc/uptime")[0].split()[0])
    client.ask("sleep 2")
    assert 2 <= float(client.ask("cat /proc/uptime")[0].split()[0]) - began < 10
    client.say("poweroff -f")
    assert client.process.wait(60) == 0
    assert host.get(number)["stop"] == "power off", host.get(number)
    host.remove(number)


# What is said to the shell: status of the client, the guest's stop, and part of its reason.
ENDINGS = {
    "reboot -f": (141, "reboot", "restarted"),
    "echo c >/proc/sysrq-trigger": (134, "kernel panic", "sysrq triggered crash"),
    "devmem 0xfed40000": (139, "bad address", "touched address 0xfed40000, where it has no memory"),
    # as process 1, the kernel's last
    "exit 3": (134, "kernel panic", "Attempted to kill init! exitcode=0x00000300"),
}


@on(*BOTH)
def endings_are_told_as_what_they_are(host):
    have_ready(host)
    with unchanged(host):
        for line, (status, stop, reason) in ENDINGS.items():
            client, number = ready(host)
            client.say(line)
            assert client.process.wait(60) == status, (line, host.get(number))
            stopped = host.get(number)
            assert stopped["stop"] == stop and reason in stopped["reason"], (line, stopped)
            host.remove(number)


@on(*BOTH)
def forks_each_answer_another_question(host):
    have_ready(host)
    with unchanged(host):
        client, number = ready(host)
        client.ask("mkdir /tmp/here; secret=12345")
        count = 3 if host.name == "linux-bochs" else 10
        forks = host.command("fork", "-i", "-n", count, number).text.split()
        assert len(forks) == count
        for i, fork in enumerate(forks):
            shell = shell_of(host, fork)
            assert shell.ask(f"touch /tmp/here/{i}; echo $((secret * {i}))") == [str(12345 * i)]
            shell.drop()
        for i, fork in enumerate(forks):
            shell = shell_of(host, fork)
            assert shell.ask("ls /tmp/here") == [str(i)]
            shell.drop()
        assert client.ask("ls /tmp/here; echo $secret") == ["12345"]
        client.drop()
        host.command("kill", number, *forks)
        host.command("rm", number, *forks)


@on(*BOTH)
def rollback_after_all_was_removed(host):
    client, number = ready(host)
    before = host.command("snapshot", number).text.strip()
    assert client.ask("echo mine >/tmp/file; rm -r /bin/* /init; echo /bin/* /init* /tmp/*") == [
        "/bin/* /init* /tmp/file"]
    host.command("rollback", number, before)
    assert client.ask("echo /bin/busy* /init* /tmp/*") == ["/bin/busybox /init /tmp/*"]
    began = float(client.ask("cat /proc/uptime")[0].split()[0])
    client.ask("sleep 1")
    assert float(client.ask("cat /proc/uptime")[0].split()[0]) >= began + 1
    client.drop()
    host.remove(number)
    host.command("rm", before)


@on("linux-qemu")
def memory_as_the_client_wants_it(host):
    client, number = booted(host, "-m", "200M")
    memory = int(client.ask("grep MemTotal /proc/meminfo")[0].split()[1])
    assert 128 * 1024 < memory < 200 * 1024, memory
    client.drop()
    host.remove(number)
    assert "takes" in host.command("run", "-d", "-m", "16M", IMAGE, status=125).err.decode()
    assert "at most" in host.command("run", "-d", "-m", "4G", IMAGE, status=125).err.decode()


@on(*ALL)
def run_takes_a_kernel_as_it_comes(host):
    number = host.command("run", "-d", "--kernel", guest.kernel(), "-m", "96M").text.strip()
    assert host.wait_state(number, "stopped", timeout=BOOT)["stop"] == "kernel panic"
    assert "Unable to mount root fs" in host.get(number)["reason"]
    host.remove(number)


# Kernels (their set-up, and the size of what follows), more options, and what the host says.
MIB = 1 << 20
BAD_KERNELS = [
    (b"", 0, (), "kernel"),
    (b"\x7fELF" + bytes(4000), 4096, (), "bzImage"),
    (guest.setup(magic=b"hDrS"), 4096, (), "bzImage"),
    (guest.setup(version=0x20b), 4096, (), "boot protocol is 2.11"),
    (guest.setup(flags=0), 4096, (), "without a 64-bit entry"),
    (guest.setup(), 0, (), "truncated?"),
    (guest.setup(), 2 * MIB, (), "says it needs 1048576"),
    (guest.setup(preferred=0), 4096, (), "wants to be at"),
    (guest.setup(preferred=2 << 30), 4096, (), "wants to be at"),
    (guest.setup(preferred=(16 << 20) + 4096), 4096, (), "wants to be at"),
    (guest.setup(size=64 * MIB), 4096, (), "kernel and initrd need"),
    (guest.setup(size=(1 << 32) - 1), 4096, (), "kernel and initrd need"),
    (guest.setup(), 4096, ("--initrd", 20 * MIB), "kernel and initrd need"),
    (guest.setup(), 4096, ("--cmdline", "x" * 3000), "a command line of 3000 bytes"),
]


@on(*ALL)
def bad_kernels_are_refused(host):
    kernel, initrd = (os.path.join(host.machine.dir, name) for name in ("bad-kernel", "bad-initrd"))
    with unchanged(host):
        images = host.json("images")
        for setup, size, more, why in BAD_KERNELS:
            with open(kernel, "wb") as f:
                f.write(setup + bytes(size))
            if "--initrd" in more:
                with open(initrd, "wb") as f:
                    f.truncate(more[1])
                more = ("--initrd", initrd)
            refused = host.command("run", "-d", "--kernel", kernel, "-m", "34M", *more, status=125)
            assert why in refused.err.decode(), (why, refused)
        assert host.json("images") == images


@on(*BOTH)
def virtio_console_carries_the_shell_and_idles(host):
    client, number = ready(host, VIRTIO)
    assert client.ask("cat /sys/class/virtio-ports/vport0p1/name") == ["org.creel.agent"]
    lines = client.ask("seq 5000")
    assert lines == [str(i) for i in range(1, 5001)], lines[:10]
    time.sleep(3)
    before = host.get(number)["exits"]
    time.sleep(5)
    exits = host.get(number)["exits"] - before
    assert exits <= 5 * IDLE_EXITS, exits
    client.say("poweroff -f")
    assert client.process.wait(60) == 0
    host.remove(number)


def sector(client, n):
    """What a sector of the disk sums up to, read from the device."""
    return client.ask(f"echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=512 skip={n} count=1 "
                      "2>/dev/null | md5sum")[0].split()[0]


def write(client, n, text):
    client.ask(f"echo {text} | dd of=/dev/vda bs=512 seek={n} conv=notrunc,sync,fsync 2>/dev/null")
    return hashlib.md5((text + "\n").encode().ljust(512, b"\0")).hexdigest()


@on(*BOTH)
def disk_is_each_guests_own_and_goes_back_with_it(host):
    client, number = ready(host, VIRTIO)
    assert sector(client, 4000) == SECTOR
    ours = write(client, 17, "parent")
    before = host.command("snapshot", number).text.strip()
    fork = host.command("fork", "-i", number).text.strip()
    child = shell_of(host, fork)
    assert sector(child, 17) == ours
    theirs = write(child, 17, "child")
    assert sector(child, 17) == theirs and sector(client, 17) == ours
    write(client, 18, "later")
    host.command("rollback", number, before)
    assert sector(client, 18) == SECTOR and sector(client, 17) == ours
    child.drop()
    client.drop()
    host.remove(number, fork)
    host.command("rm", before)


def started(host, image, named):
    """A guest at its shell, of an image with a name or of the files as they come."""
    if named:
        return booted(host, image=image, timeout=3 * BOOT)
    initrd = os.path.join(host.machine.dir, "initrd")
    with open(initrd, "wb") as f:
        f.write(guest.initrd())
    kernel = guest.kernel("amd64" if image == FULL else "cloud-amd64")
    client = Attached(host, "run", "-i", "--kernel", kernel, "--initrd", initrd, "--cmdline",
                      "console=ttyS0 panic=-1 quiet", "-m", "160M")
    until(client, "shell", 3 * BOOT)
    return client, newest(host)


# By kernel, and whether the image has a name. (All other scenarios have the cloud kernel by its name.)
STARTS = {
    "linux-qemu": [(FULL, True), (IMAGE, False)],
    "linux-bochs": [(FULL, False)],
}


@on(*BOTH)
def both_kernels_boot_by_name_and_as_they_come(host):
    every = [(image, named) for image in (IMAGE, FULL) for named in (True, False)]
    for image, named in every if os.environ.get("CREEL_ALL_KERNELS") else STARTS[host.name]:
        client, number = started(host, image, named)
        assert client.ask("uname -r")[0].endswith("-cloud-amd64") == (image == IMAGE)
        assert client.ask("echo $((6 * 7))") == ["42"]
        client.drop()
        host.remove(number)


@on(*BOTH)
def vector_state_is_nobody_elses(host):
    """Programs in Linux guests and an SDK guest have secrets in their registers while others look at
    theirs."""
    put_board(host, "clean")
    have_ready(host)
    with unchanged(host):
        client, number = ready(host)
        client.ask("vector 165 1000000 >/tmp/a & vector 90 1000000 >/tmp/b &")
        fork = host.command("fork", "-i", number).text.strip()
        child = shell_of(host, fork)
        sdk = host.start("vector", 60, 50, "on")
        for _ in range(2):
            host.run("vector_clean")
            clean = host.run("clean").text
            assert re.match(r"clean \d+\n", clean), clean
            if host.name == "linux-bochs":
                assert int(clean[6:]) == AVX512, clean
        for shell, secret in ((client, 33), (child, 7)):
            kept = shell.ask(f"vector {secret} 2")
            assert re.match(r"kept \d+$", kept[0]) and int(kept[0][5:]) == int(clean[6:]), (kept, clean)
            assert len(shell.ask("pidof vector")[0].split()) == 2, shell.ask("cat /tmp/a /tmp/b")
            shell.drop()
        assert host.run("vector", 77, 100).text == "PASS\n"
        assert host.get(sdk)["state"] == "running"
        host.remove(number, fork, sdk)


@on("linux-qemu")
def an_interrupt_comes_once_whatever_goes_on(host):
    """QEMU delivers a vector that came by EVENTINJ again, if anything else wants its processor before the
    next exit: here the monitor does."""
    rounds = 10000
    put_board(host, "interrupts", f"rounds={rounds}")
    with unchanged(host):
        number = host.command("run", "-d", "interrupts").text.strip()
        while host.get(number)["state"] == "running":
            for _ in range(50):
                host.machine.monitor("stop")
                host.machine.monitor("cont")
        assert host.command("logs", number).text == f"sent {rounds} received {rounds}\n"
        host.remove(number)


# How a guest of tests/linux/fuzz.c means to end, by its `end`.
ENDS = ("power off", "reboot", "triple fault", "bad address", "halted", "kernel panic", "forbidden")
DONE = re.compile(r"done faults (\d+) interrupts (\d+) console (\d+) random (\d+) net (\d+) disk (\d+)")


def put_board(host, name, cmdline="none"):
    """A kernel of the tests' own as an image of its name."""
    if any(i["name"] == name for i in host.json("images")):
        return
    folder = host.machine.dir
    bundle, disk = os.path.join(folder, name + ".bundle"), os.path.join(folder, name + ".disk")
    with open(disk, "wb") as f:
        f.write(DISK[:64 * 512])
    host.command("image", "build", "--kernel", guest.board_kernel(name, folder), "--cmdline",
                 cmdline, "-m", "34M", "--disk", disk, bundle)
    host.command("put", bundle, name)


def fuzz(host, n):
    """A guest, and a fork of it or its rollback to a moment before, to their ends; what these were."""
    number = host.command("run", "-d", "fuzz").text.strip()
    guests, snapshot = [number], None
    if n % 3 == 1:
        guests += host.command("fork", number, status=None).text.split()
    if n % 3 == 2:
        snapshot = host.command("snapshot", number, status=None).text.strip()
    ends = []
    for one in guests:
        info = host.wait_state(one, "stopped")
        if snapshot and host.command("rollback", one, snapshot, status=None).status == 0:
            info = host.wait_state(one, "stopped")
        assert info["stop"] in ENDS and info["reason"] and info["reason"].isprintable(), info
        ends.append((info["stop"], DONE.search(host.command("logs", one).text)))
        host.remove(one)
    if snapshot:
        host.command("rm", snapshot)
    return ends


@on(*BOTH)
def a_guest_that_tries_everything_harms_nobody_else(host):
    put_board(host, "fuzz")
    with unchanged(host):
        end = time.monotonic() + FUZZ_SECONDS
        stopped, deep, n = collections.Counter(), [0] * 6, 0
        while time.monotonic() < end:
            for stop, done in fuzz(host, n):
                stopped[stop] += 1
                deep = [d + int(done[i + 1]) if done else d for i, d in enumerate(deep)]
            host.canary()
            n += 1
    print(f"   {dict(stopped)}, faults, interrupts, chains of each device: {deep}")
    assert all(deep), deep


def guest_of(gateway):
    network, last = gateway.rsplit(".", 1)
    return f"{network}.{int(last) + 1}"


def join(shell, number):
    """Has the driver of the network card bound anew, so that a fork is itself."""
    driver = "/sys/bus/virtio/drivers/virtio_net"
    shell.ask(f"d=$(basename $(readlink /sys/class/net/eth0/device)); echo $d >{driver}/unbind; "
              f"echo $d >{driver}/bind; sleep 1")
    mac = shell.ask("cat /sys/class/net/eth0/address")
    assert mac == [f"06:c7:ee:00:{number >> 8:02x}:{number & 255:02x}"], mac
    shell.ask(f"ip addr add {guest_of(guest.gateway_of(number))}/30 dev eth0; ip link set eth0 up")


@on(*BOTH)
def network_has_a_gateway_that_answers_pings(host):
    client, number = ready(host, VIRTIO)
    here = guest.gateway_of(number)
    join(client, number)
    assert client.ask(f"ping -c 1 -W 5 {here} >/dev/null && echo answered") == ["answered"]
    # A fork says nothing as its parent.
    fork = int(host.command("fork", "-i", number).text)
    there = guest.gateway_of(fork)
    child = shell_of(host, fork)
    assert child.ask(f"ping -c 1 -W 1 {here} >/dev/null || echo silence") == ["silence"]
    join(child, fork)
    assert child.ask(f"ping -c 1 -W 5 {there} >/dev/null && echo answered") == ["answered"]
    for other in (here, guest_of(here)):
        assert child.ask(f"ping -c 1 -W 1 {other} >/dev/null 2>&1 || echo silence") == ["silence"]
    assert client.ask(f"ping -c 1 -W 5 {here} >/dev/null && echo answered") == ["answered"]
    child.drop()
    client.drop()
    host.remove(number, fork)


# Of all frames that tests/linux/frames.c sends.
ANSWERED = {"arp", "arp probe", "ping", "ping as long as may be"}


@on(*BOTH)
def only_the_gateway_answers_and_only_who_asks_as_itself(host):
    client, number = ready(host, VIRTIO)
    join(client, number)
    frames = dict(line.split(": ") for line in client.ask(f"frames {number}"))
    assert len(frames) > 30, frames
    wrong = {k: v for k, v in frames.items() if v != ("answered" if k in ANSWERED else "silence")}
    assert not wrong and ANSWERED <= set(frames), wrong or frames
    assert client.ask(f"ping -c 1 -W 5 {guest.gateway_of(number)} >/dev/null && echo answered") == ["answered"]
    client.drop()
    host.remove(number)
