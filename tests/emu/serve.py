#!/usr/bin/python3
"""A host to play with: starts the appliance in the background and leaves it running.

    tests/emu/serve.py start [--cpus N] [--mem MIB] [--port N] [--image FILE]... [--tcg]
    tests/emu/serve.py status
    tests/emu/serve.py stop

KVM runs it where /dev/kvm gives nested virtualisation, else QEMU emulates an AMD-V machine. One host
for each source tree; its serial log is build/run/serial.log. Its key and its client's are made anew, and lie
in build/run/keys, a configuration folder of creelctl, until it is stopped.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from keys import Keys  # noqa: E402
from run import MANAGEMENT_PORT, ROOT, Died, Machine, Timeout, free_port, kvm_works  # noqa: E402

# CREEL_RUN lets a test keep its host apart from a person's
RUN = os.environ.get("CREEL_RUN", os.path.join(ROOT, "build", "run"))
STATE = os.path.join(RUN, "state.json")
LOG = os.path.join(RUN, "serial.log")
KEYS = os.path.join(RUN, "keys")
READY = r"\] address: \d+\.\d+\.\d+\.\d+"
START_SECONDS = 200


def port_is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def state():
    """What the running host wrote down about itself, or None."""
    try:
        with open(STATE) as f:
            known = json.load(f)
        with open(f"/proc/{known['pid']}/stat") as f:
            started = f.read().rsplit(")", 1)[1].split()[19]
    except (OSError, ValueError, KeyError):
        return None
    return known if started == known["started"] else None


def write_state(**fields):
    with open("/proc/self/stat") as f:
        started = f.read().rsplit(")", 1)[1].split()[19]
    with open(STATE + ".new", "w") as f:
        json.dump(dict(fields, pid=os.getpid(), started=started), f)
    os.replace(STATE + ".new", STATE)


def serve(a, port, ready):
    """In the background process: tell the pipe `ready` how the start went, then stay."""
    accel = "tcg" if a.tcg or not kvm_works() else "kvm"
    images = {os.path.basename(i): i for i in a.image}
    shutil.rmtree(KEYS, ignore_errors=True)
    keys = Keys(KEYS)
    with open(os.path.join(KEYS, "creel", "config"), "w") as f:
        f.write(f"host = here 127.0.0.1:{port} {keys.host}\n")
    machine = Machine("qemu", cpus=a.cpus, mem=a.mem, accel=accel, port=port,
                      conf="console = serial\n" + keys.conf, images=images, echo=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with machine as m:
        try:
            m.wait_for(READY, START_SECONDS, fail=r"creel: cannot start|PANIC")
        except (Timeout, Died, AssertionError) as e:
            os.write(ready, f"the host did not start: {e}\n{m.emulator_log}".encode())
            os.close(ready)
            return
        write_state(port=port, accel=accel)
        os.write(ready, b"ok")
        os.close(ready)
        m.process.wait()


def start(a):
    known = state()
    if known:
        print("a host is running already")
        show(known)
        return 0
    os.makedirs(RUN, exist_ok=True)
    port = a.port or (MANAGEMENT_PORT if port_is_free(MANAGEMENT_PORT) else free_port())
    print("starting a host; the firmware takes some seconds", flush=True)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(reader)
        with open(LOG, "w") as log:
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        try:
            serve(a, port, writer)
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as f:
        answer = f.read().decode(errors="replace")
    if answer != "ok":
        print(answer or f"the host did not start; see {LOG}")
        return 1
    show(state())
    return 0


def show(known):
    ctl = "build/creelctl"
    how = {"kvm": "KVM", "tcg": "QEMU's emulation of AMD-V"}[known["accel"]]
    print(f"""a host runs on {how}, management on 127.0.0.1:{known['port']}; try:

    export XDG_CONFIG_HOME={KEYS}    # creelctl's key, and the host's
    {ctl} info
    {ctl} run hello a b c
    {ctl} run -i wordcount < README.md
    {ctl} run explore 8                      # eight queens: it forks itself at each choice
    {ctl} run -i --name model sampler < LICENSE   # learns from a text, and freezes itself
    {ctl} fork -i -n 1000 --name try trained      # a thousand that have learned
    {ctl} logs try-1                              # each says something else
    {ctl} rollback try-1 trained
    {ctl} logs try-1
    {ctl} tree
    {ctl} stats
    {ctl} help

its log: {os.path.relpath(LOG)}; `make stop` ends it.""")


def stop():
    known = state()
    if not known:
        print("no host is running")
        return 0
    os.kill(known["pid"], signal.SIGTERM)
    for _ in range(100):
        if not state():
            os.unlink(STATE)
            shutil.rmtree(KEYS)
            print("the host has ended")
            return 0
        time.sleep(0.1)
    print(f"process {known['pid']} does not end")
    return 1


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("verb", choices=("start", "status", "stop"))
    p.add_argument("--cpus", type=int, default=2)
    p.add_argument("--mem", type=int, default=2048, help="MiB")
    p.add_argument("--port", type=int, help=f"default: {MANAGEMENT_PORT}, or a free one")
    p.add_argument("--image", action="append", default=[], metavar="FILE")
    p.add_argument("--tcg", action="store_true", help="emulate even where KVM works")
    a = p.parse_args()
    if a.verb == "start":
        return start(a)
    if a.verb == "stop":
        return stop()
    known = state()
    if not known:
        print("no host is running")
        return 1
    show(known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
