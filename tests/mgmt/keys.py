#!/usr/bin/python3
"""Keys and the hosts that a user knows: what creelctl makes of them, and of files that are wrong.

usage: keys.py FAKE_HOST CREELCTL [WORD]    (WORD: only the tests whose name holds it)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile

import creelctl as base
from creelctl import CONNECTION, REFUSED, USAGE

KEY = "85" * 31 + "6a"
OTHER = "de" * 31 + "4f"


class Home:
    """A user, who knows nothing yet."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="creel-keys-")
        self.path = os.path.join(self.folder.name, "creel")

    def file(self, name):
        return os.path.join(self.path, name)

    def write(self, name, data, mode=0o600):
        os.makedirs(self.path, exist_ok=True)
        with open(self.file(name), "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        os.chmod(self.file(name), mode)

    def config(self):
        with open(self.file("config")) as f:
            return f.read()

    def ctl(self, *args, status=0, **env):
        known = {k: v for k, v in os.environ.items() if not k.startswith("CREEL_")}
        r = subprocess.run([base.CREELCTL, *args], capture_output=True, text=True, timeout=60,
                           env=dict(known, XDG_CONFIG_HOME=self.folder.name, LC_ALL="C.UTF-8", **env))
        assert r.returncode == status and (status == 0 or r.stderr), r
        assert "Sanitizer" not in r.stderr and "runtime error" not in r.stderr, r
        return r


def known_user():
    """A user whom the host of these tests knows."""
    home = Home()
    with open(os.path.join(base.folder.name, "creel", "key"), "rb") as f:
        home.write("key", f.read())
    return home


def address():
    return f"127.0.0.1:{base.host.port}"


# ---- keys ----

def test_keygen():
    home = Home()
    r = home.ctl("keygen")
    key = r.stdout.split("authorized = ")[1].split()[0]
    assert f"The public key is {key}\n" in r.stdout and len(key) == 64, r
    assert r.stdout.splitlines()[-1].split()[:4] == ["authorized", "=", key, "admin"], r
    assert stat.S_IMODE(os.stat(home.file("key")).st_mode) == 0o600
    with open(home.file("key")) as f:
        kept = f.read()
    assert len(kept) == 65 and kept.strip() not in r.stdout
    assert "not overwritten" in home.ctl("keygen", status=REFUSED).stderr
    with open(home.file("key")) as f:
        assert f.read() == kept
    other = home.file("second")
    made = json.loads(home.ctl("--json", "keygen", other).stdout)
    assert made["path"] == other and made["public_key"] != key
    assert json.loads(home.ctl("--json", "keygen", CREEL_KEY=home.file("third")).stdout)["path"] == \
        home.file("third")
    assert "No such file" in home.ctl("keygen", "/nowhere/at/all", status=REFUSED).stderr


def test_keys_that_others_can_read():
    home = known_user()
    home.ctl("host", "add", "lab", address(), base.host.key)
    home.ctl("info")
    for mode in (0o640, 0o604, 0o610, 0o666):
        os.chmod(home.file("key"), mode)
        assert "others can read the private key" in home.ctl("info", status=CONNECTION).stderr


def test_key_files_that_are_none():
    home = Home()
    home.ctl("host", "add", "lab", address(), base.host.key)
    assert 'make one with "creelctl keygen"' in home.ctl("info", status=CONNECTION).stderr
    for text in ("", "\n", "0" * 63, "0" * 65, "0" * 63 + "G\n", "0" * 64 + "\n\n", "A" * 64, "x" * (1 << 20)):
        home.write("key", text)
        assert "line 1: that is no private key" in home.ctl("info", status=CONNECTION).stderr, text[:70]
    os.unlink(home.file("key"))
    os.mkdir(home.file("key"))
    assert "no regular file" in home.ctl("info", status=CONNECTION).stderr


def test_keys_that_do_not_fit():
    """Both sides of it are named, since nobody else can tell which was meant."""
    home = known_user()
    mine = base.CLIENT
    home.ctl("host", "add", "wrong", address(), OTHER)
    r = home.ctl("-H", "wrong", "info", status=CONNECTION)
    assert f"the host did not accept: its key is not {OTHER}, or yours is not authorised (yours is {mine})" in r.stderr
    stranger = Home()
    key = json.loads(stranger.ctl("--json", "keygen").stdout)["public_key"]
    stranger.ctl("host", "add", "lab", address(), base.host.key)
    r = stranger.ctl("info", status=CONNECTION)
    assert f"its key is not {base.host.key}, or yours is not authorised (yours is {key})" in r.stderr
    r = home.ctl("info", status=USAGE, CREEL_HOST=address(), CREEL_HOST_KEY="00" * 32)
    assert "the host's key is no key" in r.stderr


# ---- hosts ----

def test_hosts():
    home = known_user()
    assert home.ctl("host", "ls").stdout.split() == ["NAME", "ADDRESS", "KEY"]
    assert "no host is known" in home.ctl("info", status=CONNECTION).stderr
    home.ctl("host", "add", "lab1", address(), base.host.key)
    home.ctl("info")  # the only one
    home.ctl("host", "add", "lab2", "192.0.2.7", KEY)
    assert "no default is set" in home.ctl("info", status=CONNECTION).stderr
    home.ctl("-H", "lab1", "info")
    home.ctl("info", CREEL_HOST="lab1")
    home.ctl("host", "default", "lab1")
    home.ctl("info")
    assert "already, at 192.0.2.7" in home.ctl("host", "add", "lab2", "10.0.0.1", KEY, status=REFUSED).stderr
    assert json.loads(home.ctl("--json", "host", "ls").stdout) == [
        {"name": "lab1", "address": address(), "key": base.host.key, "default": True},
        {"name": "lab2", "address": "192.0.2.7", "key": KEY, "default": False}]
    home.ctl("host", "default", "lab2")
    home.ctl("host", "rm", "lab2")
    assert home.config() == f"host = lab1 {address()} {base.host.key}\n"
    assert "no host lab2 is known" in home.ctl("host", "rm", "lab2", status=REFUSED).stderr
    assert "no host lab2 is known" in home.ctl("host", "default", "lab2", status=REFUSED).stderr
    assert stat.S_IMODE(os.stat(home.file("config")).st_mode) == 0o600
    assert sorted(os.listdir(home.path)) == ["config", "key"]


def test_hosts_by_address():
    home = known_user()
    assert f"no host {address()} is known" in home.ctl("-H", address(), "info", status=CONNECTION).stderr
    home.ctl("-H", address(), "info", CREEL_HOST_KEY=base.host.key)
    assert "CREEL_HOST_KEY is no key" in \
        home.ctl("-H", address(), "info", CREEL_HOST_KEY="12", status=USAGE).stderr
    home.ctl("host", "add", "here", address(), base.host.key)
    home.ctl("-H", address(), "info")
    home.write("config", f"host = far 192.0.2.7:7117 {KEY}\nhost = near {address()} {base.host.key}\n")
    assert "no host 192.0.2.8 is known" in home.ctl("-H", "192.0.2.8", "info", status=CONNECTION).stderr


def test_the_exporter_wants_hosts_that_are_known():
    home = known_user()
    assert "no host nobody is known" in home.ctl("exporter", "nobody", status=REFUSED).stderr


def test_what_people_wrote_stays():
    home = Home()
    home.write("config", f"# mine\n  host=a 10.0.0.1 {KEY} # first\n\ndefault = a")
    home.ctl("host", "add", "b", "10.0.0.2", OTHER)
    assert home.config() == f"# mine\n  host=a 10.0.0.1 {KEY} # first\n\ndefault = a\nhost = b 10.0.0.2 {OTHER}\n"
    home.ctl("host", "rm", "a")
    assert home.config() == f"# mine\n\nhost = b 10.0.0.2 {OTHER}\n"


def test_hosts_that_are_none():
    home = Home()
    for args, text in [(["a b", "10.0.0.1", KEY], "can't be a name"), (["-", "10.0.0.1", KEY], "can't be a name"),
                       (["n" * 64, "10.0.0.1", KEY], "can't be a name"), (["a", "10 1", KEY], "is no address"),
                       (["a", "x" * 256, KEY], "is no address"), (["a", "10.0.0.1:65536", KEY], "is no address"),
                       (["a", "10.0.0.1:", KEY], "is no address"), (["a", "[::1]7117", KEY], "is no address")]:
        assert text in home.ctl("host", "add", *args, status=USAGE).stderr, args
    for key in ("", "12", KEY[:-1], KEY + "0", KEY[:-1] + "g", KEY.upper()):
        assert "is no key" in home.ctl("host", "add", "a", "10.0.0.1", key, status=USAGE).stderr, key
    assert not os.path.exists(home.file("config")), home.config()


def test_config_files_that_are_wrong():
    home = known_user()
    good = f"host = a 10.0.0.1 {KEY}\n"
    for text, said in [
            ("hots = a\n", 'line 1: no key "hots"; there are host and default'),
            (good + "\n\nnonsense\n", 'line 4: "nonsense": write key = value'),
            (good + good, "line 2: host a is there a second time; keep one"),
            (good + "default = a\ndefault = a\n", "line 3: default is set a second time; keep one"),
            (good + "default = b\n", "line 2: there is no host b"),
            ("default =\n", "line 1: write default = NAME"),
            ("host = a 10.0.0.1\n", "line 1: write host = NAME ADDRESS KEY"),
            (good.rstrip() + " more\n", "line 1: write host = NAME ADDRESS KEY"),
            (f"host = a/b 10.0.0.1 {KEY}\n", "line 1: \"a/b\" can't be a name"),
            (f"host = a 10.0.0.1 {KEY[:-2]}xy\n", "is no key, which has 64 hexadecimal digits"),
            (f"host = a 10.0.0.1 {KEY}00\n", "is no key, which has 64 hexadecimal digits"),
            ("# " + "x" * (1 << 20), "line 1: it is longer than 1024 bytes"),
            ("\n" + good + "y" * (1 << 20), "line 3: it is longer than 1024 bytes"),
            ("#\n" * (1 << 16), "the file is longer than 64 KiB"),
            (b"\0\n", "line 1: a zero byte is no text"),
            ("\x1b[2J = 1\n", 'line 1: no key "?[2J"')]:
        home.write("config", text)
        for command in (["info"], ["host", "ls"], ["host", "add", "z", "10.0.0.9", KEY], ["host", "rm", "a"]):
            r = home.ctl(*command, status=CONNECTION if command == ["info"] else REFUSED)
            assert f"{home.file('config')}, " in r.stderr and said in r.stderr, (text[:80], r)
    home.write("config", "".join(f"host = h{i} 10.0.0.1 {KEY}\n" for i in range(257)))
    assert "line 257: these are more than 256 hosts" in home.ctl("info", status=CONNECTION).stderr
    home.write("config", good, mode=0o666)
    assert "everybody can write" in home.ctl("info", status=CONNECTION).stderr


def test_homes_that_are_none():
    home = Home()
    for env in ({"XDG_CONFIG_HOME": "", "HOME": ""}, {"XDG_CONFIG_HOME": "relative", "HOME": ""}):
        r = subprocess.run([base.CREELCTL, "host", "ls"], capture_output=True, text=True, timeout=60,
                           env=dict(os.environ, **env))
        assert r.returncode == REFUSED and "neither HOME nor XDG_CONFIG_HOME" in r.stderr, r
    r = subprocess.run([base.CREELCTL, "host", "add", "a", "10.0.0.1", KEY], timeout=60,
                       env=dict(os.environ, XDG_CONFIG_HOME="", HOME=home.folder.name))
    assert r.returncode == 0 and os.path.exists(os.path.join(home.folder.name, ".config/creel/config"))


# ---- a first message that somebody recorded ----

def test_replayed_first_message():
    """Whoever sends it again has an answer that he can do nothing with; the host keeps nothing for him."""
    home = known_user()
    recorded = []
    with socket.socket() as between:
        between.bind(("127.0.0.1", 0))
        between.listen()
        at = f"127.0.0.1:{between.getsockname()[1]}"
        p = subprocess.Popen([base.CREELCTL, "-H", at, "info"], stderr=subprocess.PIPE,
                             env=dict(os.environ, XDG_CONFIG_HOME=home.folder.name,
                                      CREEL_HOST_KEY=base.host.key))
        c, _ = between.accept()
        with c:
            while sum(map(len, recorded)) < 98:
                recorded.append(c.recv(98))
        p.communicate(timeout=60)
    first = b"".join(recorded)
    assert len(first) == 98 and struct.unpack_from("<H", first)[0] == 96, first
    answers = []
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", base.host.port), timeout=60) as s:
            s.sendall(first)
            answer = s.recv(50, socket.MSG_WAITALL)
            assert struct.unpack_from("<H", answer)[0] == 48, answer
            answers.append(answer)
            s.sendall(struct.pack("<H", 16) + bytes(16))  # a proof that is none
            try:
                assert s.recv(100) == b""
            except ConnectionResetError:
                pass
    assert answers[0] != answers[1]
    home.ctl("-H", address(), "info", CREEL_HOST_KEY=base.host.key)


if __name__ == "__main__":
    sys.exit(base.run_tests("keys", globals()))
