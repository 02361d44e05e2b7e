"""What BOOTX64.EFI is made of, without booting it."""
import os
import struct
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
PAGE = 4096

EXECUTE, WRITE = 0x20000000, 0x80000000


def pe_header_and_sections():
    """PE Format, "File Headers" and "Section Table"."""
    with open(os.path.join(BUILD, "BOOTX64.EFI"), "rb") as f:
        data = f.read()
    pe, = struct.unpack_from("<I", data, 0x3c)
    assert data[pe:pe + 4] == b"PE\0\0"
    machine, count, timestamp, _, _, optional, _ = struct.unpack_from("<HHIIIHH", data, pe + 4)
    subsystem, = struct.unpack_from("<H", data, pe + 24 + 68)
    sections = {}
    for i in range(count):
        at = pe + 24 + optional + 40 * i
        name, size, address, raw, _, _, _, _, _, flags = struct.unpack_from("<8sIIIIIIHHI", data, at)
        sections[name.rstrip(b"\0").decode()] = (address, max(size, raw), flags)
    return dict(machine=machine, timestamp=timestamp, subsystem=subsystem, text=data), sections


def symbols():
    out = subprocess.run(["nm", os.path.join(BUILD, "creel.elf")], check=True,
                         capture_output=True, text=True).stdout
    return {line.split()[2]: int(line.split()[0], 16) for line in out.splitlines()}


def test_is_an_efi_application_without_a_clock():
    header, _ = pe_header_and_sections()
    assert header["machine"] == 0x8664 and header["subsystem"] == 10
    assert header["timestamp"] == 0


def test_sections_have_pages_of_their_own_and_are_never_writable_code():
    _, sections = pe_header_and_sections()
    end = 0
    for name, (address, size, flags) in sections.items():
        assert address % PAGE == 0 and address >= end, name
        assert not (flags & WRITE and flags & EXECUTE), name
        end = address + size
    assert sections[".text"][2] & EXECUTE and not sections[".rodata"][2] & WRITE


def test_bounds_for_the_hosts_map_hold_the_sections():
    _, sections = pe_header_and_sections()
    s = symbols()
    for part, names in {"text": [".text"], "rodata": [".rodata", ".relro", ".dynamic", ".rela"],
                        "data": [".data", ".bss"]}.items():
        low, high = s[f"image_{part}"], s[f"image_{part}_end"]
        assert low % PAGE == 0 and high % PAGE == 0
        for name in names:
            address, size, _ = sections[name]
            assert low <= address and address + size <= high, name


def test_no_path_of_the_building_machine_is_inside():
    header, _ = pe_header_and_sections()
    assert ROOT.encode() not in header["text"]
    assert os.path.expanduser("~").encode() + b"/" not in header["text"]


def test_symbol_table_names_functions():
    header, _ = pe_header_and_sections()
    for name in (b"hv_main\0", b"efi_main\0", b"memmap_build\0"):
        assert name in header["text"]
