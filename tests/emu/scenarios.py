#!/usr/bin/python3
"""Runs the scenarios of test files: every function test_* in them, one after the other.

    tests/emu/scenarios.py [-k WORD] FILE...

A scenario passes when it returns, fails when it raises, and does not count when it raises Skip with
a reason. One line each, "ok NAME" or "FAIL NAME", for tests/run. pytest runs the same files too.
"""
import argparse
import importlib.util
import os
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

# No single scenario may hang the whole run, whatever it forgot to bound.
SCENARIO_SECONDS = 600


class Skip(Exception):
    """The machine that runs the tests cannot run this one; says why."""


def _load(path):
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _too_long(*_):
    raise TimeoutError(f"scenario ran longer than {SCENARIO_SECONDS} s")


def _run(name, function):
    started = time.monotonic()
    signal.alarm(SCENARIO_SECONDS)
    try:
        function()
        verdict, ok = "ok " + name, True
    except Skip as e:
        verdict, ok = f"skip {name}: {e}", True
    except Exception:
        traceback.print_exc(file=sys.stdout)
        verdict, ok = "FAIL " + name, False
    finally:
        signal.alarm(0)
    print(f"{verdict} ({time.monotonic() - started:.1f} s)", flush=True)
    return ok


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-k", default="", metavar="WORD", help="only scenarios whose name has it")
    p.add_argument("file", nargs="+")
    a = p.parse_args()
    # Scenarios import Skip from here; this file must not exist twice.
    sys.modules["scenarios"] = sys.modules["__main__"]
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    good = True
    for path in a.file:
        module = _load(path)
        found = [(n, f) for n, f in vars(module).items()
                 if n.startswith("test_") and callable(f) and a.k in n]
        for name, function in found:
            prefix = module.__name__.removeprefix("test_")
            good &= _run(f"{prefix}_{name.removeprefix('test_')}", function)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
