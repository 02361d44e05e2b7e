"""From power on to hv_main(), and every way in which the loader refuses."""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "emu"))
import bootdisk  # noqa: E402
from keys import KEYS  # noqa: E402
from run import CONF, EFI, ROOT, Machine  # noqa: E402

ISO = os.path.join(ROOT, "build", "creel.iso")
CREELCTL = os.path.join(ROOT, "build", "creelctl")
EDIT_CONF = os.path.join(ROOT, "iso", "edit-conf")
STARTED = r"creel: handing over .*"
REFUSED = r"creel: cannot start: (.*)"
# Generous: a busy machine runs Bochs at a fifth of its speed.
BOOT = 200


def starts(kind="qemu", **machine):
    with Machine(kind, **machine) as m:
        m.wait_for(r"creel: image at 0x", BOOT)
        return m.wait_for(STARTED, BOOT, fail=REFUSED).group(0)


def refusal(kind="qemu", **machine):
    """The sentence that the loader gives, which must be on both of its consoles."""
    with Machine(kind, nic="none", **machine) as m:
        said = m.wait_for(REFUSED, BOOT, fail=STARTED).group(1)
        # OVMF's console goes to the serial port too
        again = m.wait_for(REFUSED, 5).group(1)
        assert said == again, (said, again)
        return said


def test_qemu():
    starts(cpus=1)


def test_qemu_two_processors():
    assert "2 processors" in starts(cpus=2)


def test_qemu_icount_is_repeatable():
    def log():
        with Machine(cpus=1, icount=7) as m:
            m.wait_for(STARTED, BOOT)
            return [text for _, text in m.lines if text.startswith("creel:")][:2]
    assert log() == log()


def test_bochs():
    starts("bochs", cpus=1, mem=256)


def test_bochs_two_processors():
    assert "2 processors" in starts("bochs", cpus=2, mem=256)


def test_no_conf_means_defaults():
    with Machine(conf=None, nic="none") as m:
        m.wait_for(r"no \\creel\\creel\.conf, the defaults hold", BOOT)
        m.wait_for(STARTED, BOOT)


def test_guest_images_are_read():
    with Machine(images={"hello": b"x" * 5, "Big-1.2_x": bytes(9 << 20)}) as m:
        assert "2 images" in m.wait_for(STARTED, BOOT, fail=REFUSED).group(0)


def test_small_memory_is_refused():
    said = refusal(mem=64)
    assert "MiB of usable memory, Creel needs at least 96 MiB" in said


def test_corrupt_conf_is_refused():
    assert refusal(conf=CONF + "prot = 7117\n").startswith(
        '\\creel\\creel.conf, line 4: no key "prot"; there are console log')
    assert refusal(conf=bytes(range(256))).startswith("\\creel\\creel.conf, line 1: ")


def test_oversized_conf_is_refused():
    assert refusal(conf="#" * 65537) == "\\creel\\creel.conf has 65537 bytes, the most is 65536"


def test_unreadable_conf_is_refused():
    """A directory entry that claims more bytes than the file system holds for the file."""
    with tempfile.TemporaryDirectory() as d:
        disk = os.path.join(d, "disk.img")
        bootdisk.make(disk, EFI, "smt = on\n", {})
        with open(disk, "r+b") as f:
            data = f.read()
            entry = data.index(b"CREEL~1 CON")
            assert struct.unpack_from("<I", data, entry + 28) == (9,)
            f.seek(entry + 28)
            f.write(struct.pack("<I", 50000))
        said = refusal(disk=disk)
    assert re.fullmatch(r"\\creel\\creel\.conf cannot be .*: (file system is corrupt|device error|"
                        r"file ends early)", said), said


def test_images_that_do_not_fit_are_refused():
    assert "too big for this machine's memory" in refusal(mem=128, images={"big": bytes(140 << 20)})
    assert "beside the guest images" in refusal(mem=128, images={"big": bytes(40 << 20)})


def test_bad_images_are_refused():
    assert refusal(images={"void": b""}) == "image void is empty"
    assert refusal(images={"a name": b"x"}).startswith('image name "a?name": use at most 63')
    assert refusal(images={"n" * 64: b"x"}).startswith('image name "' + "n" * 63 + '": use at most')


def test_too_many_images_are_refused():
    assert refusal(images={f"i{n}": b"x" for n in range(65)}) == \
        "\\creel\\images has more than 64 files"


def machine_refusal(kind="qemu", **machine):
    """What hv/ says about a machine that lacks something."""
    with Machine(kind, nic="none", **machine) as m:
        m.wait_for(STARTED, BOOT, fail=REFUSED)
        return m.wait_for(REFUSED, BOOT).group(1)


def test_processor_without_amd_v_is_refused():
    assert "neither VT-x nor AMD-V" in machine_refusal(cpu="qemu64,-svm")


def test_amd_v_without_nested_paging_is_refused():
    assert "lacks nested paging" in machine_refusal(cpu="EPYC,+svm,-npt")


def test_entropy_of_the_firmware_is_handed_over():
    with Machine(nic="none", extra=["-device", "virtio-rng-pci"]) as m:
        m.wait_for(r"random: firmware 64 bytes", BOOT)


def test_iso_as_cd_on_qemu():
    starts(iso=ISO)


def test_iso_as_stick_on_qemu():
    starts(disk=ISO)


def test_iso_as_cd_on_bochs():
    starts("bochs", mem=256, iso=ISO)


def test_iso_lets_nobody_in_by_itself():
    conf = subprocess.run([EDIT_CONF, "--show", ISO], check=True, capture_output=True, text=True)
    assert "authorized = KEY ROLE NAME" in conf.stdout
    for line in conf.stdout.splitlines():
        assert line == "" or line.startswith("#"), line


def test_iso_as_it_is_answers_nobody():
    with Machine(iso=ISO) as m:
        m.wait_for(r"the management port stays closed", BOOT)
        m.wait_for(r"\] address: \d", BOOT)
        done = subprocess.run([CREELCTL, "info"], env=KEYS.environment(m.port),
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 126, (done.returncode, done.stdout, done.stderr)


def test_edited_iso():
    """edit-conf changes what the ISO boots with; the ISO stays bootable both ways."""
    with tempfile.TemporaryDirectory() as d:
        iso = os.path.join(d, "own.iso")
        subprocess.run(["cp", ISO, iso], check=True)
        subprocess.run([EDIT_CONF, iso, "-"], check=True, text=True, input="port = 70000\n")
        said = '\\creel\\creel.conf, line 1: port = "70000": write 1 to 65535'
        assert refusal(iso=iso) == said
        assert refusal(disk=iso) == said
        subprocess.run([EDIT_CONF, iso], check=True,
                       env=dict(os.environ, EDITOR="sed -i s/70000/7000/"))
        starts(iso=iso)


def test_opened_iso():
    """Keys in creel.conf, and an agent put beside the loader, on the stick: it runs."""
    with tempfile.TemporaryDirectory() as d:
        iso = os.path.join(d, "own.iso")
        subprocess.run(["cp", ISO, iso], check=True)
        subprocess.run([EDIT_CONF, iso, "-"], check=True, text=True, input=KEYS.conf)
        offset = subprocess.run([EDIT_CONF, "--offset", iso], check=True, capture_output=True,
                                text=True).stdout.strip()
        subprocess.run(["mcopy", "-i", f"{iso}@@{offset}",
                        os.path.join(ROOT, "build", "guests", "hello"), "::/creel/images/"],
                       check=True)
        with Machine(disk=iso) as m:
            m.wait_for(r"\] address: \d", BOOT)
            said = subprocess.run([CREELCTL, "run", "hello", "there"], timeout=60, text=True,
                                  env=KEYS.environment(m.port), capture_output=True)
            assert said.returncode == 0 and "argument 1: there" in said.stdout, said


def test_iso_for_one_host():
    """creelctl iso: a host that is reached with the key that was printed, and nobody had to ask it."""
    with tempfile.TemporaryDirectory() as d:
        own = os.path.join(d, "own.iso")
        environment = dict(os.environ, XDG_CONFIG_HOME=KEYS.folder)
        made = subprocess.run([CREELCTL, "--json", "iso", ISO, own], env=environment, check=True,
                              capture_output=True, text=True, timeout=60)
        assert "can pretend to be the host" in made.stderr
        assert os.stat(own).st_mode & 0o777 == 0o600
        again = subprocess.run([CREELCTL, "iso", own, os.path.join(d, "twice.iso")], env=environment,
                               capture_output=True, text=True, timeout=60)
        assert again.returncode == 125 and "has a host-key already" in again.stderr
        key = json.loads(made.stdout)["key"]
        with Machine(iso=own) as m:
            m.wait_for(rf"host key: {key}, of creel.conf", BOOT)
            m.wait_for(r"\] address: \d", BOOT)
            said = subprocess.run([CREELCTL, "info"], env=KEYS.environment(m.port, CREEL_HOST_KEY=key),
                                  capture_output=True, text=True, timeout=60)
            assert said.returncode == 0, said


def test_iso_conf_names_every_key():
    """The conf on the ISO is where keys are documented; the loader's own list is the measure."""
    listed = refusal(conf="nokey = 1\n").split("there are ")[1].split()
    with open(os.path.join(ROOT, "iso", "creel.conf")) as f:
        documented = re.findall(r"^# ([a-z-]+) = ", f.read(), re.MULTILINE)
    assert documented == listed, (documented, listed)


def test_network_boot():
    """PXE: no boot volume at all, so the defaults hold and there are no images."""
    with Machine(nic="none", bootable=False, extra=[
            "-netdev", f"user,id=pxe,tftp={os.path.dirname(EFI)},bootfile=BOOTX64.EFI",
            "-device", "virtio-net-pci,netdev=pxe,bootindex=0"]) as m:
        m.wait_for(r"no \\creel\\creel\.conf, the defaults hold", BOOT)
        assert "0 images" in m.wait_for(STARTED, BOOT, fail=REFUSED).group(0)


def test_edit_conf_says_what_is_no_iso():
    done = subprocess.run([EDIT_CONF, "--show", "/bin/sh"], capture_output=True, text=True)
    assert done.returncode == 1 and "not a Creel ISO" in done.stderr
