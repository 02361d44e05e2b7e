"""make debug and make debug-bochs, without a person at the keyboard."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEBUG = os.path.join(ROOT, "tests", "emu", "debug.py")


def debug(*arguments):
    done = subprocess.run([sys.executable, DEBUG, *arguments], capture_output=True, text=True,
                          errors="replace", stdin=subprocess.DEVNULL, timeout=500)
    return done.stdout + done.stderr


def test_gdb_stops_in_hv_main_with_symbols():
    said = debug("qemu", "-batch", "-ex", "bt", "-ex", "print info->range_count",
                 "-ex", "info symbol hv_main")
    assert re.search(r"#0 +hv_main \(info=0x[0-9a-f]+ <boot_info>\) at hv/main.c:\d+", said), said
    assert re.search(r"\$1 = [1-9]", said), said
    assert re.search(r"hv_main in section \.text", said), said


def test_bochs_stops_in_hv_main_with_symbols():
    said = debug("bochs", "u /3")
    assert re.search(r"Breakpoint 1, 0x[0-9a-f]+", said), said
    assert re.search(r"\( *hv_main\+0\): ", said), said
