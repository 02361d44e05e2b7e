"""Debian's kernel and a small user space, as a Linux guest for tests. Fetched only when asked for.

    kernel()      path of the kernel that linux-image-cloud-amd64 has now
    initrd(init)  an initramfs with busybox and `init` as /init
    board_kernel(name, folder)  a kernel of the tests' own, tests/linux/NAME.c
    program(name, folder)  a program for Linux, tests/linux/NAME.c
    drivers()     the kernel's modules for virtio devices, as files for initrd()
"""
import glob
import gzip
import os
import shutil
import struct
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BOARD_ADDRESS = 16 << 20
CACHE = os.path.join(ROOT, "build", "debian")

# In the order in which they have to be loaded.
DRIVERS = ("drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_legacy_dev",
           "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci",
           "drivers/char/virtio_console", "drivers/block/virtio_blk",
           "drivers/char/hw_random/virtio-rng",
           "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net")

SHELL = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin
for driver in /drivers/*; do
	[ -f $driver ] && insmod $driver
done
for option in $(cat /proc/cmdline); do
	case $option in console=*) tty=${option#console=};; esac
done
while [ ! -c /dev/$tty ]; do sleep 0.1; done
exec </dev/$tty >/dev/$tty 2>&1
stty raw -echo
echo shell
while read -r line; do
	eval "$line"
	echo ok
done
"""


def _depends(package):
    out = subprocess.run(["apt-cache", "depends", package], check=True, capture_output=True, text=True)
    for line in out.stdout.splitlines():
        if "Depends: linux-image-" in line:
            return line.split()[-1]
    raise AssertionError(f"{package} depends on no kernel")


def _unpack(package):
    """The folder that a Debian package unpacks to."""
    folder = os.path.join(CACHE, package)
    if os.path.isdir(folder):
        return folder
    os.makedirs(CACHE, exist_ok=True)
    for old in glob.glob(os.path.join(CACHE, f"{package}_*.deb")):
        os.remove(old)
    subprocess.run(["apt-get", "-qq", "download", package], check=True, cwd=CACHE,
                   stderr=subprocess.DEVNULL)
    deb, = glob.glob(os.path.join(CACHE, f"{package}_*.deb"))
    subprocess.run(["dpkg", "-x", deb, folder + ".part"], check=True)
    os.remove(deb)
    os.rename(folder + ".part", folder)
    return folder


def kernel(flavour="cloud-amd64"):
    found = glob.glob(os.path.join(CACHE, "linux-image-*", "boot", f"vmlinuz-*[0-9]-{flavour}"))
    if not found:
        found = glob.glob(os.path.join(_unpack(_depends("linux-image-" + flavour)), "boot", "vmlinuz-*"))
    return found[0]


CFLAGS = ("-std=gnu11 -O2 -I. -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-pie -mno-red-zone "
          "-mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables "
          "-fno-tree-loop-distribute-patterns -fcf-protection=none").split()


def board_kernel(name, folder):
    """tests/linux/NAME.c as a bzImage in `folder`: "The Linux/x86 Boot Protocol"."""
    sources = [os.path.join("tests", "linux", f) for f in ("board_entry.S", "board.c", name + ".c")]
    elf, flat, image = (os.path.join(folder, f"{name}.{kind}") for kind in ("elf", "bin", "bzImage"))
    subprocess.run(["gcc", *CFLAGS, "-nostdlib", "-static", "-Wl,--build-id=none",
                    "-Wl,-T,tests/linux/board.lds", *sources, "-o", elf], check=True, cwd=ROOT)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", elf, flat], check=True)
    with open(flat, "rb") as f:
        payload = bytes(0x200) + f.read()
    with open(image, "wb") as f:
        f.write(setup() + payload)
    return image


def program(name, folder):
    """tests/linux/NAME.c as a program for Linux: its bytes."""
    path = os.path.join(folder, name)
    subprocess.run(["musl-gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror",
                    "-static", "-s", os.path.join(ROOT, "tests", "linux", name + ".c"), "-o", path], check=True)
    with open(path, "rb") as f:
        return f.read()


def setup(version=0x20f, flags=1, preferred=BOARD_ADDRESS, size=1 << 20, magic=b"HdrS"):
    """The first sectors of a bzImage that says no more than it must."""
    head = bytearray(1024)
    head[0x1f1] = 1  # sectors of set-up behind the first
    head[0x1fe:0x206] = b"\x55\xaa\xeb\x62" + magic
    head[0x211] = 1
    for offset, form, value in ((0x206, "<H", version), (0x22c, "<I", 0x7fffffff),
                                (0x230, "<I", 1 << 21), (0x236, "<H", flags), (0x238, "<I", 2047),
                                (0x258, "<Q", preferred), (0x260, "<I", size)):
        struct.pack_into(form, head, offset, value)
    return bytes(head)


def gateway_of(number):
    """The address that answers a guest."""
    return f"100.64.{number >> 6 & 255}.{(number << 2 & 255) + 1}"


def drawer():
    """tests/linux/draw.c as a program for guests: its bytes."""
    path = os.path.join(ROOT, "build", "draw")
    subprocess.run(["musl-gcc", "-static", "-Os", "-s", os.path.join(ROOT, "tests", "linux", "draw.c"), "-o", path],
                   check=True)
    with open(path, "rb") as f:
        return f.read()


def drivers(names=DRIVERS):
    folder, = glob.glob(os.path.join(os.path.dirname(kernel()), "..", "lib", "modules", "*", "kernel"))
    files = []
    for i, name in enumerate(names):
        with open(os.path.join(folder, name + ".ko"), "rb") as f:
            files.append((f"drivers/{i:02}-{os.path.basename(name)}.ko", f.read()))
    return files


def python_bundle():
    """The image that docs/linux.md has the recipe of, made as it is written there; its path."""
    folder = os.path.join(CACHE, "python")
    bundle = os.path.join(folder, "python.bundle")
    with open(os.path.join(ROOT, "docs", "linux.md")) as f:
        text = f.read().split("### Python, of Debian's packages", 1)[1].split("\n## ", 1)[0]
    recipe = "".join(line[4:] for line in text.splitlines(True) if line.startswith("    "))
    mark = os.path.join(folder, "recipe")
    agent = os.path.join(ROOT, "build", "creel-agent")
    if os.path.exists(mark) and os.path.getmtime(bundle) > os.path.getmtime(agent):
        with open(mark) as f:
            if f.read() == recipe:
                return bundle
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    path = os.path.join(ROOT, "build") + ":" + os.environ["PATH"]
    subprocess.run(["sh", "-euc", recipe], check=True, cwd=folder, env=dict(os.environ, PATH=path),
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(mark, "w") as f:
        f.write(recipe)
    return bundle


def _entry(name, mode, data=b""):
    """Linux kernel documentation, "initramfs buffer format": newc."""
    _entry.inode += 1
    numbers = (_entry.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % n for n in numbers) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


_entry.inode = 0


def agent_initrd(files=()):
    """An archive whose /init is the agent, with busybox's commands and the drivers that it loads."""
    with open(os.path.join(ROOT, "build", "creel-agent"), "rb") as f:
        agent = f.read()
    modules = [("usr/lib/creel/modules/" + os.path.basename(n), d) for n, d in drivers()]
    folders = [(n, None) for n in ("usr", "usr/lib", "usr/lib/creel", "usr/lib/creel/modules", "etc")]
    return initrd(agent, [*folders, *modules, *files])


def initrd(init=SHELL, files=()):
    """The archive's bytes. `files`: more of them, as (name, bytes); None instead of bytes: a folder."""
    with open(os.path.join(_unpack("busybox-static"), "bin", "busybox"), "rb") as f:
        busybox = f.read()
    parts = [_entry(name, 0o40755) for name in ("bin", "dev", "drivers", "proc", "sys", "tmp")]
    parts += [_entry("bin/busybox", 0o100755, busybox), _entry("init", 0o100755, init.encode() if isinstance(init, str) else init)]
    parts += [_entry(name, 0o40755) if data is None else
              _entry(name, 0o100755 if name.startswith("bin/") else 0o100644, data)
              for name, data in files]
    return gzip.compress(b"".join(parts) + _entry("TRAILER!!!", 0), 1, mtime=0)
