"""The machine as hv/ finds it: cores, clocks, interrupts, consoles, and what happens when it breaks."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "emu"))
from run import CONF, Machine  # noqa: E402

BOOT = 90
WRONG = r"PANIC|cannot start|does not start|could not be compared|TSC differs"
CORES = r"cores: (\d+) running, (\d+) parked, (\d+) missing"


def cores(kind="qemu", **machine):
    """How many cores run, are parked, are missing."""
    with Machine(kind, nic="none", **machine) as m:
        return tuple(int(n) for n in m.wait_for(CORES, BOOT, fail=WRONG).groups())


def test_one_core():
    assert cores(cpus=1) == (1, 0, 0)


def test_four_cores():
    assert cores(cpus=4) == (4, 0, 0)


def test_cores_without_acpi_on_bochs():
    """Bochs has no MADT: the processors are those that the firmware's MP Services named."""
    assert cores("bochs", cpus=2, mem=256) == (2, 0, 0)


def test_sibling_threads_are_parked():
    threads = ["-smp", "4,sockets=1,cores=2,threads=2"]
    assert cores(cpus=4, extra=threads) == (2, 2, 0)
    assert cores(cpus=4, extra=threads, conf=CONF + "smt = on\n") == (4, 0, 0)


def test_core_limit():
    assert cores(cpus=2, conf=CONF + "cores = 1\n") == (1, 1, 0)


def usable(conf, mem):
    with Machine(mem=mem, nic="none", conf=CONF + conf) as m:
        said = m.wait_for(r"memory: (\d+) MiB for guests, (\d+) MiB in reserve", BOOT, fail=WRONG)
        return int(said.group(1)), int(said.group(2))


def test_memory_limit_and_reserve():
    guests, reserve = usable("memory = 200M\nreserve = 20M\n", 512)
    assert 170 <= guests <= 180 and reserve == 20


def test_memory_above_4_gib():
    guests, reserve = usable("", 5000)
    assert guests > 4700 and reserve >= 64


def test_reserve_beyond_memory_is_refused():
    with Machine(nic="none", conf=CONF + "reserve = 1G\n") as m:
        m.wait_for(r"creel: cannot start: reserve in creel\.conf is 1024 MiB", BOOT)


def test_tsc_is_measured():
    """With icount the TSC counts 2^7 an instruction and 10^9 a second, exactly."""
    with Machine(nic="none", icount=7) as m:
        khz = int(m.wait_for(r"clock: TSC at (\d+) kHz by the ACPI PM timer", BOOT).group(1))
        assert abs(khz - 1000000) < 50, khz


def test_tsc_is_measured_on_bochs():
    """CPUID of this model states 3.5 GHz, which is not true."""
    with Machine("bochs", nic="none", mem=256) as m:
        khz = int(m.wait_for(r"clock: TSC at (\d+) kHz by the PIIX4 PM timer", BOOT).group(1))
        assert khz < 1000000, khz


def test_nmi_is_reported_and_survived():
    with Machine(cpus=2, threads="multi", nic="none") as m:
        m.wait_for(CORES, BOOT, fail=WRONG)
        for _ in range(2):
            time.sleep(0.5)
            m.monitor("nmi")
            m.wait_for(r"warning: core \d: NMI without a known reason", 20, fail=WRONG)


def test_machine_check_panics_with_banks_and_backtrace():
    with Machine(cpus=2, threads="multi", nic="none") as m:
        m.wait_for(CORES, BOOT, fail=WRONG)
        time.sleep(0.5)
        # uncorrected, valid, address valid; broadcast to all
        m.monitor("mce -b 1 2 0xb600000000000011 5 0xabc000 0")
        core = int(m.wait_for(r"PANIC on core (\d): machine check", 20).group(1))
        m.wait_for(r"core 1 bank 2: status b600000000000011 \(uncorrected\) address abc000", 20)
        m.wait_for(r"^rip [0-9a-f]{16}  \w+\+0x[0-9a-f]+$", 20)
        m.wait_for(r"#0  \w+\+0x[0-9a-f]+", 20)
        m.wait_for(rf"core {1 - core} was at \w+\+0x", 20)
        m.wait_for(r"The host has stopped", 20)
