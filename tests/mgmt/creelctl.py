#!/usr/bin/python3
"""creelctl end to end: the real program over real TCP, against the real server on pretended guests.

usage: creelctl.py FAKE_HOST CREELCTL [WORD]    (WORD: only the tests whose name holds it)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

from cut import Wire

FAKE_HOST, CREELCTL = sys.argv[1:3]
TIMEOUT = 60
REFUSED, CONNECTION, USAGE, INTERRUPTED = 125, 126, 127, 130


OPERATOR, ADMIN = 3, 4  # boot/config.h


class Host:
    def __init__(self):
        self.process = subprocess.Popen([FAKE_HOST, "0", HOST_KEY, CLIENT, str(ADMIN)],
                                        stdout=subprocess.PIPE, text=True)
        port, self.key = self.process.stdout.readline().split()
        self.port = int(port)

    def stop(self):
        alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        assert alive, "the host died"


host = None
folder = tempfile.TemporaryDirectory(prefix="creelctl-test-")
HOST_KEY = os.urandom(32).hex()


def keygen(home):
    """The public key of a new client whose configuration is in `home`."""
    done = subprocess.run([CREELCTL, "--json", "keygen"], env=dict(os.environ, XDG_CONFIG_HOME=home),
                          check=True, capture_output=True, timeout=TIMEOUT)
    return json.loads(done.stdout)["public_key"]


CLIENT = keygen(folder.name)


def environment(**more):
    return dict(os.environ, CREEL_HOST=f"127.0.0.1:{host.port}", CREEL_HOST_KEY=host.key,
                XDG_CONFIG_HOME=folder.name, LC_ALL="C.UTF-8") | more


class Result:
    def __init__(self, args, stdin, env={}):
        done = subprocess.run([CREELCTL, *args], input=stdin, capture_output=True,
                              timeout=TIMEOUT, env=dict(environment(), **env))
        self.args, self.status = args, done.returncode
        self.out = done.stdout.decode()
        self.err = done.stderr.decode()

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"{self.args}: status {self.status}\nstdout: {self.out!r}\nstderr: {self.err!r}"


def ctl(*args, stdin=b"", status=0, env={}):
    r = Result([str(a) for a in args], stdin, env)
    assert r.status == status, r
    assert status in (0,) or status < REFUSED or r.err, f"silent failure: {r}"
    assert "Sanitizer" not in r.err and "runtime error" not in r.err, r
    return r


def put(name, script):
    path = os.path.join(folder.name, name + ".elf")
    with open(path, "w") as f:
        f.write(script)
    ctl("put", path)
    return name


def run_detached(image, *options):
    return ctl("run", "-d", *options, image).out.strip()


def wait_for(condition):
    end = time.time() + 20
    while not condition():
        assert time.time() < end, "it never happened"
        time.sleep(0.02)


def state(guest):
    return ctl("inspect", "--json", guest).json()[0]["state"]


# ---- the host and its images ----

def test_info():
    r = ctl("info")
    assert "Creel fake" in r.out and "2.0 GiB" in r.out, r
    i = ctl("--json", "info").json()
    assert i["cores"] == 2 and i["boot_id"] == "112233445566778899aabbccddeeff00", i
    assert i["frames"]["total"] == 524288 and i["connections"] == 1, i


def test_stats_and_log():
    put("one", "exit 0\n")
    ctl("run", "one")
    s = ctl("stats", "--json").json()
    assert s["meters"]["meter_4"]["count"] == 1 and s["frames"]["free"] == 500000, s
    ctl("stats", "--reset")
    assert ctl("stats", "--json").json()["meters"]["meter_4"]["count"] == 0
    assert "listening" in ctl("log").out
    assert ctl("log", "--json").json()[-1] == "management: listening"


def test_put_and_images():
    put("tool", "exit 0\n")
    r = ctl("put", os.path.join(folder.name, "tool.elf"), "other")
    assert r.out.startswith("other (image "), r
    i = ctl("images", "--json").json()
    assert [x["name"] for x in i] == ["tool", "other"] and i[0]["size"] == 7, i
    assert ctl("images", "-q").out.split() == [str(x["id"]) for x in i]
    assert ctl("images").out.splitlines()[0].split()[:2] == ["ID", "NAME"]
    ctl("rmi", "tool", "other")
    assert ctl("images", "--json").json() == []
    assert "no image named tool" in ctl("rmi", "tool", status=REFUSED).err


def test_put_of_what_is_no_image():
    path = os.path.join(folder.name, "zero")
    with open(path, "wb") as f:
        f.write(b"\0" * 100000)
    assert "no ELF" in ctl("put", path, status=REFUSED).err
    open(path, "w").close()
    assert "empty" in ctl("put", path, status=REFUSED).err
    assert "No such file" in ctl("put", path + "-not", status=REFUSED).err
    assert "regular file" in ctl("put", folder.name, status=REFUSED).err
    assert "can't be a name" in ctl("put", CREELCTL, "12", status=REFUSED).err


def test_large_upload():
    text = "echo big\nexit 0\n" + "#" * (5 << 20)
    put("large", text)
    assert ctl("images", "--json").json()[0]["size"] == len(text)
    assert ctl("run", "large").out == "big\n"


def large_file(name):
    path = os.path.join(folder.name, name)
    with open(path, "wb") as f:
        f.write(b"echo whole\nexit 0\n" + os.urandom(2 << 20).hex().encode())
    return path, os.path.getsize(path)


def test_put_goes_on_over_new_connections():
    path, size = large_file("cut")
    under_way = 256 << 10  # the credit of an upload: at most so much is lost each time
    wire = Wire(host.port, [1 << 20, 1 << 20, 1 << 20])
    r = ctl("put", path, env={"CREEL_HOST": wire.address})
    assert r.out.startswith("cut (image "), r
    assert r.err.count("goes on at ") == 3 and r.err.count("of 4.0 MiB") == 3, r
    most = size + size // 100 + 3 * (under_way + 20000)
    assert len(wire.sent) == 4 and size < sum(wire.sent) < most < 2 * size, wire.sent
    assert ctl("run", "cut").out == "whole\n"
    assert ctl("images", "-aq").out == ctl("images", "-q").out
    # each connection has to get further than the one before
    wire = Wire(host.port, [2 << 20] + 20 * [500])
    r = ctl("put", large_file("never")[0], env={"CREEL_HOST": wire.address}, status=CONNECTION)
    assert len(wire.sent) <= 3, wire.sent
    wait_for(lambda: "upload" in ctl("images", "-a").out)
    kept = [i for i in ctl("images", "-a", "--json").json() if i["kind"] == "upload"]
    assert [i["name"] for i in kept] == ["never"], kept
    assert (2 << 20) - under_way - 40000 < kept[0]["received"] < 2 << 20, kept
    assert re.search("upload, 4[0-9]%", ctl("images", "-a").out) and "never" not in ctl("images").out
    ctl("rmi", kept[0]["id"])
    assert "never" not in ctl("images", "-a").out


def test_put_goes_on_after_a_client_that_vanished():
    path, size = large_file("gone")
    wire = Wire(host.port, [size // 2], vanish=True)
    client = subprocess.Popen([CREELCTL, "put", path], env=environment(CREEL_HOST=wire.address),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wire.over.wait(TIMEOUT)
    client.kill()
    client.wait()
    time.sleep(3.2)  # SERVER_SILENT_US: until then it might only be slow, and this be another upload
    end = time.time() + TIMEOUT
    while True:
        second = Wire(host.port, [])
        r = ctl("put", path, env={"CREEL_HOST": second.address})
        if "goes on at " in r.err:
            break
        assert time.time() < end, "it never goes on"
        time.sleep(0.2)
    assert r.err.count("goes on at ") == 1, r
    assert size // 2 < sum(second.sent) < size // 2 + (256 << 10) + 60000, (second.sent, size)
    assert ctl("run", "gone").out == "whole\n"
    # all of it was used up: the next begins anew, and nothing is said of it
    assert ctl("put", path, "again").err == ""
    wire.close()


# ---- running ----

def test_run_passes_everything_through():
    put("all", "echo to-out\nerr to-err\nargs\nenv\ncat\nexit 42\n")
    r = ctl("run", "-i", "-e", "A=1", "--env=B=two words", "--name", "me", "all", "-x", "--json", "z",
            stdin=b"line\n\0binary\xff\n".replace(b"\xff", b""), status=42)
    assert r.out == "to-out\nall\n-x\n--json\nz\nA=1\nB=two words\nline\n\0binary\n", r
    assert r.err == "to-err\n", r
    assert ctl("inspect", "--json", "me").json()[0]["exit_status"] == 42


def test_run_without_i_leaves_stdin_alone():
    put("cat", "cat\nexit 5\n")
    assert ctl("run", "cat", stdin=b"not for you", status=5).out == ""


def test_run_large_streams():
    put("flood", "flood 3000000\nexit 0\n")
    out = ctl("run", "flood").out
    assert out == ("abcdefghijklmnopqrstuvwxyz" * 115385)[:3000000]
    put("cat", "cat\n")
    text = os.urandom(150000).hex().encode()
    assert ctl("run", "-i", "cat", stdin=text).out == text.decode()


def bytes_not_taken():
    """Of all that the host has sent, what its clients' systems have no room for."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f][1:]
    return [int(r[4].split(":")[0], 16) for r in rows if int(r[1].split(":")[1], 16) == host.port and r[3] == "01"]


def test_a_client_that_nobody_reads_does_not_hold_up_its_connection():
    put("flood", "flood 3000000\nexit 0\n")
    for args in (["run", "--rm", "flood"], ["exec", run_detached(put("linux", "agent\n")), "cat", "/dev/zero"]):
        p = subprocess.Popen([CREELCTL, *args], stdout=subprocess.PIPE, env=environment())
        before = None
        while (now := bytes_not_taken()) != before or not now:
            before = now
            time.sleep(1)
        assert now == [0], (args, now)
        p.kill()
        p.wait()
        p.stdout.close()


def test_run_json():
    put("prog", "echo \"quoted\\\\\terr\nerr bad\nexit 3\n")
    r = ctl("run", "--json", "prog", status=3).json()
    assert r["stdout"] == "\"quoted\\\\\terr\n" and r["stderr"] == "bad\n", r
    assert r["exit_status"] == 3 and r["stop"] == "exited" and r["state"] == "stopped", r


def test_run_rm():
    put("prog", "exit 0\n")
    ctl("run", "--rm", "prog")
    ctl("run", "-d", "--rm", "prog")
    wait_for(lambda: ctl("ps", "-aq").out == "")


def test_run_paused():
    put("prog", "echo hi\nexit 0\n")
    g = run_detached("prog", "--paused")
    assert state(g) == "paused"
    ctl("resume", g)
    assert ctl("wait", g).out == "0\n"
    assert ctl("logs", g).out == "hi\n"


def test_endings_have_statuses_of_their_own():
    put("crash", "crash divide by zero\n")
    r = ctl("run", "crash", status=134)
    assert "divide by zero" in r.err and "crashed" in r.err, r
    put("wait", "wait\n")
    g = run_detached("wait")
    ctl("kill", g)
    assert ctl("wait", g).out == "137\n"
    assert ctl("wait", "--json", g).json()[0]["stop"] == "killed"


def test_pause_by_a_limit_is_said():
    put("hungry", "echo a\npaused\necho b\nexit 0\n")
    p = subprocess.Popen([CREELCTL, "run", "--name", "h", "hungry"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=environment())
    assert "is paused (its budget of 64 pages has no page left)" in p.stderr.readline()
    assert "paused (memory limit)" in ctl("ps").out
    ctl("limit", "h", "--max-memory", "1M", "--weight", "7")
    i = ctl("inspect", "--json", "h").json()[0]
    assert i["max_pages"] == 256 and i["weight"] == 7, i
    ctl("resume", "h")
    assert p.communicate(timeout=TIMEOUT)[0] == "a\nb\n" and p.returncode == 0


def test_interrupt_kills_the_guest_of_run():
    put("wait", "echo up\nwait\n")
    p = subprocess.Popen([CREELCTL, "run", "--name", "w", "wait"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=environment())
    assert p.stdout.readline() == "up\n"
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=TIMEOUT)
    assert p.returncode == INTERRUPTED, p.returncode
    assert ctl("wait", "w").out == "137\n"


def test_closed_output_kills_the_guest_of_run():
    put("flood", "flood 50000000\nexit 0\n")
    p = subprocess.run(f"{CREELCTL} run --name f flood | head -c 10", shell=True, timeout=TIMEOUT,
                       capture_output=True, text=True, env=environment())
    assert p.stdout == "abcdefghij", p
    wait_for(lambda: state("f") == "stopped")


# ---- the verbs ----

def test_ps():
    put("wait", "wait\n")
    put("done", "exit 3\n")
    a, b = run_detached("wait", "--name", "a-1"), run_detached("done")
    ctl("wait", b)
    assert ctl("ps", "-q").out.split() == [a]
    assert ctl("ps", "-aq").out.split() == [a, b]
    lines = ctl("ps", "-a").out.splitlines()
    assert len(lines) == 3 and "a-1" in lines[1] and "waiting" in lines[1], lines
    assert "exited (3)" in lines[2] and "done" in lines[2], lines
    j = ctl("ps", "-a", "--json").json()
    assert [g["state"] for g in j] == ["waiting", "stopped"], j


def test_snapshot_fork_rollback_tree():
    put("base", "paused\nargs\nexit 0\n")
    g = run_detached("base", "--name", "root")
    wait_for(lambda: state(g) == "paused")
    s = ctl("snapshot", "root", "clean").out.strip()
    forks = ctl("fork", "-n", "3", "--name", "kid", "--paused", "clean").out.split()
    assert len(forks) == 3
    j = ctl("fork", "--json", "-n2", "--paused", g).json()
    assert [x["index"] for x in j] == [0, 1] and j[0]["id"] < j[1]["id"], j
    assert ctl("inspect", "--json", "kid-2").json()[0]["id"] == int(forks[1])
    ctl("rollback", "root", s)
    assert [x["name"] for x in ctl("snapshots", "--json", "root").json()] == ["clean"]
    tree = ctl("tree").out
    assert f"└─ {g} root" in tree and f"├─ ◆ {s} clean" in tree, tree
    assert f"   │  ├─ {forks[0]} kid-1" in tree and f"   │  └─ {forks[2]} kid-3" in tree, tree
    t = ctl("tree", "--json").json()
    kids = t[0]["children"][0]["children"]
    assert [k["kind"] for k in kids] == ["snapshot", "guest", "guest"], t
    # attached, with arguments of its own
    assert ctl("fork", "--attach", "clean", "own").out == "clean\nown\n"
    # options may follow the source, unless they are arguments, and -- says so
    assert len(ctl("fork", "clean", "-n", "3", "--paused").out.split()) == 3
    assert ctl("fork", "clean", "--attach", "--", "-n", "3").out == "clean\n-n\n3\n"
    assert "no option -x" in ctl("fork", "clean", "-x", status=USAGE).err
    # what is gone still holds its children together
    ctl("rm", "clean")
    assert f"{s} (removed)" in ctl("tree").out
    r = ctl("rollback", "root", "clean", status=REFUSED)
    assert "no snapshot named clean" in r.err, r


def test_labels_and_batches():
    put("wait", "wait\n")
    a = run_detached("wait", "-l", "app=web", "--label", "tier=1", "--name", "a")
    b = run_detached("wait", "-l", "app=web")
    c = run_detached("wait", "-l", "app=db")
    assert ctl("ps", "-q", "-l", "app=web").out.split() == [a, b]
    assert ctl("ps", "-q", "-l", "app=web,tier").out.split() == [a]
    ctl("label", b, "app-", "new=1")
    assert ctl("inspect", "--json", b).json()[0]["labels"] == "new=1"
    assert "labels       app=web,tier=1" in ctl("inspect", a).out
    f = ctl("fork", "-l", "tier=2", "a").out.strip()
    assert ctl("inspect", "--json", f).json()[0]["labels"] == "app=web,tier=2"
    s = ctl("snapshot", a).out.strip()
    assert ctl("snapshots", "-q", "-l", "tier=1").out.split() == [s]
    assert ctl("kill", "-l", "app=web").out.split() == [a, f]
    assert ctl("rm", "-l", "app=web").out.split() == [a, f, s]
    assert ctl("rm", "-f", "-l", "app").out.split() == [c]
    assert ctl("ps", "-aq").out.split() == [b]
    assert "KEY=VALUE" in ctl("run", "-d", "-l", "x", "wait", status=REFUSED).err
    assert "not both" in Result(["kill", "-l", "app", b], b"").err
    assert "give targets" in Result(["kill"], b"").err
    j = ctl("kill", "-l", "new", "--json").json()
    assert j == [{"target": b, "ok": True, "error": ""}], j


def test_a_batch_of_many():
    put("wait", "wait\n")
    ids = ctl("fork", "-n", 3000, run_detached("wait")).out.split()
    assert ctl("kill", *ids).out.split() == ids
    assert ctl("rm", *ids).out.split() == ids
    assert len(ctl("ps", "-aq").out.split()) == 1


def test_timeouts():
    put("wait", "wait\n")
    r = ctl("run", "--timeout", "50ms", "wait", status=142)
    assert "deadline" in r.err and "its time is over" in r.err, r
    g = run_detached("wait", "--timeout=1.5h")
    assert "1 hour left" in ctl("ps").out
    i = ctl("inspect", "--json", g).json()[0]
    assert i["timeout_ns"] == 5400 * 10**9 and 0 < i["deadline_ns"] <= i["timeout_ns"], i
    ctl("limit", "--timeout", "1ms", g)
    assert ctl("wait", g).out == "142\n"
    for bad in ["soon", "5x", "-1s", "0"]:
        assert "takes a time" in Result(["run", f"--timeout={bad}", "wait"], b"").err


def test_events():
    put("wait", "wait\n")
    run_detached("wait", "--name", "old")
    p = subprocess.Popen([CREELCTL, "events", "--json"], stdout=subprocess.PIPE, text=True,
                         env=environment())
    assert json.loads(p.stdout.readline())["what"] == "none"
    g = run_detached("wait", "--name", "w", "-l", "a=b")
    ctl("kill", g)
    ctl("rm", g)
    got = [json.loads(p.stdout.readline()) for _ in range(3)]
    p.kill()
    p.wait()
    assert [(e["what"], e["kind"], e["id"]) for e in got] == [
        (w, "guest", int(g)) for w in ("created", "state", "removed")], got
    assert got[1]["stop"] == "killed" and got[0]["labels"] == "a=b", got


def test_publish():
    put("wait", "wait\n")
    run_detached("wait", "--name", "base")
    ctl("snapshot", "--public", "base", "one")
    ctl("snapshot", "base", "two")
    assert [s["public"] for s in ctl("snapshots", "--json").json()] == [True, False]
    assert "(public)" in ctl("snapshots").out
    ctl("publish", "two", "wait")
    ctl("publish", "--off", "one")
    assert [s["public"] for s in ctl("snapshots", "--json").json()] == [False, True]
    assert ctl("images", "--json").json()[0]["public"]
    assert ctl("info", "--json").json()["role"] == "admin"
    assert "there is no" in ctl("publish", "base", status=REFUSED).err


def test_tree_shortens_what_is_many():
    put("wait", "wait\n")
    g = run_detached("wait")
    assert len(ctl("fork", "-n", 1000, g).out.split()) == 1000
    assert "… and 980 more" in ctl("tree").out
    assert len(ctl("tree", "--full").out.splitlines()) == 1002


def test_several_targets_and_partial_failure():
    put("wait", "wait\n")
    g = [run_detached("wait") for _ in range(3)]
    r = ctl("kill", g[0], "nobody", g[2], status=REFUSED)
    assert r.out.split() == [g[0], g[2]] and "no guest named nobody" in r.err, r
    j = Result(["kill", "--json", g[1], "99999"], b"")
    assert j.status == REFUSED
    assert [x["ok"] for x in j.json()] == [True, False], j
    assert "kill it first" in ctl("rm", run_detached("wait"), status=REFUSED).err
    ctl("rm", *g)
    ctl("rm", "-f", *ctl("ps", "-q").out.split())
    assert ctl("ps", "-aq").out == ""


def test_logs_and_attach():
    put("talk", "echo one\nerr two\ncat\necho end\nexit 6\n")
    g = run_detached("talk", "-i", "--name", "t")
    wait_for(lambda: ctl("logs", "t").out == "one\n")
    assert ctl("logs", "--stderr", "t").err == "two\n"
    j = ctl("logs", "--json", "t").json()
    assert j["stdout"] == "one\n" and j["stderr"] == "two\n", j
    follow = subprocess.Popen([CREELCTL, "logs", "-f", "t"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, env=environment())
    assert follow.stdout.readline() == "one\n"
    r = ctl("attach", "-i", g, stdin=b"input\n", status=6)
    assert r.out == "input\nend\n", r
    assert follow.communicate(timeout=TIMEOUT)[0] == "input\nend\n" and follow.returncode == 0
    r = ctl("attach", "--from-start", "--json", g, status=6)
    lines = [json.loads(x) for x in r.out.splitlines()]
    assert lines[-1]["exit_status"] == 6 and "".join(
        x["data"] for x in lines[:-1] if x["stream"] == "stdout") == "one\ninput\nend\n", r


def test_dropped_output_is_said():
    put("flood", "flood 200000\nexit 0\n")
    g = run_detached("flood")
    ctl("wait", g)
    r = ctl("logs", g)
    assert len(r.out) == 65536 and "134464 bytes of stdout were dropped" in r.err, r.err


def test_names():
    put("wait", "wait\n")
    run_detached("wait", "--name", "taken")
    assert "is taken" in ctl("run", "-d", "--name", "taken", "wait", status=REFUSED).err
    assert "can't be a name" in ctl("run", "--name", "no good", "wait", status=REFUSED).err
    assert "neither a number nor a name" in ctl("kill", "a/b", status=REFUSED).err
    long = "x" * 60
    assert "prefix" in ctl("fork", "-n", 2, "--name", long, "taken", status=REFUSED).err
    assert "can't be a name" in ctl("snapshot", "taken", "-", status=REFUSED).err


# ---- the command line ----

def test_usage_errors_name_what_is_wrong():
    for args, words in [
            (["frok"], 'no command "frok"; did you mean "fork"?'),
            (["xyzzy"], '"creelctl help" lists them'),
            (["image"], '"image" needs another word'),
            (["image", "bild", "x"], 'no command "image bild"; did you mean "image build"?'),
            (["image", "build", "x"], "needs --kernel FILE"),
            (["run", "--cmdline", "quiet", "i"], "--cmdline goes with --kernel"),
            (["run", "--name", "", "i"], "--name needs a value that is not empty"),
            (["-H", "", "host", "poweroff", "--yes"], "--host needs a value that is not empty"),
            (["kill", "-l", ""], "--selector needs a value that is not empty"),
            (["ps", "--format="], "--format needs a value that is not empty"),
            (["version", "x"], "usage: creelctl version\n"),
            (["bench", "-c", "5000"], "at most 4096 together, not 5000 and 0"),
            (["host", "add", "n", "127.0.0.1:99999", "a" * 64], '"127.0.0.1:99999" is no address'),
            (["host", "add", "a b", "127.0.0.1", "a" * 64], "can't be a name"),
            (["run"], "usage: creelctl run"),
            (["info", "x"], "takes fewer arguments"),
            (["run", "--memory", "lots", "i"], '--memory takes a size as in 64M or 1.5G, not "lots"'),
            (["run", "--memory=", "i"], "--memory takes a size"),
            (["run", "--max-pages", "-1", "i"], "--max-pages takes a whole number"),
            (["run", "--weight", "99999", "i"], "--weight takes 1 to 10000"),
            (["run", "--nmae", "x", "i"], "did you mean --name?"),
            (["run", "-z", "i"], "no option -z"),
            (["run", "--detach=1", "i"], "--detach takes no value"),
            (["ps", "-H"], "-H needs a value"),
            (["fork", "-n", "0", "g"], "--count takes a whole number above 0"),
            (["fork", "-n", "100001", "g"], "1 to 100000"),
            (["fork", "-n", "2", "--attach", "g"], "--attach follows one fork"),
            (["limit", "g"], "changes nothing without"),
            (["-H", "a:b", "info"], 'is no address'),
            (["-H", "host:", "info"], 'is no address'),
            (["help", "nothing"], "no command"),
            ([], "")]:
        r = Result(args, b"")
        assert r.status == USAGE and words in r.err, r


def test_what_is_refused_before_much_was_done():
    r = ctl("ps", "-l", "a=b,,c", status=REFUSED)
    assert r.out == "" and "a label's key" in r.err, r
    assert "guest or snapshot named nosuch" in ctl("bench", "nosuch", status=REFUSED).err
    assert "no port" in ctl("exporter", "--listen", "127.0.0.1:99999", status=REFUSED).err
    text = os.path.join(folder.name, "text")
    with open(text, "w") as f:
        f.write("no image")
    assert f"{text}: " in ctl("put", text, "a b", status=REFUSED).err
    r = ctl("image", "build", "--kernel", text, text + ".bundle", status=REFUSED)
    assert f"{text} is no Linux kernel" in r.err and not os.path.exists(text + ".bundle"), r
    assert f"{text} is no Linux kernel" in ctl("run", "--kernel", text, status=REFUSED).err
    put("wait", "wait\n")
    run_detached("wait", "--name", "no-snapshot")
    assert "no snapshot or image named" in ctl("publish", "no-snapshot", status=REFUSED).err


def test_values_that_the_client_refuses():
    put("wait", "wait\n")
    assert "no environment setting" in ctl("run", "-e", "novalue", "wait", status=REFUSED).err
    assert "more than 15000 bytes" in ctl("run", "wait", "x" * 20000, status=REFUSED).err


def test_help():
    text = ctl("help").out
    for name in ["run", "fork", "snapshot", "rollback", "tree", "--json"]:
        assert name in text, name
    for line in text.split("Options:")[0].splitlines():
        if line.startswith("  "):
            command = line[2:18].strip()
            out = ctl("help", *command.split()).out
            assert f"usage: creelctl {command}" in out and "--host" in out, out
            assert max(map(len, out.splitlines())) <= 100, out
    assert ctl("run", "--help").out == ctl("help", "run").out
    assert "image build" in ctl("help", "image").out
    assert "usage: creelctl __complete" in ctl("help", "__complete").out


def test_no_host():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    r = ctl("-H", f"127.0.0.1:{s.getsockname()[1]}", "info", status=CONNECTION)
    assert "can't connect" in r.err, r
    assert "can't find host" in ctl("-H", "no.such.host.invalid", "info", status=CONNECTION).err


def test_something_else_answers():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
    address = f"127.0.0.1:{s.getsockname()[1]}"
    p = subprocess.Popen([CREELCTL, "-H", address, "info"], stderr=subprocess.PIPE, text=True,
                         env=environment())
    c, _ = s.accept()
    c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert f"what answers at {address} does not have the key {host.key}" in \
        p.communicate(timeout=TIMEOUT)[1]
    assert p.returncode == CONNECTION


def test_the_host_goes_away():
    global host
    mine = Host()
    other, host = host, mine
    try:
        put("wait", "echo up\nwait\n")
        p = subprocess.Popen([CREELCTL, "run", "wait"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=environment())
        assert p.stdout.readline() == "up\n"
        mine.stop()
        assert "connection" in p.communicate(timeout=TIMEOUT)[1]
        assert p.returncode == CONNECTION
    finally:
        host = other


def test_raw_connection_hears_nothing():
    s = socket.create_connection(("127.0.0.1", host.port), timeout=TIMEOUT)
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    try:
        assert s.recv(4096) == b""
    except ConnectionResetError:
        pass


def test_many_clients_at_once():
    put("prog", "args\nexit 0\n")
    running = [subprocess.Popen([CREELCTL, "run", "--rm", "prog", str(i)], stdout=subprocess.PIPE,
                                text=True, env=environment()) for i in range(12)]
    for i, p in enumerate(running):
        assert p.communicate(timeout=TIMEOUT)[0] == f"prog\n{i}\n" and p.returncode == 0
    info = ctl("info", "--json").json()
    assert info["connections"] == 1 and info["requests"] == 0, info


def run_tests(prefix, names):
    """All test_* of a module, each against a host of its own; the exit status."""
    global host
    bad = 0
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    for name, test in list(names.items()):
        if not name.startswith("test_") or only not in name:
            continue
        host = Host()
        try:
            test()
            host.stop()
            print(f"ok {prefix}_{name[5:]}")
        except Exception:
            traceback.print_exc()
            print(f"FAIL {prefix}_{name[5:]}")
            bad = 1
            host.process.kill()
        sys.stdout.flush()
    return bad


if __name__ == "__main__":
    sys.exit(run_tests("creelctl", globals()))
