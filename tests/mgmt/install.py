#!/usr/bin/python3
"""What "make install" leaves: a library that programs can be built with, manuals, completion.

usage: install.py FAKE_HOST CREELCTL [WORD]    (WORD: only the tests whose name holds it)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import os
import re
import subprocess
import sys
import tempfile

import creelctl as base
from creelctl import ctl, put, run_detached

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
folder = tempfile.TemporaryDirectory(prefix="creel-install-")
CTL = os.path.abspath(base.CREELCTL)
USR = os.path.join(folder.name, "usr")


def run(*args, status=0, env={}, **more):
    env = dict(base.environment() if base.host else os.environ, **env)
    r = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=120,
                       env=env, **more)
    assert r.returncode == status and (status or not r.stderr), f"{args}: {r}"
    return r.stdout


def install():
    run("make", "-s", "-C", ROOT, "install", "PREFIX=/usr", f"DESTDIR={folder.name}",
        env={"MAKEFLAGS": ""})


def declared():
    with open(os.path.join(USR, "include/creel.h")) as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    return set(re.findall(r"^CREEL_API\b[^;(]*?\b(\w+)\(", text, flags=re.M))


def test_exports_are_the_api():
    names = declared()
    assert "creel_connect" in names and len(names) > 20, names
    out = run("nm", "-D", "--defined-only", os.path.join(USR, "lib/libcreel.so.1"))
    assert {line.split()[-1] for line in out.splitlines()} == names, out
    out = run("nm", "-g", "--defined-only", os.path.join(USR, "lib/libcreel.a"))
    assert {line.split()[-1] for line in out.splitlines() if " " in line} == names, out
    out = run("readelf", "-dW", os.path.join(USR, "lib/libcreel.so.1"))
    assert "soname: [libcreel.so.1]" in out, out
    assert re.findall(r"NEEDED.*\[(.*)\]", out) == ["libc.so.6"], out


def build(output, *more):
    env = {"PKG_CONFIG_PATH": os.path.join(USR, "lib/pkgconfig"),
           "PKG_CONFIG_SYSROOT_DIR": folder.name}
    flags = run("pkg-config", "--cflags", "--libs", "libcreel", env=env).split()
    source = os.path.join(ROOT, "docs/examples", os.path.basename(output) + ".c")
    run("gcc", "-Wall", "-Wextra", "-Werror", source, "-o", output, *flags, *more)


def test_examples_build_and_run():
    put("greet", "echo hello\nargs\nexit 3\n")
    exe = os.path.join(folder.name, "first")
    build(exe)
    assert "libcreel.so.1" in run("readelf", "-dW", exe)
    paths = {"LD_LIBRARY_PATH": os.path.join(USR, "lib")}
    assert run(exe, "greet", "you", status=3, env=paths) == "hello\ngreet\nyou\n"
    os.rename(os.path.join(USR, "lib/libcreel.so"), os.path.join(USR, "lib/aside"))
    try:
        build(exe)
        assert "libcreel" not in run("readelf", "-dW", exe)
        assert run(exe, "greet", status=127) == ""
        assert run(exe, "greet", "a", "b", status=3) == "hello\ngreet\na\n"
    finally:
        os.rename(os.path.join(USR, "lib/aside"), os.path.join(USR, "lib/libcreel.so"))


def test_the_example_that_does_not_wait():
    put("wait", "wait\n")
    run_detached("wait", "--name", "prepared")
    exe = os.path.join(folder.name, "pool")
    build(exe)
    out = run(exe, "prepared", 50, env={"LD_LIBRARY_PATH": os.path.join(USR, "lib")})
    assert out == "50 forks ran\n", out
    assert ctl("ps", "-aq").out.split() != [], "the prepared one is gone"


def test_header_alone():
    header = os.path.join(USR, "include/creel.h")
    run("gcc", "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", header)
    run("clang", "-x", "c++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
        "-Wno-pragma-once-outside-header", header)


def test_manuals():
    one, three = (os.path.join(USR, f"share/man/man{n}") for n in "13")
    pages = [os.path.join(one, "creelctl.1"), os.path.join(three, "libcreel.3")]
    run("mandoc", "-T", "lint", "-W", "warning", *pages)
    text = {p: run("mandoc", "-T", "utf8", p, env={"MANWIDTH": "100"}) for p in pages}
    text = {p: re.sub(".\b", "", t) for p, t in text.items()}
    assert max(map(len, text[pages[0]].splitlines())) <= 100
    for line in ctl("help").out.split("Options:")[0].splitlines():
        if line.startswith("  "):
            assert f"\n     {line[2:18].strip()}" in text[pages[0]], line
    assert "\n   In Linux guests\n" in text[pages[0]], "a title is taken for a macro"
    for name in declared():
        assert f"{name}(" in text[pages[1]], name
        with open(os.path.join(three, name + ".3")) as f:
            assert f.read() == ".so man3/libcreel.3\n"


def test_image_build_finds_the_agent():
    kernel, rootfs = (os.path.join(folder.name, n) for n in ("vmlinuz", "rootfs"))
    with open(kernel, "wb") as f:
        f.write(bytes(0x1fe) + b"\x55\xaa\xeb\x62HdrS")
    os.mkdir(rootfs)
    run(os.path.join(USR, "bin/creelctl"), "image", "build", "--kernel", kernel, "--rootfs", rootfs,
        os.path.join(folder.name, "out.bundle"))
    with open(os.path.join(USR, "lib/creel/creel-agent"), "rb") as agent, \
            open(os.path.join(folder.name, "out.bundle"), "rb") as f:
        assert agent.read() in f.read()


def complete_in_bash(*words):
    script = os.path.join(USR, "share/bash-completion/completions/creelctl")
    code = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _creelctl; '
            'printf "%s\\n" "${COMPREPLY[@]}"')
    return run("bash", "-c", code, "-", script, CTL, *words, cwd=folder.name).split()


def complete_in_zsh(*words):
    code = ('_describe() { print -l -- "${(@P)4}" }; _files() { print FILES }; '
            'script=$1; shift; words=("$@"); CURRENT=$#; source $script')
    script = os.path.join(USR, "share/zsh/site-functions/_creelctl")
    return run("zsh", "-f", "-c", code, "-", script, CTL, *words).splitlines()


def test_completion():
    put("wait", "wait\n")
    number = run_detached("wait")
    run_detached("wait", "--name", "alpha")
    ctl("snapshot", "alpha", "snap")
    put("wide", "wait\n")
    open(os.path.join(folder.name, "some file"), "w").close()
    for name in ["lab1", "lab2"]:
        ctl("host", "add", name, "192.0.2.1", "a" * 64)
    for words, answer in [
            (["sna"], ["snapshot", "snapshots"]),
            (["image", ""], ["build"]),
            (["hos"], ["host"]),
            (["host", "r"], ["reboot", "rm"]),
            (["frok", ""], []),
            (["help", "ve"], ["version"]),
            (["kill", ""], [number, "alpha"]),
            (["kill", "x", "al"], ["alpha"]),
            (["fork", "-n", "3", ""], [number, "alpha", "snap"]),
            (["rollback", "alpha", ""], ["snap"]),
            (["rollback", "alpha", "snap", ""], []),
            (["run", "--name", ""], []),
            (["run", "w"], ["wait", "wide"]),
            (["run", "wait", ""], []),
            (["run", "wait", "-"], []),
            (["inspect", "wid"], ["wide"]),
            (["attach", "--st"], ["--stdout", "--stderr"]),
            (["attach", "--", "--st"], []),
            (["--js"], ["--json"]),
            (["ps", "--for"], ["--format"]),
            (["--host", "=", "127.0.0.1:1", "kill", ""], []),
            (["-H", ""], ["lab1", "lab2"]),
            (["host", "rm", "lab2"], ["lab2"]),
            (["put", "some"], ["some", "file"]),
            (["run", "--kernel", "=", "some"], ["some", "file"])]:
        assert complete_in_bash(*words) == answer, (words, complete_in_bash(*words))
    assert complete_in_zsh("sna")[0] == "snapshot:freeze the whole of a guest as a snapshot"
    assert complete_in_zsh("resume", "") == [f"{number}:guest, waiting", "alpha:guest, waiting"]
    assert complete_in_zsh("put", "") == ["FILES"]
    assert complete_in_zsh("image", "build", "x", "") == []


if __name__ == "__main__":
    install()
    sys.exit(base.run_tests("install", globals()))
