"""Makes the FAT volume that a machine starts from: the EFI binary, creel.conf and guest images."""
import os
import subprocess

SECTOR = 512
# Bochs wants a flat disk image to be a whole number of cylinders.
HEADS, SECTORS = 16, 63
CYLINDER = HEADS * SECTORS * SECTOR
SLACK = 6 << 20


def make(path, efi, conf, images):
    """Write a bare FAT image to `path`.

    `conf` is the text of creel.conf, or None for a volume without one; `images` maps names under
    \\creel\\images\\ to host paths or to bytes.
    """
    size = os.path.getsize(efi) + SLACK
    for data in images.values():
        size += len(data) if isinstance(data, bytes) else os.path.getsize(data)
    cylinders = -(-size // CYLINDER)
    with open(path, "wb") as f:
        f.truncate(cylinders * CYLINDER)
    _mtools("mformat", path, "-h", str(HEADS), "-s", str(SECTORS), "-t", str(cylinders),
            "-v", "CREEL", "-N", "43524545", "::")
    _mtools("mmd", path, "::/EFI", "::/EFI/BOOT", "::/creel", "::/creel/images")
    _mtools("mcopy", path, efi, "::/EFI/BOOT/BOOTX64.EFI")
    if conf is not None:
        _copy(path, conf.encode() if isinstance(conf, str) else conf, "::/creel/creel.conf")
    for name, data in images.items():
        if isinstance(data, bytes):
            _copy(path, data, "::/creel/images/" + name)
        else:
            _mtools("mcopy", path, str(data), "::/creel/images/" + name)


def _copy(path, data, to):
    _mtools("mcopy", path, "-", to, data=data)


def _mtools(tool, path, *args, data=None):
    env = dict(os.environ, MTOOLS_SKIP_CHECK="1")
    done = subprocess.run([tool, "-i", path, *args], input=data, env=env, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{tool} {args}: {done.stderr.decode(errors='replace').strip()}")
