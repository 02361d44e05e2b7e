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


linked = []


def cpio(data):
    """The entries of an initramfs by name: mode, uid, bytes. Names of one file have the same bytes, in `linked`."""
    found, at, same = {}, 0, {}
    linked.clear()
    while True:
        assert data[at:at + 6] == b"070701", data[at:at + 6]
        numbers = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110:at + 109 + numbers[11]].decode()
        at = (at + 110 + numbers[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert all(len(names) == links for links, names in same.values()), same
            return found
        assert name not in found, name
        assert os.path.dirname(name) in ("", *found), f"{name} comes before its folder"
        found[name] = numbers[1], numbers[2], data[at:at + numbers[6]]
        if numbers[4] > 1:
            # the last of its names has what it holds, and the kernel makes links of the others
            names = same.setdefault(numbers[0], (numbers[4], []))[1]
            names.append(name)
            for other in names:
                found[other] = found[other][:2] + (found[name][2],)
            linked.append(name)
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


def layout(name, layers, config=None, compress=True, image=None, index=None, **manifest):
    """`image`: more of the image's configuration; `index`: what makes index.json of the manifest's descriptor."""
    top = path(name)
    os.makedirs(os.path.join(top, "blobs", "sha256"))

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(top, "blobs", "sha256", digest), "wb") as f:
            f.write(data)
        return {"digest": "sha256:" + digest, "size": len(data)}

    def document(what):
        return blob(json.dumps(what).encode())

    with open(os.path.join(top, "oci-layout"), "w") as f:
        f.write('{"imageLayoutVersion": "1.0.0"}')
    m = {"schemaVersion": 2, "config": document({"config": config or {}, **(image or {})}),
         "layers": [blob(gzip.compress(x) if compress else x) for x in layers], **manifest}
    other = dict(blob(b"{}"), platform=dict(architecture="arm64", os="linux"))
    ours = dict(document(m), platform=dict(architecture="amd64", os="linux"))
    with open(os.path.join(top, "index.json"), "w") as f:
        json.dump(index(ours, other, document) if index else {"manifests": [other, ours]}, f)
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
        assert sorted(linked) == ["etc/hard", "etc/name"], linked
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


def test_whiteouts_leave_what_their_own_layer_brings():
    for i, layer in enumerate([
            tar(("o/sub/new", b"2"), ("d/sub/new", b"2"), ("o/.wh..wh..opq", b""), ("d/.wh.sub", b"")),
            tar(("o/.wh..wh..opq", b""), ("d/.wh.sub", b""), ("o/sub/", None), ("o/sub/new", b"2"),
                ("d/sub/new", b"2"))]):
        found = build(layout(f"own{i}", [tar(("o/sub/old", b"1"), ("o/old/x", b"1"), ("d/sub/old", b"1")), layer]))
        assert names(found, "o") == ["o", "o/sub", "o/sub/new"], sorted(found)
        assert names(found, "d") == ["d", "d/sub", "d/sub/new"], sorted(found)


def test_hard_links_over_layers():
    found = build(layout("links", [
        tar(("a", b"1"), ("b", ("hard", "a")), ("c", ("hard", "a")), ("d", b"1"), ("e", ("hard", "d"))),
        tar(("c", b"2"), ("f", ("hard", "b")), ("d", ("hard", "d")), (".wh.e", b""))]))
    assert {n: found[n][2] for n in "abcdf"} == dict(a=b"1", b=b"1", c=b"2", d=b"1", f=b"1") and "e" not in found
    assert sorted(linked) == ["a", "b", "f"], linked


def test_folder_with_hard_links():
    top = path("hard-folder")
    os.makedirs(top)
    with open(os.path.join(top, "a"), "w") as f:
        f.write("a" * 5000)
    os.link(os.path.join(top, "a"), os.path.join(top, "b"))
    found = build(top)
    assert found["a"][2] == found["b"][2] == b"a" * 5000 and sorted(linked) == ["a", "b"]


def test_layers_are_what_their_descriptors_say():
    def ids(*layers):
        return {"rootfs": {"diff_ids": ["sha256:" + hashlib.sha256(x).hexdigest() for x in layers]}}

    one, two = tar(("x", b"1")), tar(("y", b"2"))
    assert "y" in build(layout("ids", [one, two], image=ids(one, two)))
    assert "another layer" in build(layout("swapped", [two, one], image=ids(one, two)), status=REFUSED).err
    assert "missing" in build(layout("few", [one], image=ids(one, two)), status=REFUSED).err
    assert "more layers" in build(layout("many", [one, two], image=ids(one)), status=REFUSED).err
    for what in range(3):
        # each blob in turn, another byte of the same size, then a byte more
        for change in (lambda d: d[:-1] + bytes([d[-1] ^ 1]), lambda d: d + b" "):
            top = layout(f"damaged{what}{len(change(b'x'))}", [one], compress=False)
            blobs = os.path.join(top, "blobs", "sha256")
            files = sorted((f for f in os.listdir(blobs) if os.path.getsize(os.path.join(blobs, f)) > 2),
                           key=lambda f: os.path.getsize(os.path.join(blobs, f)))
            assert len(files) == 3
            with open(os.path.join(blobs, files[what]), "rb+") as f:
                data = change(f.read())
                f.seek(0)
                f.write(data)
            err = build(top, status=REFUSED).err
            assert files[what] in err and ("damaged" in err or "descriptor" in err), err
    top = layout("gone", [one])
    blobs = os.path.join(top, "blobs", "sha256")
    for f in os.listdir(blobs):
        os.rename(os.path.join(blobs, f), os.path.join(blobs, "_" + f))
        os.mkfifo(os.path.join(blobs, f))
    assert "no file" in build(top, status=REFUSED).err


def test_layouts_as_umoci_and_skopeo_write_them():
    def tool(*args):
        subprocess.run(args, check=True, capture_output=True, timeout=60)

    made, copied = f"{path('umoci')}:made", f"{path('skopeo')}:copied"
    tool("umoci", "init", "--layout", path("umoci"))
    tool("umoci", "new", "--image", made)
    for layer in (tar(("etc/", None), ("etc/name", b"1"), ("old/x", b"1")), tar(("etc/name", b"2"), (".wh.old", b""))):
        with open(path("layer.tar"), "wb") as f:
            f.write(layer)
        tool("umoci", "raw", "add-layer", "--image", made, path("layer.tar"))
    tool("umoci", "config", "--image", made, "--config.entrypoint", "/bin/hi", "--config.env", "WHO=you")
    # Through Docker's format, as from a registry, and packed anew.
    skopeo = ("skopeo", "--insecure-policy", "--tmpdir", base.folder.name, "copy", "--dest-compress-format", "zstd")
    tool(*skopeo, f"oci:{made}", f"docker-archive:{path('docker.tar')}:a:b")
    tool(*skopeo, f"docker-archive:{path('docker.tar')}", f"oci:{copied}")
    for image in (made, copied):
        found = build(image)
        assert found["etc/name"][2] == b"2" and "old" not in found, sorted(found)
        settings = found["etc/creel/entry"][2].decode().split("\0")
        assert "arg=/bin/hi" in settings and "env=WHO=you" in settings, settings


def test_one_of_several_platforms_and_names():
    layer = [tar(("x", b"1"))]

    def named(m, name, **more):
        return dict(m, annotations={"org.opencontainers.image.ref.name": name}, **more)

    def plain(m):
        return {k: v for k, v in m.items() if k != "platform"}

    nested = layout("nested", layer, index=lambda ours, other, document: {
        "manifests": [named(document({"manifests": [other, ours]}), "tag")]})
    assert "x" in build(nested) and "x" in build(nested + ":tag")
    assert "no such image" in build(nested + ":other", status=REFUSED).err
    two = layout("two", layer, index=lambda ours, other, document: {
        "manifests": [named(plain(other), "old"), named(plain(ours), "new")]})
    err = build(two, status=REFUSED).err
    assert "several images" in err and "old" in err and "new" in err, err
    assert "x" in build(two + ":new")
    foreign = layout("foreign", layer, index=lambda ours, other, document: {"manifests": [
        other, dict(ours, platform={"architecture": "amd64", "os": "windows"})]})
    err = build(foreign, status=REFUSED).err
    assert "linux/arm64" in err and "windows/amd64" in err, err
    arm = layout("arm", layer, image={"architecture": "arm64", "os": "linux"},
                 index=lambda ours, other, document: {"manifests": [plain(ours)]})
    assert "not for linux/amd64" in build(arm, status=REFUSED).err

    def deep(ours, other, document):
        index = {"manifests": [ours]}
        for _ in range(9):
            index = {"manifests": [document(index)]}
        return index

    assert "and so on" in build(layout("deep", layer, index=deep), status=REFUSED).err


def test_zstd_layers():
    layers = [subprocess.run(["zstd", "-q"], input=tar(("x", b"z")), capture_output=True, check=True).stdout]
    assert build(layout("zstd", layers, compress=False))["x"][2] == b"z"


def test_entry_point_is_kept():
    config = {"Entrypoint": ["/bin/run", "it\u00e9"], "Cmd": ["a b", "\"c\""], "Env": ["PATH=/bin", "E=x=y"],
              "WorkingDir": "/work", "User": "12:34"}
    found = build(layout("entry", [tar(("x", b""))], config, compress=False))
    settings = found["etc/creel/entry"][2].decode().split("\0")
    assert settings == ["arg=/bin/run", "arg=it\u00e9", "arg=a b", 'arg="c"', "env=PATH=/bin", "env=E=x=y",
                        "cwd=/work", "user=12:34", ""], settings
    assert found["work"][0] == stat.S_IFDIR | 0o755
    files = tar(("etc/passwd", b"root:x:0:0::/root:\nmore:x:7:8::/:/bin/sh\n"), ("etc/group", b"few:x:3:\n"))
    for i, (user, known) in enumerate([("more", True), ("more:few", True), ("7:few", True), ("mor", False),
                                       ("more:many", False), ("nobody", False), (":few", False)]):
        top = layout(f"user{i}", [files], dict(config, User=user))
        if known:
            assert f"user={user}\0".encode() in build(top)["etc/creel/entry"][2]
        else:
            assert user in build(top, status=REFUSED).err
    assert b"user=5\0" in build(top, "--user", "5")["etc/creel/entry"][2]
    assert "working directory" in build(layout("cwd", [files], {"WorkingDir": "/a/../.."}), status=REFUSED).err
    assert "malformed" in build(layout("list", [files], {"Env": [7]}), status=REFUSED).err
    assert "more than" in build(layout("long", [files], {"Cmd": ["x" * 1000] * 100}), status=REFUSED).err


def test_what_a_bundle_holds():
    """Kernel, initrd, disk and command line, each where the header says."""
    parts = {"kernel": KERNEL + b"k" * 5000, "initrd": b"i" * 100, "disk": b"d" * 8192}
    for name, data in parts.items():
        with open(path(name), "wb") as f:
            f.write(data)
    ctl("image", "build", "--kernel", path("kernel"), "--initrd", path("initrd"), "--disk", path("disk"),
        "--cmdline", "hello", "-m", "64M", path("whole.bundle"))
    with open(path("whole.bundle"), "rb") as f:
        data = f.read()
    numbers = struct.unpack_from("<Q8Q", data, 16)
    found = [data[at:at + size] for at, size in zip(numbers[1::2], numbers[2::2])]
    assert numbers[0] == 64 << 20 and found == [parts["kernel"], parts["initrd"], b"hello", parts["disk"]], numbers
    # one that can't be made leaves what was there
    ctl("image", "build", "--kernel", path("kernel"), "--initrd", path("none"), path("whole.bundle"), status=REFUSED)
    with open(path("whole.bundle"), "rb") as f:
        assert f.read() == data
    assert not [n for n in os.listdir(base.folder.name) if n.endswith(".part")]


def special(name, kind, **more):
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def pax(name, **keys):
    info = tarfile.TarInfo(name)
    info.pax_headers = {k.replace("_", "."): v for k, v in keys.items()}
    return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


def test_hostile_tars():
    """Each is refused, with what is wrong in it; as a layer and as a tar file."""
    bomb = gzip.compress(bytes(1 << 25), 1)
    cases = [
        ("dotdot", tar(("../x", b"")), "leads out"),
        ("absolute", tar(("/etc/x", b"")), "leads out"),
        ("inner", tar(("a/../../x", b"")), "leads out"),
        ("long-dotdot", pax("x", path="y/" * 200 + "../" * 300), "leads out"),
        ("nameless", tar((".", b"x")), "no name"),
        ("sparse", special("s", b"S", size=1 << 40), "sparse"),
        ("sparse-pax", pax("GNUSparseFile.0/s", GNU_sparse_major="1", GNU_sparse_realsize="999999999999"), "sparse"),
        ("unknown", special("u", b"Z"), "unknown"),
        ("endless", special("e", b"0", size=1 << 40), "more than"),
        ("too-large", special("e", b"0", size=1 << 62), ""),
        ("pax-size", pax("e", size="9" * 30), ""),
        ("hard-out", tar(("h", ("hard", "../../etc/passwd"))), "not there"),
        ("hard-absolute", tar(("h", ("hard", "/etc/passwd"))), "not there"),
        ("hard-folder", tar(("d/", None), ("h", ("hard", "d"))), "not there"),
        ("hard-itself", tar(("h", ("hard", "h"))), "not there"),
        ("link-loop", tar(("a", ("link", "b")), ("b", ("link", "a")), ("a/x", b"")), "in the way"),
        ("file-folder", tar(("f", b""), ("f/x", b"")), "in the way"),
        ("behind", tar(("x", b"")) + bytes(1 << 25), "behind its end"),
        ("behind-packed", gzip.compress(tar(("x", b""))) + bomb, "behind its end"),
        ("headers", b"".join(special("x", b"x", size=0)[:512] for _ in range(100)), "headers"),
        ("big-header", special("x", b"x", size=1 << 30), "header"),
        ("garbled", gzip.compress(tar(("x", os.urandom(9000))))[:-300], ""),
        ("empty", b"", "empty"),
        ("empty-packed", gzip.compress(b""), "empty"),
    ]
    for name, data, word in cases:
        with open(path(name + ".tar"), "wb") as f:
            f.write(data)
        err = build(path(name + ".tar"), status=REFUSED).err
        assert word in err, (name, err)
        err = build(layout("hostile-" + name, [data], compress=False), status=REFUSED).err
        assert word in err, (name, err)
    # a link that leads out leads within, and nothing outside is written
    found = build(layout("inside", [tar(("l", ("link", "../../../../tmp")), ("l/creel-out", b"x"))]))
    assert found["tmp/creel-out"][2] == b"x" and not os.path.exists("/tmp/creel-out")


def test_many_names_in_a_folder():
    members = [(f"d/{i}", b"") for i in range(40000)]
    found = build(layout("names", [tar(*members), tar(("d/.wh..wh..opq", b""), *members[:3])]))
    assert names(found, "d") == ["d", "d/0", "d/1", "d/2"]


def test_packed_layout_is_no_root():
    top = layout("packed", [tar(("x", b""))])
    subprocess.run(["tar", "-C", top, "-cf", path("packed.tar"), "."], check=True)
    assert "unpack it" in build(path("packed.tar"), status=REFUSED).err


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
