"""From an image to a thousand forks: what a client does with guests, on all machines."""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hosts import Attached, on, unchanged  # noqa: E402
import wire  # noqa: E402
from wire import Client  # noqa: E402

ALL = ("qemu1", "qemu2", "bochs")
QEMU = ("qemu1", "qemu2")
MS = 1000000


def shell(host, *options):
    """A guest that obeys lines, and its number."""
    client = host.attach("agent", "shell", options=options)
    client.ask("set 0 0")
    found = [g for g in host.json("ps") if g["name"] != "canary"]
    return client, max(g["id"] for g in found)


@on(*ALL)
def arguments_environment_and_status(host):
    with unchanged(host):
        out = host.run("agent", "environment", "two words", "", "-x",
                       options=["-e", "A=1", "-e", "B=x=y z", "-e", "EMPTY="]).text
        assert out == "agent\nenvironment\ntwo words\n\n-x\nA=1\nB=x=y z\nEMPTY=\nNONE=(none)\n", out
        host.run("agent", "status", "0")
        host.run("agent", "status", "124", status=124)
        result = host.run("agent", "nonsense", status=2)
        assert result.err == b'agent: "nonsense" is nothing it can do\n', result


@on(*ALL)
def listed_logged_killed_removed(host):
    with unchanged(host):
        guest = host.start("agent", "sleep", options=["--name", "sleeper"])
        assert host.wait_state("sleeper", "waiting")["id"] == int(guest)
        assert "sleeper" in host.command("ps").text
        assert "sleeper" in host.command("tree").text
        host.command("rm", "sleeper", status=125)
        host.command("kill", "sleeper")
        stopped = host.get("sleeper")
        assert (stopped["state"], stopped["stop"]) == ("stopped", "killed"), stopped
        assert "sleeper" not in host.command("ps").text
        assert "sleeper" in host.command("ps", "-a").text
        host.command("kill", "sleeper", status=125)
        host.command("rm", "sleeper")
        host.command("inspect", guest, status=125)


@on(*ALL)
def logs_of_a_stopped_guest(host):
    guest = host.start("hello", "one", "two")
    host.wait_state(guest, "stopped")
    out = host.command("logs", guest).text
    assert out.splitlines()[1:] == ["argument 0: hello", "argument 1: one", "argument 2: two"], out
    host.remove(guest)


@on(*ALL)
def attached_and_detached(host):
    first, guest = shell(host, "--name", "attached")
    first.ask("set 3 77")
    second = Attached(host, "attach", "attached")
    time.sleep(0.3)
    assert first.ask("get 3") == ["77"]
    assert second.line() == "77"
    second.drop()
    assert first.ask("get 3") == ["77"]
    assert first.end() == 0
    host.remove(guest)


@on(*QEMU)
def thousand_forks_are_a_thousand_guests(host):
    count = 1000
    fork_unique(host, count)


@on("bochs")
def hundred_forks_are_a_hundred_guests(host):
    fork_unique(host, 100)


def fork_unique(host, count):
    with unchanged(host):
        parent = host.start("agent", "warm", "64", options=["--name", "parent"])
        host.wait_output(parent, "warm\n")
        began = time.time_ns()
        forks = [g["id"] for g in host.json("fork", "-n", count, "parent")]
        assert len(set(forks)) == count
        with Client(host) as client:
            outputs = client.outputs(forks)
        host_wall = host.json("info")["wall_ns"]
        assert len(outputs) == count
        parts = [out.decode().split() for out in outputs]
        assert all(len(p) == 4 and len(p[0]) == 64 for p in parts), parts[:5]
        assert len({p[0] for p in parts}) == count, "two forks drew the same"
        assert len({p[1] for p in parts}) == count, "two forks have the same generation"
        took = time.time_ns() - began
        for p in parts:
            assert 0 <= host_wall - int(p[2]) <= took + 5000 * MS, (p, host_wall)
        host.command("kill", "parent")
        with Client(host) as client:
            client.remove(forks)
        host.command("rm", "parent")


@on(*ALL)
def rollback_brings_memory_back(host):
    with unchanged(host):
        client, guest = shell(host)
        client.ask("set 5 50")
        client.ask("touch 100")
        host.command("snapshot", "--name", "before", guest)
        generation = int(client.ask("time")[0].split()[2])
        for i in range(64):
            client.ask(f"set {i} 99")
        host.command("rollback", guest, "before")
        assert client.ask("get 5") == ["50"]
        assert client.ask("get 6") == ["0"]
        assert int(client.ask("time")[0].split()[2]) > generation
        client.ask("set 5 51")
        host.command("rollback", guest, "before")
        assert client.ask("get 5") == ["50"]
        assert client.end() == 0
        host.command("rm", guest)
        host.command("rm", "before")


@on(*ALL)
def rollback_of_a_crashed_guest(host):
    with unchanged(host):
        client, guest = shell(host)
        client.ask("set 63 70")
        host.command("snapshot", "--name", "alive", guest)
        client.ask("set 63 71")
        client.say("crash on purpose")
        assert client.process.wait(60) == 134
        crashed = host.get(guest)
        assert crashed["stop"] == "crashed" and crashed["reason"] == "crashed: on purpose", crashed
        host.command("rollback", guest, "alive")
        again = Attached(host, "attach", "-i", str(guest))  # its input ended when its client did
        assert again.ask("get 63") == ["70"]
        again.say("exit 0")
        ended = host.wait_state(guest, "stopped")
        assert (ended["stop"], ended["exit_status"]) == ("exited", 0), ended
        again.drop()
        host.command("rm", guest)
        host.command("rm", "alive")


@on(*ALL)
def guest_snapshots_and_rolls_back_itself(host):
    with unchanged(host):
        client, guest = shell(host)
        client.ask("set 1 11")
        snapshot = int(client.ask("snapshot mine")[0])
        assert snapshot > 0
        client.ask("set 1 12")
        assert client.ask(f"rollback {snapshot}") == ["0"]  # as the snapshot call, come back to
        assert client.ask("get 1") == ["11"]
        assert client.ask("rollback 1") == ["-5"]
        fork = host.json("fork", "mine")[0]["id"]
        host.wait_state(fork, "stopped")  # its input is at its end
        assert host.command("logs", fork).text == "0\nok\nend 0\n"
        assert client.end() == 0
        host.command("rm", guest)
        host.command("rm", fork)
        host.command("rm", "mine")


@on(*ALL)
def clock_stands_still_while_paused(host):
    client, guest = shell(host)
    mono, wall, _ = map(int, client.ask("time")[0].split())
    host.command("pause", guest)
    host.command("pause", guest, status=125)
    time.sleep(3)
    host.command("resume", guest)
    mono2, wall2, _ = map(int, client.ask("time")[0].split())
    slept = (wall2 - wall) - (mono2 - mono)
    assert mono2 > mono
    if host.name == "bochs":  # its clock runs by instructions, not by ours
        assert slept > 0, slept
    else:
        assert 2800 * MS < slept < 60000 * MS, slept
    assert client.end() == 0
    host.command("rm", guest)


@on(*ALL)
def paused_spinner_uses_no_processor(host):
    guest = host.start("agent", "spin")
    host.command("pause", guest)
    before = host.get(guest)["cpu_ns"]
    time.sleep(0.5)
    assert host.get(guest)["cpu_ns"] == before
    host.command("resume", guest)
    end = time.monotonic() + 60
    while host.get(guest)["cpu_ns"] == before:
        assert time.monotonic() < end
        time.sleep(0.1)
    host.remove(guest)


@on(*ALL)
def memory_limit_pauses_and_goes_on(host):
    with unchanged(host):
        guest = host.start("agent", "touch", "300", options=["--max-pages", "150"])
        paused = host.wait_state(guest, "paused")
        assert paused["stop"] == "memory limit", paused
        assert paused["reason"] == "reached its memory limit of 150 pages: raise the limit", paused
        assert paused["budget_pages"] <= 150
        host.canary()
        host.command("limit", "--max-pages", "600", guest)
        done = host.wait_state(guest, "stopped")
        assert (done["stop"], done["exit_status"]) == ("exited", 0), done
        assert host.command("logs", guest).text == "touched 300\n"
        host.command("rm", guest)


@on(*ALL)
def fork_bomb_meets_its_own_budget(host):
    with unchanged(host):
        bomb = host.start("agent", "bomb", options=["--max-guests", "40", "--name", "bomb"])
        end = time.monotonic() + 60
        while len(family := [g for g in host.json("ps") if g["lineage"] == int(bomb)]) < 41:
            assert time.monotonic() < end, len(family)
            time.sleep(0.1)
        for _ in range(5):
            host.canary()
            family = [g for g in host.json("ps") if g["lineage"] == int(bomb)]
            assert len(family) <= 41
        # What is killed would make room for another fork.
        host.command("limit", "--max-guests", "1", "bomb")
        while family := [g["id"] for g in host.json("ps", "-a") if g["lineage"] == int(bomb)]:
            assert time.monotonic() < end + 60
            host.command("kill", *family, status=None)
            host.command("rm", *family, status=None)


@on("qemu1")
def host_reserve_pauses_who_asks_for_more(host):
    with unchanged(host):
        pages = host.json("info")["frames"]["total"]
        hog = host.start("agent", "touch", pages, options=["-m", "1G", "--max-pages", 2 * pages])
        paused = host.wait_state(hog, "paused", "stopped", timeout=300)
        assert (paused["state"], paused["stop"]) == ("paused", "host full"), paused
        assert paused["reason"].startswith("the host has no free memory"), paused
        host.canary()
        frames = host.json("info")["frames"]
        refused = host.command("run", "-d", "hello", status=125)
        assert b"memory" in refused.err, refused
        assert frames["free"] <= frames["reserve"] + 512, frames
        host.command("kill", hog)
        host.command("rm", hog)
        host.run("hello")


@on(*ALL)
def half_a_thousand_waiting_guests_cost_nothing(host):
    count = 100 if host.name == "bochs" else 500
    with unchanged(host):
        first = host.start("agent", "sleep")
        host.wait_state(first, "waiting")
        sleepers = [g["id"] for g in host.json("fork", "-n", count, first)]
        while host.json("info")["guests"]["waiting"] < count + 2:  # these, the first, the canary
            time.sleep(0.1)
        mine = set(sleepers)

        def used():
            return {g["id"]: (g["exits"], g["cpu_ns"]) for g in host.json("ps") if g["id"] in mine}

        before = used()
        assert len(before) == count
        time.sleep(1)
        assert used() == before
        host.command("kill", first, *sleepers)
        host.command("rm", first, *sleepers)


@on(*ALL)
def spinner_is_preempted(host):
    """It runs with interrupts off; there are more of them than cores."""
    spinners = [host.start("agent", "spin") for _ in range(host.cores + 1)]
    for _ in range(3):
        host.canary()
    assert "argument 0: hello" in host.run("hello").text
    seen = [host.get(g)["cpu_ns"] for g in spinners]
    assert all(ns > 0 for ns in seen), seen
    host.remove(*spinners)


@on("qemu1", "bochs")
def shares_follow_weights(host):
    ms = 600 if host.name == "bochs" else 3000
    guests = [host.start("agent", "count", ms, options=["--paused", "--weight", w])
              for w in (100, 300)]
    for g in guests:
        host.command("resume", g)
    light, heavy = [int(host.command("logs", g).text) for g in guests
                    if host.wait_state(g, "stopped")]
    assert 2.0 < heavy / light < 4.2, (light, heavy)
    host.remove(*guests)


@on("qemu1", "bochs")
def equal_weights_get_equal_shares(host):
    ms = 600 if host.name == "bochs" else 3000
    guests = [host.start("agent", "count", ms, options=["--paused"]) for _ in range(4)]
    for g in guests:
        host.command("resume", g)
    counts = [int(host.command("logs", g).text) for g in guests if host.wait_state(g, "stopped")]
    assert max(counts) / min(counts) < 1.5, counts
    host.remove(*guests)


@on("qemu2")
def idle_core_steals(host):
    """Two spinners on two cores: neither shares one for long."""
    guests = [host.start("agent", "spin") for _ in range(2)]
    time.sleep(0.5)
    before, began = [host.get(g)["cpu_ns"] for g in guests], host.json("info")["uptime_ns"]
    time.sleep(2)
    after, ended = [host.get(g)["cpu_ns"] for g in guests], host.json("info")["uptime_ns"]
    share = [(b - a) / (ended - began) for a, b in zip(before, after)]
    assert min(share) > 0.6, share
    host.remove(*guests)


@on(*ALL)
def time_limits_of_paused_guests(host):
    """One counts on, the other stands still until the guest goes on."""
    with unchanged(host):
        still = host.start("agent", "sleep", options=["--paused", "--timeout", "1s", "--timeout-running"])
        counts = host.start("agent", "sleep", options=["--paused", "--timeout", "1s"])
        assert host.wait_state(counts, "stopped")["stop"] == "deadline"
        paused = host.get(still)
        assert paused["state"] == "paused" and 999 * MS < paused["deadline_ns"] <= 1000 * MS, paused
        host.command("resume", still)
        assert host.wait_state(still, "stopped")["stop"] == "deadline"
        host.command("rm", still, counts)


@on("qemu2", "bochs")
def an_answer_that_is_lost(host):
    """The client asks again with the same key, on other connections: one guest is made."""
    with unchanged(host):
        parent = int(host.start("agent", "sleep"))
        key, made = os.urandom(16), set()
        with Client(host) as client:
            client.send(wire.fork(1, parent, key=key))  # and it goes without listening
        for _ in range(3):
            with Client(host) as client:
                (_, result), (done, _) = client.all({1: wire.fork(1, parent, key=key)})[1]
                assert done == wire.DONE
                made.add(struct.unpack_from("<IQ", result)[1])
        guests = {g["id"] for g in host.json("ps", "-a") if g["name"] != "canary"}
        assert len(made) == 1 and guests == {parent} | made, (guests, made)
        host.remove(parent, *made)


@on("qemu2")
def a_thousand_in_one_request(host):
    """An answer for each; listed in pages by their label, and killed and removed by it."""
    with unchanged(host), Client(host) as client:
        parent = int(host.start("agent", "sleep"))

        def results(request):
            *each, (last, payload) = client.all({1: request})[1]
            found = [struct.unpack_from("<IQH", p) for kind, p in each if kind == wire.RESULT]
            assert last == wire.DONE and [i for i, _, _ in found] == list(range(1000)), (last, len(found))
            assert struct.unpack_from("<Q", payload) == (1000,) and {code for _, _, code in found} == {0}
            return [guest for _, guest, _ in found]

        def batch(action):
            return wire.frame(wire.BATCH, 1, wire.KEY + struct.pack("<HB", action, 0) + wire.string("of=thousand") +
                              struct.pack("<I", 0))

        forks = results(wire.fork(1, parent, 1000, labels="of=thousand"))
        after, sizes, listed = 0, [], []
        while after or not sizes:
            ask = struct.pack("<QIQB", after, 300, 0, 1) + wire.string("of=thousand")
            *page, (_, done) = client.all({1: wire.frame(wire.LIST_GUESTS, 1, ask)})[1]
            count, after = struct.unpack_from("<QQ", done)
            assert count == len(page)
            sizes.append(count)
            listed += [struct.unpack_from("<Q", p)[0] for _, p in page]
        assert sizes == [300, 300, 300, 100] and listed == forks == sorted(forks), sizes
        assert results(batch(wire.KILL)) == forks
        assert results(batch(wire.REMOVE)) == forks
        host.remove(parent)
