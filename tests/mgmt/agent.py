#!/usr/bin/python3
"""Commands and files in Linux guests: creelctl, the real server and the real agent ($CREEL_AGENT), which
runs as a process of this system in the place of a guest.

usage: agent.py FAKE_HOST CREELCTL [WORD]    (WORD: only the tests whose name holds it)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import filecmp
import io
import os
import pty
import signal
import subprocess
import sys
import tarfile
import time

import creelctl as base
from creelctl import CREELCTL, REFUSED, TIMEOUT, USAGE, ctl, environment, put, run_detached


def guest():
    return run_detached(put("linux", "agent\n"))


def path(name):
    return os.path.join(base.folder.name, name)


def tree(name):
    top = path(name)
    os.makedirs(os.path.join(top, "a/" + "long" * 40 + "/b"))
    os.makedirs(os.path.join(top, "empty"))
    for i, size in enumerate((0, 1, 511, 512, 513, 100000)):
        with open(os.path.join(top, "a", f"file{i}"), "wb") as f:
            f.write(os.urandom(size))
    with open(os.path.join(top, "a", "long" * 40, "b", "x" * 200), "w") as f:
        f.write("deep")
    os.symlink("a/file3", os.path.join(top, "link"))
    os.chmod(os.path.join(top, "a", "file2"), 0o751)
    return top


def same(a, b):
    c = filecmp.dircmp(a, b)
    assert not c.left_only and not c.right_only and not c.diff_files and not c.funny_files, c.report()
    for d in c.common_dirs:
        same(os.path.join(a, d), os.path.join(b, d))


# ---- exec ----

def test_exec_streams_and_status():
    g = guest()
    r = ctl("exec", g, "--", "sh", "-c", "echo out; echo err >&2; exit 3", status=3)
    assert r.out == "out\n" and r.err == "err\n", r
    assert ctl("exec", "-i", g, "tr", "a-z", "A-Z", stdin=b"hello").out == "HELLO"
    assert ctl("exec", g, "cat").out == ""
    assert base.Result(["exec", g, "sh", "-c", "kill -9 $$"], b"").status == 137
    r = ctl("exec", "-w", "/usr", "-e", "A=b c", "-e", "D=", g, "sh", "-c", 'pwd; echo "$A,$D"; id -u')
    assert r.out == "/usr\nb c,\n0\n", r
    assert ctl("exec", "-u", "1234:77", g, "sh", "-c", "id -u; id -g").out == "1234\n77\n"
    assert "no such" in ctl("exec", g, "/no/such", status=REFUSED).err.lower()
    assert ctl("exec", "-u", "nobody", g, "sh", "-c", "id -un; id -gn; echo $HOME").out.split() == [
        "nobody", "nogroup", "/nonexistent"]
    assert ctl("exec", "-u", "daemon:games", g, "sh", "-c", "id -un; id -gn").out == "daemon\ngames\n"
    assert ctl("exec", "-u", "65534", g, "sh", "-c", "id -u; id -g; id -G").out == "65534\n65534\n65534\n"
    assert ctl("exec", "-u", "4321", g, "sh", "-c", "id -u; id -g; id -G; echo $HOME").out.split() == [
        "4321", "4321", "4321", "/"]
    for user in ("no-such-user", "nobody:no-such-group", ":0", "-1", "x" * 300):
        assert "the user" in ctl("exec", "-u", user, g, "true", status=REFUSED).err, user
    assert "working directory" in ctl("exec", "-w", "/no/such", g, "true", status=REFUSED).err
    j = ctl("exec", "--json", g, "sh", "-c", "echo x; exit 4", status=4).json()
    assert j["exit_status"] == 4 and j["stdout"] == "x\n" and j["stderr"] == "", j


def test_exec_moves_much_both_ways():
    g = guest()
    data = os.urandom(5_000_000)
    with subprocess.Popen([CREELCTL, "exec", "-i", g, "cat"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, env=environment()) as p:
        out, _ = p.communicate(data, timeout=TIMEOUT)
    assert p.returncode == 0 and out == data, (p.returncode, len(out))
    for _ in range(4):
        assert len(ctl("exec", g, "sh", "-c", "yes | head -c 3000000").out) == 3_000_000
    # one who reads nothing does not hold up the others
    slow = subprocess.Popen([CREELCTL, "exec", g, "cat", "/dev/zero"], stdout=subprocess.PIPE,
                            env=environment())
    try:
        time.sleep(0.5)
        assert ctl("exec", g, "echo", "through").out == "through\n"
    finally:
        slow.kill()
        slow.wait()
        slow.stdout.close()


def test_exec_many_at_once():
    g = guest()
    ps = [subprocess.Popen([CREELCTL, "exec", g, "sh", "-c", f"sleep 0.3; echo {i}; exit {i}"],
                           stdout=subprocess.PIPE, env=environment(), text=True) for i in range(50)]
    for i, p in enumerate(ps):
        out, _ = p.communicate(timeout=TIMEOUT)
        assert out == f"{i}\n" and p.returncode == i, (i, out, p.returncode)


def test_exec_passes_signals_on():
    g = guest()
    p = subprocess.Popen([CREELCTL, "exec", g, "sh", "-c", 'trap "echo got; exit 9" TERM; echo up; '
                          "while :; do sleep 0.05; done"], stdout=subprocess.PIPE, env=environment(),
                         text=True)
    assert p.stdout.readline() == "up\n"
    p.send_signal(signal.SIGTERM)
    out, _ = p.communicate(timeout=TIMEOUT)
    assert out == "got\n" and p.returncode == 9, (out, p.returncode)


def test_exec_whose_client_goes_is_hung_up():
    g = guest()
    mark = path("hung-up")
    p = subprocess.Popen([CREELCTL, "exec", g, "sh", "-c", f'trap "echo x >{mark}; exit" HUP; echo up; '
                          "while :; do sleep 0.05; done"], stdout=subprocess.PIPE, env=environment(),
                         text=True)
    assert p.stdout.readline() == "up\n"
    p.kill()
    p.wait()
    p.stdout.close()
    base.wait_for(lambda: os.path.exists(mark))


def test_exec_terminal():
    g = guest()
    master, slave = pty.openpty()
    import fcntl
    import struct
    import termios
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    p = subprocess.Popen([CREELCTL, "exec", "-it", g, "sh", "-c", "stty size; read x; echo \"<$x>\"; "
                          "read y; stty size"], stdin=slave, stdout=slave, stderr=slave, env=environment(),
                         start_new_session=True)
    seen = b""

    def until(word):
        nonlocal seen
        while word not in seen:
            seen += os.read(master, 1000)
        seen = seen.split(word, 1)[1]

    until(b"33 101")
    os.write(master, b"hello\r")
    until(b"<hello>")
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 120, 0, 0))
    p.send_signal(signal.SIGWINCH)
    time.sleep(0.5)
    os.write(master, b"\r")
    until(b"44 120")
    assert p.wait(TIMEOUT) == 0
    os.close(master)
    os.close(slave)


def test_exec_where_it_makes_no_sense():
    plain = run_detached(put("wait", "wait\n"))
    assert "not a Linux guest" in ctl("exec", plain, "true", status=REFUSED).err
    g = guest()
    ctl("kill", g)
    assert "stopped" in ctl("exec", g, "true", status=REFUSED).err
    assert ctl("exec", "12345", "true", status=REFUSED).err
    ctl("exec", g, status=USAGE)
    g = guest()
    ctl("pause", g)
    r = ctl("exec", "--wait", "1", g, "true", status=REFUSED)
    assert "does not answer" in r.err, r


def test_exec_ends_with_the_guest():
    g = guest()
    p = subprocess.Popen([CREELCTL, "exec", g, "sh", "-c", "echo up; sleep 60"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=environment(), text=True)
    assert p.stdout.readline() == "up\n"
    ctl("kill", g)
    _, err = p.communicate(timeout=TIMEOUT)
    assert p.returncode == REFUSED and "stopped" in err, (p.returncode, err)


# ---- forks ----

def test_exec_after_fork_runs_in_the_child():
    g = guest()
    p = subprocess.Popen([CREELCTL, "exec", g, "sh", "-c", "echo up; sleep 1; echo end"],
                         stdout=subprocess.PIPE, env=environment(), text=True)
    assert p.stdout.readline() == "up\n"
    for child in ctl("fork", "-n", "3", g).out.split():
        r = ctl("exec", child, "sh", "-c", "echo $PPID")
        assert r.out.strip() != ctl("exec", g, "sh", "-c", "echo $PPID").out.strip()
    out, _ = p.communicate(timeout=TIMEOUT)
    assert out == "end\n" and p.returncode == 0


def test_rollback_ends_what_was_under_way():
    g = guest()
    s = ctl("snapshot", "--no-quiesce", g).out.strip()
    p = subprocess.Popen([CREELCTL, "exec", g, "sh", "-c", "echo up; sleep 60"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=environment(), text=True)
    assert p.stdout.readline() == "up\n"
    ctl("rollback", g, s)
    _, err = p.communicate(timeout=TIMEOUT)
    assert p.returncode != 0 and "rolled back" in err, (p.returncode, err)
    assert ctl("exec", g, "echo", "again").out == "again\n"


# ---- files ----

def test_push_and_pull():
    g = guest()
    data = os.urandom(200_000)
    ctl("push", "--mode", "640", g, path("pushed"), stdin=data)
    assert open(path("pushed"), "rb").read() == data
    assert os.stat(path("pushed")).st_mode & 0o777 == 0o640
    pulled = subprocess.run([CREELCTL, "pull", g, path("pushed")], capture_output=True, env=environment(),
                            timeout=TIMEOUT)
    assert pulled.returncode == 0 and pulled.stdout == data
    assert "directory" in ctl("push", g, base.folder.name, status=1).err
    assert "No such file" in ctl("pull", g, path("none"), status=1).err


def test_cp_files_and_trees():
    g = guest()
    top = tree("tree")
    ctl("cp", top, f"{g}:{path('there')}")
    same(top, path("there"))
    assert os.readlink(path("there/link")) == "a/file3"
    assert os.stat(path("there/a/file2")).st_mode & 0o777 == 0o751
    ctl("cp", f"{g}:{path('there')}", path("back"))
    same(top, path("back"))
    # into what is there
    ctl("cp", f"{g}:{path('there')}", path("back"))
    same(top, path("back/there"))
    ctl("cp", path("there/a/file5"), f"{g}:{path('back')}")
    assert filecmp.cmp(path("there/a/file5"), path("back/file5"), shallow=False)
    ctl("cp", f"{g}:{path('back/file5')}", path("one"))
    assert filecmp.cmp(path("one"), path("back/file5"), shallow=False)
    ctl("cp", path("one"), path("two"), status=USAGE)
    assert ctl("cp", path("nothing"), f"{g}:/tmp/x", status=REFUSED).err
    assert ctl("cp", f"{g}:{path('nothing')}", path("x"), status=REFUSED).err


def test_cp_keeps_links_holes_and_modes_of_folders():
    g = guest()
    top = path("kept")
    os.makedirs(os.path.join(top, "closed", "in"))
    with open(os.path.join(top, "one"), "wb") as f:
        f.write(b"1" * 3000)
    os.link(os.path.join(top, "one"), os.path.join(top, "closed", "two"))
    with open(os.path.join(top, "holes"), "wb") as f:
        f.seek(10_000_000)
        f.write(b"x")
        f.truncate(30_000_000)
    os.symlink("..", os.path.join(top, "closed", "up"))
    os.chmod(os.path.join(top, "closed"), 0o555)
    os.utime(os.path.join(top, "closed"), (10**9, 10**9))
    os.symlink(top, path("to-kept"))
    ctl("cp", path("to-kept"), f"{g}:{path('kept-there')}")
    os.symlink(path("kept-there"), path("link-there"))
    ctl("cp", f"{g}:{path('link-there')}", path("kept-back"))
    for place in ("kept-there", "kept-back"):
        one, two = (os.stat(path(place + "/" + n)) for n in ("one", "closed/two"))
        assert one.st_ino == two.st_ino and one.st_nlink == 2, place
        holes = os.stat(path(place + "/holes"))
        assert holes.st_size == 30_000_000 and holes.st_blocks * 512 < 1_000_000, (place, holes)
        assert filecmp.cmp(path(place + "/holes"), os.path.join(top, "holes"), shallow=False)
        closed = os.stat(path(place + "/closed"))
        assert closed.st_mode & 0o777 == 0o555 and closed.st_mtime == 10**9, (place, closed)
        assert os.readlink(path(place + "/closed/up")) == ".."
    for file in ("one", "holes"):
        with open(os.path.join(top, file), "rb") as f:
            ctl("push", g, path("pushed-" + file), stdin=f.read())
        assert filecmp.cmp(path("pushed-" + file), os.path.join(top, file), shallow=False)
    assert os.stat(path("pushed-holes")).st_blocks * 512 < 1_000_000


# ---- an agent that lies ----

def hostile_tar(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for m in members:
            info = tarfile.TarInfo(m.get("name", "x"))
            info.type = m.get("type", tarfile.REGTYPE)
            info.linkname = m.get("link", "")
            data = m.get("data", b"")
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def hostile_agent(stream):
    """A program in the agent's place whose "stat" says directory, and whose "tar" gives `stream`."""
    with open(path("stream"), "wb") as f:
        f.write(stream)
    return [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lying_agent.py"),
            "tar", path("stream")]


def with_agent(command):
    """A host whose guests have this in the place of the agent."""
    script = path("agent.sh")
    with open(script, "w") as f:
        f.write("#!/bin/sh\nexec " + " ".join(command) + ' "$@"\n')
    os.chmod(script, 0o755)
    before = os.environ["CREEL_AGENT"]
    os.environ["CREEL_AGENT"] = script
    base.host.stop()
    base.host = base.Host()
    os.environ["CREEL_AGENT"] = before
    return guest()


def refused_tar(stream, word):
    g = with_agent(hostile_agent(stream))
    target = path("target")
    subprocess.run(["rm", "-rf", target], check=True)
    r = ctl("cp", f"{g}:/x", target, status=REFUSED)
    assert word in r.err, r
    assert not os.path.exists(path("escaped")) and not os.path.exists("/tmp/creel-escaped"), r


def test_tar_streams_that_lead_out():
    link = {"name": "l", "type": tarfile.SYMTYPE}
    refused_tar(hostile_tar({"name": "../escaped", "data": b"x"}), "leads out")
    refused_tar(hostile_tar({"name": "a/../../escaped", "data": b"x"}), "leads out")
    refused_tar(hostile_tar({"name": "/tmp/creel-escaped", "data": b"x"}), "leads out")
    refused_tar(hostile_tar(dict(link, link="..")), "leads out")
    refused_tar(hostile_tar(dict(link, link="/etc")), "leads out")
    refused_tar(hostile_tar(dict(link, link="a/../../b")), "leads out")
    refused_tar(hostile_tar({"name": "h", "type": tarfile.LNKTYPE, "link": "../x"}), "leads out")
    refused_tar(hostile_tar({"name": "h", "type": tarfile.LNKTYPE, "link": "/etc/passwd"}), "leads out")
    # through a link that the stream made itself
    refused_tar(hostile_tar(dict(link, link="."), {"name": "l/x", "data": b"x"}), "l/x")


def test_tar_streams_that_are_no_files():
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"):
        refused_tar(hostile_tar({"name": "d", "type": kind}), "not unpacked")
    refused_tar(hostile_tar({"name": "d", "type": b"S"}), "sparse")
    refused_tar(b"\1" * 2048, "no tar stream")
    refused_tar(hostile_tar({"name": "d", "data": b"x" * 4000})[:2000], "cut off")
    whole = bytearray(hostile_tar({"name": "d", "data": b"x"}))
    whole[124:136] = b"\x80" + b"\xff" * 11
    whole[148:156] = b"%06o\0 " % (sum(whole[:148]) + 8 * 32 + sum(whole[156:512]))
    refused_tar(bytes(whole), "damaged")


def test_tar_stream_without_end():
    g = with_agent(hostile_agent(hostile_tar({"name": "d", "data": b"x" * 300_000})))
    target = path("limited")
    r = ctl("cp", "--max-size", "100K", f"{g}:/x", target, status=REFUSED)
    assert "more than" in r.err, r


def test_agents_that_lie():
    for way in ("garbage", "flood", "huge", "early", "twice", "unknown", "endless"):
        g = with_agent([sys.executable,
                        os.path.join(os.path.dirname(os.path.abspath(__file__)), "lying_agent.py"), way])
        r = base.Result(["exec", "--wait", "3", g, "true"], b"")
        assert r.status in (REFUSED, 126) and r.err, (way, r)
        assert ctl("ps", "-q").out.strip() == g, way


if __name__ == "__main__":
    sys.exit(base.run_tests("agent", globals()))
