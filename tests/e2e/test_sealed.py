"""The sealed management port of a whole host, and a client made of another's Noise."""
import os
import subprocess

from run import Machine

CLIENT = os.path.join(os.path.dirname(__file__), "..", "mgmt", "sealed_client.py")
BOOT = 120
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
        m.wait_for(r"management on TCP port 7117, sealed, for 1 clients", BOOT)
        m.wait_for(r"\] address: \d", BOOT)
        assert dial(m, HOST_PUBLIC, CLIENT_PRIVATE) == WELCOME
        assert dial(m, HOST_PUBLIC, HOST_PRIVATE) == "closed"      # a key that is not authorised
        assert dial(m, CLIENT_PUBLIC, CLIENT_PRIVATE) == "closed"  # another host's key
        assert dial(m, HOST_PUBLIC, CLIENT_PRIVATE) == WELCOME
