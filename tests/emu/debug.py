#!/usr/bin/python3
"""Stops the appliance in a debugger at the start of hv_main, with symbols at the right addresses.

    tests/emu/debug.py qemu [gdb argument...]        gdb on QEMU
    tests/emu/debug.py bochs [debugger command...]   Bochs's own debugger, with our symbols

The firmware chooses where the image lies. On QEMU the loader waits (debug-wait = yes) until gdb has
read that address from the serial log and stored 1 in boot_debug_go. Bochs runs are identical to the
tick: a first run learns the address, the second stops there. With arguments nobody is asked
anything: gdb takes them as its own, and Bochs runs the commands and ends.
"""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from run import CONF, ROOT, Machine, free_port  # noqa: E402

ELF = os.path.join(ROOT, "build", "creel.elf")
STOP_AT = "hv_main"


def image_base(machine):
    return int(machine.wait_for(r"creel: image at 0x([0-9a-f]+)", 200).group(1), 16)


def symbols():
    """[(address, name)] of all functions, as linked at 0."""
    out = subprocess.run(["nm", "-n", ELF], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in out.splitlines()]
    return [(int(r[0], 16), r[2]) for r in rows if len(r) == 3 and r[1] in "tT"]


def qemu(arguments):
    with Machine("qemu", conf=CONF + "debug-wait = yes\n", gdb=free_port()) as m:
        base = image_base(m)
        m.wait_for("waiting for a debugger", 10)
        command = ["gdb", "-q", "-ex", f"target remote 127.0.0.1:{m.gdb}",
                   "-ex", "set confirm off", "-ex", f"add-symbol-file {ELF} -o {base:#x}",
                   "-ex", f"directory {ROOT}", "-ex", "set var boot_debug_go = 1",
                   "-ex", f"break {STOP_AT}", "-ex", "continue"]
        return subprocess.run(command + arguments, check=False).returncode


def bochs(commands):
    with Machine("bochs", mem=256) as m:
        base = image_base(m)
        machine_time = m.lines[-1][0]
    print(f"image at {base:#x}; starting again, with symbols "
          f"(the firmware takes about {machine_time:.0f} s)", flush=True)
    address = base + dict((name, a) for a, name in symbols())[STOP_AT]
    m = Machine("bochs", mem=256,
                debugger=['ldsym global "creel.sym"', f"lb {address:#x}", "c", *commands]
                + (["quit"] if commands else []))
    try:
        command = m.prepare()
        with open(os.path.join(m.dir, "creel.sym"), "w") as f:
            for a, name in symbols():
                f.write(f"{base + a:x} {name}\n")
        # the terminal is the debugger's, so the display must be one that does not want it
        rc = os.path.join(m.dir, "bochsrc")
        with open(rc) as f:
            text = f.read().replace("display_library: term",
                                    'display_library: rfb, options="timeout=0"')
        with open(rc, "w") as f:
            f.write(text)
        print(f"COM1 goes to {m.dir}/com1.txt until you quit", flush=True)
        return subprocess.run(command, cwd=m.dir, check=False).returncode
    finally:
        shutil.rmtree(m.dir, ignore_errors=True)


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in ("qemu", "bochs"):
        print(__doc__, file=sys.stderr)
        return 2
    return {"qemu": qemu, "bochs": bochs}[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
