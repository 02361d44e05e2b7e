"""Three times what the host takes, from several clients at once: what it accepts it carries out, what it
refuses it says so at once, nobody else waits for it, and afterwards nothing is left."""
import os
import struct
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hosts  # noqa: E402
import wire  # noqa: E402
from keys import KEYS, public_of  # noqa: E402
from run import CONF  # noqa: E402
from seal import Opening  # noqa: E402

CLIENTS = 3
IN_PROGRESS = 64  # requests of a connection, mgmt/server.h
ASKED = 3 * IN_PROGRESS
BATCH = 20  # forks of each request
E_RETRY = 7

PRIVATE = [os.urandom(32).hex() for _ in range(CLIENTS)]
LINES = "".join(f"authorized = {public_of(k)} operator flood{i}\n" for i, k in enumerate(PRIVATE))
hosts.MACHINES["burst"] = dict(kind="qemu", cpus=1, mem=512, conf=CONF + LINES)


def fork(number, source):
    return wire.fork(number, source, BATCH, wire.PAUSED)


class Flood(threading.Thread):
    """Sends all of its requests before it looks at an answer."""

    def __init__(self, host, private, source):
        super().__init__(daemon=True)
        self.host, self.private, self.source = host, private, source
        self.made, self.done, self.refused, self.open_at_refusal = [], [], [], []
        self.failure = None

    def run(self):
        try:
            self._run()
        except BaseException as e:
            self.failure = e

    def _run(self):
        sock = wire.connect(self.host)
        opening = Opening(bytes.fromhex(self.private), bytes.fromhex(KEYS.host))
        sock.sendall(opening.data)
        with wire.Client(self.host, socket=sock, sent=opening) as client:
            client.send(b"".join(fork(n, self.source) for n in range(1, ASKED + 1)))
            while len(self.done) + len(self.refused) < ASKED:
                self._take(*client.receive())

    def _take(self, kind, flags, number, payload):
        if kind == wire.RESULT:
            _, guest, code = struct.unpack_from("<IQH", payload)
            assert code == 0, payload
            self.made.append(guest)
        elif kind == wire.ERROR:
            code, retry_ms = struct.unpack_from("<HI", payload)
            assert code == E_RETRY and retry_ms > 0, payload
            self.refused.append(number)
            self.open_at_refusal.append(len(self.done))
        else:
            assert kind == wire.DONE and flags == wire.FINAL, kind
            assert struct.unpack_from("<Q", payload)[0] == BATCH
            self.done.append(number)


def test_three_times_too_much():
    host = hosts.host_for("burst")
    source = host.start("agent", "sleep", options=("--max-guests", "100000"))
    host.wait_state(source, "waiting")
    before = host.frames()
    floods = [Flood(host, k, int(source)) for k in PRIVATE]
    for f in floods:
        f.start()
    answered = 0
    with wire.Client(host) as polite:
        while any(f.is_alive() for f in floods):
            answered += 1
            polite.send(wire.frame(wire.GET_INFO, answered))
            kind, _, number, _ = polite.receive()
            assert (kind, number) == (wire.INFO, answered)
    for f in floods:
        assert f.failure is None, f.failure
        assert len(set(f.made)) == len(f.made) == BATCH * len(f.done)
        # a good part is refused, and a good part is carried out
        assert len(f.refused) >= ASKED // 4 and len(f.done) >= IN_PROGRESS, (len(f.done), len(f.refused))
        # the last refusal came while as much as may wait was still to be done: it did not wait for that
        waiting = len(f.done) - f.open_at_refusal[-1]
        assert waiting >= IN_PROGRESS // 2, waiting
        # what was accepted is done about in the order in which it was asked for
        accepted = {n: i for i, n in enumerate(sorted(f.done))}
        assert all(abs(accepted[n] - i) <= IN_PROGRESS for i, n in enumerate(f.done))
    assert answered >= 5, answered
    made = [g for f in floods for g in f.made]
    for at in range(0, len(made), 500):
        host.command("kill", *made[at:at + 500])
        host.command("rm", *made[at:at + 500])
    info = host.json("info")
    assert info["connections"] == 1 and info["requests"] == 0, info
    after = host.frames()
    # accounts lie in frames that are kept for the next ones
    assert all(after[k] == before[k] for k in ("table", "data", "stream", "image")), (before, after)
    host.remove(source)
    host.check()
