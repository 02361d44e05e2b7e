"""Debian's unmodified kernel as a guest: from power on to power off, snapshots, forks, rollback."""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for _folder in ("tests/e2e", "tests/linux"):
    sys.path.insert(0, os.path.join(ROOT, _folder))
import guest  # noqa: E402
from hosts import Attached, on, unchanged  # noqa: E402

ALL = ("linux-qemu",)
BOTH = ("linux-qemu", "linux-bochs")
IMAGE = "linux"
VIRTIO = "linux-virtio"  # its console is hvc0
BOOT = 150  # seconds


def put(host, image=IMAGE):
    """The image, once for each host."""
    if any(i["name"] == image for i in host.json("images")):
        return
    folder = host.machine.dir
    initrd, bundle = os.path.join(folder, "initrd"), os.path.join(folder, image + ".bundle")
    virtio = image == VIRTIO
    with open(initrd, "wb") as f:
        f.write(guest.initrd(files=guest.drivers() if virtio else ()))
    host.command("image", "build", "--kernel", guest.kernel(), "--initrd", initrd, "--cmdline",
                 f"console={'hvc0' if virtio else 'ttyS0'} panic=-1 quiet", "-m", "128M", bundle)
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
def virtio_console_carries_the_shell(host):
    client, number = booted(host, image=VIRTIO)
    assert client.ask("cat /sys/class/virtio-ports/vport0p1/name") == ["org.creel.agent"]
    assert client.ask("seq 20000 | tail -n 1; seq 20000")[0] == "20000"
    forks = host.command("fork", "-i", "-n", "3", number).text.split()
    for i, fork in enumerate(forks):
        shell = shell_of(host, fork)
        assert shell.ask(f"echo $((7 * {i}))") == [str(7 * i)]
        shell.drop()
    client.say("poweroff -f")
    assert client.process.wait(60) == 0
    host.remove(number, *forks)
