"""Two owners and an admin on one host: who sees what, and what each may have."""
import os
import subprocess
import tempfile

from keys import KEYS, public_of
from run import ROOT, Machine

CREELCTL = os.path.join(ROOT, "build", "creelctl")
AGENT = os.path.join(ROOT, "build", "test-guests", "agent")
BOOT = 120
ALICE, BOB = "77" * 32, "5d" * 32


def test_owners_of_a_host():
    conf = (f"console = serial\nowner-max-guests = 3\n{KEYS.conf}"
            f"authorized = {public_of(ALICE)} owner alice\nauthorized = {public_of(BOB)} owner bob\n")
    with Machine("qemu", conf=conf) as m, tempfile.TemporaryDirectory() as folder:
        m.wait_for(r"\] address: \d", BOOT, fail="PANIC")
        base = KEYS.environment(m.port)

        def ctl(who, *args, fails=False):
            done = subprocess.run([CREELCTL, *args], capture_output=True, text=True, timeout=60,
                                  env=dict(base, **({"CREEL_KEY": files[who]} if who else {})))
            assert (done.returncode != 0) == fails, (args, done)
            return done.stderr if fails else done.stdout.strip()

        files = {}
        for who, key in (("alice", ALICE), ("bob", BOB)):
            files[who] = os.path.join(folder, who)
            with open(os.open(files[who], os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
                f.write(key + "\n")
        for who in ("alice", "bob"):
            ctl(who, "put", AGENT)
            ctl(who, "run", "-d", "--name", "web", "-l", "app=web", "--timeout", "1h", "agent", "sleep")
        hers, his = (ctl(who, "ps", "-q") for who in ("alice", "bob"))
        assert hers != his and "\n" not in hers + his
        assert ctl(None, "ps", "-q").split() == [hers, his]
        hidden, absent = (ctl("alice", "kill", g, fails=True) for g in (his, "99999"))
        assert hidden.replace(his, "#") == absent.replace("99999", "#")
        # a public snapshot is everyone's to fork; each has only so many guests
        snapshot = ctl("bob", "snapshot", "--public", "web", "base")
        forks = [ctl("alice", "fork", snapshot) for _ in range(2)]
        assert "allows 3 guests" in ctl("alice", "fork", snapshot, fails=True)
        assert "not yours" in ctl("alice", "rm", snapshot, fails=True)
        assert ctl("alice", "kill", "-l", "app=web").split() == [hers, *forks]
        assert ctl("bob", "ps", "-q") == his
        assert "does not allow" in ctl("bob", "log", fails=True)
