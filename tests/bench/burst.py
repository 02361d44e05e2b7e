"""What management costs: requests over one sealed connection, handshakes, batches, and connections.

Instructions come from meter `manage` (hv/service.c), which counts the turns of the service core in which
frames came in or there was work; asking for the meters is a request itself, whose own cost is taken
away. The path of one request, from Ethernet frame in to frame out, comes from a recording (trace.py).
"""
import glob
import os
import re
import subprocess

from client import Failed

REPEAT = 9
BATCH = 1000
CONNECTIONS = 1000
CRYPTO = ("mgmt/crypto/*.o", "mgmt/noise.o", "lib/chacha20.o")


def median(values):
    return sorted(values)[len(values) // 2]


def request_windows(trace):
    """Of each turn in which a frame came in: its steps from there to the end of what the turn sends."""
    program = trace.program
    starts = {name: address for address, name in program.functions}
    begin, windows = None, []
    for i, (address, in_guest) in enumerate(trace.steps):
        if in_guest:
            continue
        if address == starts["net_input"] and begin is None:
            begin = i
        elif begin is not None and (address == starts["net_next_timer"] or
                                    program.function(address) == "run_turn"):
            windows.append((begin, i))
            begin = None
    return windows


class Burst:
    def __init__(self, host, root, recorder, source):
        self.host, self.root, self.recorder, self.source = host, root, recorder, source
        self.client = host.client

    def _cost(self, operation):
        """(instructions of management, the operation's result)"""
        def ticks():
            return self.client.meters()["manage"]["ticks"]
        ticks()
        before, between = ticks(), ticks()
        result = operation()
        after = ticks()
        return self.host.instructions(after - between - (between - before)), result

    def measure(self, out):
        handshakes, forks = [], []
        for _ in range(REPEAT):
            cost, other = self._cost(self.host.connect)
            handshakes.append(cost)
            other.close()
            self.host.settle()
            cost, ids = self._cost(lambda: self.client.fork(self.source))
            forks.append(cost)
            self.host.kill(*ids)
        out["handshake_instructions"] = median(handshakes)
        out["fork_request_all_instructions"] = median(forks)
        batch, ids = self._cost(lambda: self.client.fork(self.source, BATCH))
        if len(ids) != BATCH or not all(ids):
            raise Failed(f"{len(ids)} of {BATCH} forks in one request")
        out["batch_fork_instructions"] = batch / BATCH
        self.host.kill(*ids)
        self.host.settle()
        self._request_path(out)

    def _request_path(self, out):
        crypto = set()
        for pattern in CRYPTO:
            for path in glob.glob(os.path.join(self.root, "build", "creel.d", pattern)):
                names = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout
                crypto |= set(re.findall(r" [tT] (\S+)", names))
        paths = []
        for _ in range(3):
            # (the answer is here before the turn that sent it is over)
            ids, trace = self.recorder.record(
                lambda: (self.client.fork(self.source), self.host.settle())[0])
            self.host.kill(*ids)
            entry = {name: address for address, name in trace.program.functions}["guest_fork"]
            windows = [trace.window(a, b) for a, b in request_windows(trace)
                       if any(step[0] == entry for step in trace.steps[a:b])]
            if len(windows) != 1:
                raise Failed(f"{len(windows)} turns fork, and not one")
            paths.append(windows[0])
        path = sorted(paths, key=lambda w: w.instructions)[1]
        self.path = path
        out["sealed_fork_request_instructions"] = path.instructions
        out["sealed_fork_request_crypto_instructions"] = \
            sum(n for name, n in path.functions.items() if name in crypto)

    def connections(self, out):
        """All that connections have taken from memory at the start, and as many open at once as is said."""
        said = re.search(r"; (\d+) connections in (\d+) KiB", self.host.machine.serial)
        if int(said[1]) < CONNECTIONS:
            raise Failed(f"this machine has no room for {CONNECTIONS} connections")
        before = self.host.settle()["frames"]["host"]
        load = self.host.json("bench", "-c", "8", "-n", "400", "--idle", str(CONNECTIONS - 8),
                              "--mix", "info", timeout=1800)
        if load["operations"][-1]["requests"] != 400:
            raise Failed(f"with {CONNECTIONS} connections open: {load}")
        grown = (self.host.settle()["frames"]["host"] - before) * 4096
        out["bytes_per_connection"] = (int(said[2]) * 1024 + max(grown, 0)) / int(said[1])

    def load(self):
        """What this emulated machine did under load; no claim about any other."""
        for clients in (1, 8, 32):
            got = self.host.json("bench", "-c", str(clients), "-n", "600", self.source, timeout=1800)
            for o in got["operations"]:
                yield clients, o
