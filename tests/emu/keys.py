#!/usr/bin/python3
"""The keys of the emulated machines and of their client, made once for a build tree. As a command it
prints their lines of creel.conf.

build/keys/ is a configuration folder of creelctl (XDG_CONFIG_HOME), so that tests and people reach a
machine of tests/emu with the same key; `make clean` throws it away.
"""
import os
import shutil
import tempfile

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "build", "keys")


def public_of(private):
    """Of a key in hexadecimal."""
    key = X25519PrivateKey.from_private_bytes(bytes.fromhex(private)).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _write(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
        f.write(text)


def _read(path):
    with open(path) as f:
        return f.read().strip()


class Keys:
    """A host's key and its client's, in `folder`."""

    def __init__(self, folder):
        self.folder = folder
        if not os.path.exists(folder):
            self._make()
        self.host_private = _read(os.path.join(folder, "host-key"))
        self.client_private = _read(os.path.join(folder, "creel", "key"))
        self.host, self.client = public_of(self.host_private), public_of(self.client_private)

    def _make(self):
        """All at once, or not at all: others may be doing the same."""
        os.makedirs(os.path.dirname(self.folder), exist_ok=True)
        new = tempfile.mkdtemp(prefix="keys-", dir=os.path.dirname(self.folder))
        os.mkdir(os.path.join(new, "creel"), 0o700)
        _write(os.path.join(new, "host-key"), os.urandom(32).hex() + "\n")
        _write(os.path.join(new, "creel", "key"), os.urandom(32).hex() + "\n")
        try:
            os.rename(new, self.folder)
        except OSError:
            shutil.rmtree(new)

    @property
    def conf(self):
        """Lines of creel.conf."""
        return f"host-key = {self.host_private}\nauthorized = {self.client} admin tests\n"

    def environment(self, port, **more):
        """creelctl talks to a machine whose management is on this port of ours."""
        return dict(os.environ, XDG_CONFIG_HOME=self.folder, CREEL_HOST=f"127.0.0.1:{port}",
                    CREEL_HOST_KEY=self.host) | more


KEYS = Keys(FOLDER)

if __name__ == "__main__":
    print(KEYS.conf, end="")
