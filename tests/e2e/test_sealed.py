"""The sealed management port of a whole host, and a client made of another's Noise."""
import os
import shutil
import subprocess
import tempfile

from keys import KEYS
from run import ROOT, Machine

CREELCTL = os.path.join(ROOT, "build", "creelctl")
CLIENT = os.path.join(os.path.dirname(__file__), "..", "mgmt", "sealed_client.py")
BOOT = 120
IMAGE_SIZE = 0x129000  # about, with its data
WELCOME = "0x80"

# RFC 7748, section 6.1: Alice is the host, Bob the client.
HOST_PRIVATE = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
HOST_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
CLIENT_PRIVATE = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
CLIENT_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"


def dial(machine, host_key, private_key):
    done = subprocess.run([CLIENT, str(machine.port), host_key, private_key], check=True,
                          capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def test_sealed_host():
    conf = f"console = serial\nhost-key = {HOST_PRIVATE}\nauthorized = {CLIENT_PUBLIC} admin bob\n"
    with Machine("qemu", conf=conf) as m:
        m.wait_for(rf"host key: {HOST_PUBLIC}", BOOT, fail="PANIC")
        m.wait_for(r"management on TCP port 7117, sealed, for 1 client;", BOOT)
        m.wait_for(r"\] address: \d", BOOT)
        assert dial(m, HOST_PUBLIC, CLIENT_PRIVATE) == WELCOME
        assert dial(m, HOST_PUBLIC, HOST_PRIVATE) == "closed"      # a key that is not authorised
        assert dial(m, CLIENT_PUBLIC, CLIENT_PRIVATE) == "closed"  # another host's key
        assert dial(m, HOST_PUBLIC, CLIENT_PRIVATE) == WELCOME


def test_no_random_numbers_no_port():
    conf = f"console = serial\nauthorized = {KEYS.client} admin tests\n"
    with Machine("qemu", conf=conf, cpu="EPYC,+svm,+npt,-rdrand,-rdseed") as m:
        m.wait_for(r"the management port stays closed: the random generator has no seed", BOOT, fail="PANIC|on TCP port")


# ---- the host's own key ----

VARS = "/usr/share/OVMF/OVMF_VARS.fd"
NON_VOLATILE_BOOT, WITH_RUNTIME = 3, 7  # attributes


def boot_with_variables(path, conf, after=None):
    """The host's key and where it came from, and what was said in red before."""
    extra = ["-drive", f"if=pflash,format=raw,unit=1,file={path}"]
    with Machine("qemu", mem=256, conf=conf, extra=extra) as m:
        found = m.wait_for(r"host key: ([0-9a-f]{64}), (.*)", BOOT, fail="PANIC")
        if after:
            m.wait_for(r"\] address: \d", BOOT)
            after(m, found[1])
        return found[1], found[2], m.serial


def test_host_key_outlives_the_boot():
    def reach(machine, key):
        done = subprocess.run([CREELCTL, "info"], capture_output=True, text=True, timeout=60,
                              env=KEYS.environment(machine.port, CREEL_HOST_KEY=key))
        assert done.returncode == 0, done

    conf = f"console = serial\nauthorized = {KEYS.client} admin tests\n"
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "vars.fd")
        shutil.copyfile(VARS, path)
        first, how, said = boot_with_variables(path, conf)
        assert how == "made now, kept by the firmware" and "lost at its next boot" not in said, said
        assert boot_with_variables(path, conf, reach)[:2] == (first, "kept by the firmware")
        # as if an operating system had made it, which can't without access of its own
        with open(path, "r+b") as f:
            data = bytearray(f.read())
            at = data.rindex("HostKey\0".encode("utf-16-le")) - 60
            assert data[at:at + 2] == b"\xaa\x55" and data[at + 4] == NON_VOLATILE_BOOT, data[at:at + 80]
            data[at + 4] = WITH_RUNTIME
            f.seek(0)
            f.write(data)
        second, how, said = boot_with_variables(path, conf)
        assert second != first and how == "made now, kept by the firmware", (how, said)
        assert "could be read or planted by others: it was deleted" in said, said


def test_private_key_is_in_one_place():
    """All of the machine's memory, once the port is open. The text of creel.conf stays in what was a
    buffer of the firmware's, and now is a free frame, which is zeroed before a guest has it."""
    secret = os.urandom(32).hex()
    conf = f"console = serial\nhost-key = {secret}\nauthorized = {KEYS.client} admin tests\n"
    with Machine("qemu", mem=256, conf=conf) as m:
        base = int(m.wait_for(r"image at 0x([0-9a-f]+)", BOOT)[1], 16)
        m.wait_for(r"\] address: \d", BOOT)
        path = os.path.join(m.dir, "memory")
        m.monitor(f'pmemsave 0 {256 << 20} "{path}"')
        with open(path, "rb") as f:
            memory = f.read()
    raw = bytes.fromhex(secret)[1:31]  # the first and last byte have bits that X25519 sets
    image = memory[base:base + IMAGE_SIZE]
    assert (memory.count(raw), image.count(raw), image.count(secret.encode())) == (1, 1, 0)
