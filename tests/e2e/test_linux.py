"""Debian's unmodified kernel as a guest: from power on to power off, snapshots, forks, rollback."""
import collections
import hashlib
import os
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
BOOT = 150  # seconds
FUZZ_SECONDS = 60  # on each emulator
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
    with open(initrd, "wb") as f:
        f.write(guest.initrd(files=guest.drivers() if virtio else ()))
    more = ()
    if virtio:
        more = ("--disk", os.path.join(folder, "disk"))
        with open(more[1], "wb") as f:
            f.write(DISK)
    host.command("image", "build", "--kernel", guest.kernel(), "--initrd", initrd, "--cmdline",
                 f"console={'hvc0' if virtio else 'ttyS0'} panic=-1 quiet {QUIET}", "-m", "128M", *more,
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


def booted(host, *options, image=IMAGE):
    """A guest at its shell, and its number."""
    put(host, image)
    client = Attached(host, "run", "-i", *options, image)
    until(client, "shell")
    return client, newest(host)


def shell_of(host, number):
    """A client of a guest that runs already."""
    return Attached(host, "attach", "-i", str(number))


@on(*BOTH)
def boots_answers_and_switches_itself_off(host):
    client, number = booted(host)
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


@on(*ALL)
def restarts_and_panics_are_told(host):
    client, number = booted(host)
    began = host.command("snapshot", number).text.strip()
    client.say("reboot -f")
    status = client.process.wait(60)
    assert status == 141, (status, host.get(number))
    assert host.get(number)["stop"] == "reboot", host.get(number)
    again = host.command("fork", "-i", began).text.strip()
    client = shell_of(host, again)
    assert client.ask("echo alive") == ["alive"]
    client.say("echo c >/proc/sysrq-trigger")
    assert client.process.wait(60) == 134
    stopped = host.get(again)
    assert stopped["stop"] == "kernel panic", stopped
    assert "sysrq triggered crash" in stopped["reason"], stopped
    host.remove(number, again)
    host.command("rm", began)


@on(*ALL)
def ten_forks_each_answer_another_question(host):
    with unchanged(host):
        client, number = booted(host)
        client.ask("mkdir /tmp/here; secret=12345")
        forks = host.command("fork", "-i", "-n", "10", number).text.split()
        assert len(forks) == 10
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


@on(*ALL)
def rollback_after_all_was_removed(host):
    client, number = booted(host)
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


@on("linux-qemu")
def run_takes_a_kernel_as_it_comes(host):
    refused = host.command("run", "--kernel", "/bin/sh", "-d", status=125)
    assert b"no bzImage" in refused.err, refused
    number = host.command("run", "-d", "--kernel", guest.kernel(), "-m", "96M").text.strip()
    assert host.wait_state(number, "stopped", timeout=BOOT)["stop"] == "kernel panic"
    assert "Unable to mount root fs" in host.get(number)["reason"]
    host.remove(number)


@on(*BOTH)
def virtio_console_carries_the_shell_and_idles(host):
    client, number = booted(host, image=VIRTIO)
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
    client, number = booted(host, image=VIRTIO)
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


def gateway_of(number):
    return f"100.64.{number >> 6 & 255}.{(number << 2 & 255) + 1}"


@on(*BOTH)
def the_kernel_for_all_machines_boots_too(host):
    initrd = os.path.join(host.machine.dir, "initrd")
    with open(initrd, "wb") as f:
        f.write(guest.initrd())
    client = Attached(host, "run", "-i", "--kernel", guest.kernel("amd64"), "--initrd", initrd,
                      "--cmdline", "console=ttyS0 panic=-1 quiet", "-m", "160M")
    until(client, "shell", 3 * BOOT)
    number = newest(host)
    assert not client.ask("uname -r")[0].endswith("-cloud-amd64")
    assert client.ask("echo $((6 * 7))") == ["42"]
    client.drop()
    host.remove(number)


@on(*BOTH)
def any_port_and_msr_harms_nobody_else(host):
    kernel = guest.fuzzer(host.machine.dir)
    end = time.monotonic() + FUZZ_SECONDS
    stopped = collections.Counter()
    seed = 0
    while time.monotonic() < end:
        seed += 1
        number = host.command("run", "-d", "--kernel", kernel, "--cmdline", f"seed{seed:04}", "-m", "34M"
                              ).text.strip()
        info = host.wait_state(number, "stopped", timeout=COMMAND)
        assert info["exits"] > 1000, info
        stopped[info["stop"]] += 1
        host.remove(number)
    print(f"   {seed} guests: {dict(stopped)}")
    assert stopped["power off"], stopped


def guest_of(gateway):
    network, last = gateway.rsplit(".", 1)
    return f"{network}.{int(last) + 1}"


@on(*BOTH)
def network_has_a_gateway_that_answers_pings(host):
    client, number = booted(host, image=VIRTIO)
    here = gateway_of(number)
    mac = client.ask("cat /sys/class/net/eth0/address")
    assert mac == [f"06:c7:ee:00:00:{number:02x}"], mac
    assert client.ask(f"ip addr add {guest_of(here)}/30 dev eth0; ip link set eth0 up; "
                      f"ping -c 1 -W 5 {here} >/dev/null && echo answered") == ["answered"]
    # A fork says nothing as its parent; with the driver bound anew it is itself.
    fork = int(host.command("fork", "-i", number).text)
    there = gateway_of(fork)
    child = shell_of(host, fork)
    assert child.ask(f"ping -c 1 -W 1 {here} >/dev/null || echo silence") == ["silence"]
    driver = "/sys/bus/virtio/drivers/virtio_net"
    child.ask(f"d=$(basename $(readlink /sys/class/net/eth0/device)); echo $d >{driver}/unbind; "
              f"echo $d >{driver}/bind; sleep 1")
    assert child.ask("cat /sys/class/net/eth0/address") == [f"06:c7:ee:00:00:{fork:02x}"]
    assert child.ask(f"ip addr add {guest_of(there)}/30 dev eth0; ip link set eth0 up; "
                     f"ping -c 1 -W 5 {there} >/dev/null && echo answered") == ["answered"]
    assert client.ask(f"ping -c 1 -W 5 {here} >/dev/null && echo answered") == ["answered"]
    child.drop()
    client.drop()
    host.remove(number, fork)
