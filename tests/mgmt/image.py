#!/usr/bin/env python3
"""creelctl image build --rootfs: folders, tars and OCI layouts, which are made here, as initramfs.

usage: image.py FAKE_HOST CREELCTL [WORD]    (WORD: only the tests whose name holds it)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import gzip
import hashlib
import io
import json
import os
import stat
import struct
import subprocess
import sys
import tarfile

import creelctl as base
from creelctl import REFUSED, USAGE, ctl

AGENT = os.environ["CREEL_AGENT"]
KERNEL = bytes(0x1fe) + b"\x55\xaa\xeb\x62HdrS"  # what says that a file is a bzImage


def path(name):
    return os.path.join(base.folder.name, name)


def tar(*members, mode="w"):
    """Each a name and what it is: bytes, ("link", target), ("hard", target), None for a folder, a TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:
        for name, what in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            data = b""
            if what is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(what, tuple):
                info.type = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "dev": tarfile.CHRTYPE}[what[0]]
                info.linkname = what[1]
            else:
                data = what
            info.size = len(data)
            info.uid = 7
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def cpio(data):
    """The entries of an initramfs by name: mode, uid, bytes."""
    found, at = {}, 0
    while True:
        assert data[at:at + 6] == b"070701", data[at:at + 6]
        numbers = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110:at + 109 + numbers[11]].decode()
        at = (at + 110 + numbers[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        assert name not in found, name
        assert os.path.dirname(name) in ("", *found), f"{name} comes before its folder"
        found[name] = numbers[1], numbers[2], data[at:at + numbers[6]]
        at = (at + numbers[6] + 3) // 4 * 4


def build(rootfs, *options, status=0, kernel=None):
    if not kernel:
        kernel = path("vmlinuz-test")
        with open(kernel, "wb") as f:
            f.write(KERNEL)
    r = ctl("image", "build", "--kernel", kernel, "--rootfs", rootfs, "--agent", AGENT, *options,
            path("out.bundle"), status=status)
    if status:
        return r
    with open(path("out.bundle"), "rb") as f:
        data = f.read()
    parts = struct.unpack_from("<6Q", data, 24)
    return cpio(data[parts[2]:parts[2] + parts[3]])


def layout(name, layers, config=None, compress=True, **manifest):
    top = path(name)
    os.makedirs(os.path.join(top, "blobs", "sha256"))

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(top, "blobs", "sha256", digest), "wb") as f:
            f.write(data)
        return {"digest": "sha256:" + digest, "size": len(data)}

    with open(os.path.join(top, "oci-layout"), "w") as f:
        f.write('{"imageLayoutVersion": "1.0.0"}')
    m = {"schemaVersion": 2, "config": blob(json.dumps({"config": config or {}}).encode()),
         "layers": [blob(gzip.compress(x) if compress else x) for x in layers], **manifest}
    other = blob(b"{}")
    with open(os.path.join(top, "index.json"), "w") as f:
        json.dump({"manifests": [dict(other, platform={"architecture": "arm64"}),
                                 dict(blob(json.dumps(m).encode()), platform={"architecture": "amd64"})]}, f)
    return top


def names(found, top):
    return sorted(n for n in found if n == top or n.startswith(top + "/"))


def test_folder():
    top = path("root")
    os.makedirs(os.path.join(top, "a/b"))
    with open(os.path.join(top, "a/b/file"), "wb") as f:
        f.write(b"x" * 100001)
    os.chmod(os.path.join(top, "a/b/file"), 0o4711)
    os.symlink("/a/b", os.path.join(top, "link"))
    found = build(top)
    assert found["a/b/file"][0] == stat.S_IFREG | 0o4711 and found["a/b/file"][2] == b"x" * 100001
    assert found["link"][0] == stat.S_IFLNK | 0o777 and found["link"][2] == b"/a/b"
    with open(AGENT, "rb") as f:
        assert found["init"] == (stat.S_IFREG | 0o755, 0, f.read())
    assert found["tmp"][0] == stat.S_IFDIR | 0o1777
    assert {"dev", "etc", "proc", "run", "sys", "root"} < set(found) and "etc/creel/entry" not in found


def test_modules_are_found_beside_the_kernel():
    top = path("deb")
    drivers = os.path.join(top, "lib/modules/6.1/kernel/drivers")
    os.makedirs(os.path.join(top, "boot"))
    os.makedirs(os.path.join(drivers, "virtio"))
    os.makedirs(os.path.join(drivers, "char"))
    os.makedirs(path("empty"))
    for name in ("virtio/virtio_ring.ko", "virtio/virtio.ko", "char/virtio_console.ko", "../../boot"):
        if name.endswith(".ko"):
            with open(os.path.join(drivers, name), "w") as f:
                f.write(name)
    kernel = os.path.join(top, "boot/vmlinuz-6.1")
    with open(kernel, "wb") as f:
        f.write(KERNEL)
    found = build(path("empty"), kernel=kernel)
    modules = names(found, "usr/lib/creel/modules")[1:]
    assert [m.split("-", 1)[1] for m in modules] == ["virtio_ring.ko", "virtio.ko", "virtio_console.ko"]


def test_tars_as_they_come():
    data = tar(("./", None), ("./etc/", None), ("./etc/name", b"v"), ("etc/hard", ("hard", "etc/name")),
               ("dev/null", ("dev", "")), ("long" * 60 + "/" + "x" * 90, b"deep"))
    for name, content in (("plain.tar", data), ("packed.tar.gz", gzip.compress(data)),
                          ("packed.tar.xz", subprocess.run(["xz"], input=data, capture_output=True).stdout)):
        with open(path(name), "wb") as f:
            f.write(content)
        found = build(path(name))
        assert found["etc/name"] == (stat.S_IFREG | 0o755, 7, b"v") == found["etc/hard"]
        assert found["long" * 60 + "/" + "x" * 90][2] == b"deep" and "dev/null" not in found


def test_layers_with_whiteouts():
    found = build(layout("whiteouts", [
        tar(("gone", b"1"), ("dir/", None), ("dir/a", b"1"), ("dir/sub/b", b"1"), ("opaque/old", b"1"),
            ("opaque/sub/old", b"1"), ("file", b"1"), ("to-folder", b"1"), ("lib", ("link", "usr/lib")),
            ("usr/lib/x", b"1"), ("again", b"1")),
        tar((".wh.gone", b""), ("dir/.wh.sub", b""), ("opaque/new", b"2"), ("opaque/.wh..wh..opq", b""),
            ("file", b"22"), ("to-folder/", None), ("to-folder/inside", b"2"), ("lib/y", b"2"), (".wh.again", b""), ("again", b"2")),
        tar(("dir/c", b"3"), (".wh.never-was", b""))]))
    assert "gone" not in found and not any(".wh." in n for n in found), sorted(found)
    assert names(found, "dir") == ["dir", "dir/a", "dir/c"]
    assert names(found, "opaque") == ["opaque", "opaque/new"]
    assert found["file"][2] == b"22" and found["to-folder/inside"][2] == b"2" and found["again"][2] == b"2"
    assert found["usr/lib/y"][2] == b"2" and found["lib"][2] == b"usr/lib" and found["usr/lib/x"][2] == b"1"


def test_entry_point_is_kept():
    config = {"Entrypoint": ["/bin/run", "it\u00e9"], "Cmd": ["a b", "\"c\""], "Env": ["PATH=/bin", "E=x=y"],
              "WorkingDir": "/work", "User": "12:34"}
    found = build(layout("entry", [tar(("x", b""))], config, compress=False))
    settings = found["etc/creel/entry"][2].decode().split("\0")
    assert settings == ["arg=/bin/run", "arg=it\u00e9", "arg=a b", 'arg="c"', "env=PATH=/bin", "env=E=x=y",
                        "cwd=/work", "uid=12", "gid=34", ""], settings
    named = layout("named", [tar(("x", b""))], dict(config, User="nobody"))
    assert "--user" in build(named, status=REFUSED).err
    assert b"uid=5\0" in build(named, "--user", "5")["etc/creel/entry"][2]


def test_what_is_no_image():
    if os.path.exists(path("out.bundle")):
        os.remove(path("out.bundle"))
    assert build(path("nothing"), status=REFUSED).err
    with open(path("bad.tar"), "wb") as f:
        f.write(b"\1" * 1024)
    assert "no tar" in build(path("bad.tar"), status=REFUSED).err
    for i, member in enumerate([("../x", b""), ("/etc/x", b""), ("a/../../x", b"")]):
        assert "leads out" in build(layout(f"out{i}", [tar(member)]), status=REFUSED).err
    assert "cut off" in build(layout("cut", [tar(("x", b"y" * 9000))[:5000]]), status=REFUSED).err
    assert build(layout("link", [tar(("a", ("link", "a")), ("a/x", b""))]), status=REFUSED).err
    assert build(layout("hard", [tar(("a", ("hard", "nowhere")))]), status=REFUSED).err
    top = layout("json", [tar(("x", b""))])
    for text in ("", "{", "[" * 10000, '{"manifests": [{"digest": "sha256:../../x"}]}', '{"manifests": 7}'):
        with open(os.path.join(top, "index.json"), "w") as f:
            f.write(text)
        assert build(top, status=REFUSED).err
    assert not os.path.exists(path("out.bundle"))
    ctl("image", "build", "--kernel", AGENT, "--rootfs", top, "--initrd", AGENT, path("x"), status=USAGE)


if __name__ == "__main__":
    sys.exit(base.run_tests("image", globals()))
