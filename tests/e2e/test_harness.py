"""The tests' own tools: a failure must be seen as one."""
import os
import subprocess
import sys
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def count(*commands):
    done = subprocess.run([os.path.join(TESTS, "run"), *commands], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()[-1]


def scenarios(text):
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "test_sample.py")
        with open(path, "w") as f:
            f.write(text)
        done = subprocess.run([sys.executable, os.path.join(TESTS, "emu", "scenarios.py"), path],
                              capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()


def test_run_counts():
    assert count("echo ok a; echo ok b", "echo ok c") == (0, "3 passed, 0 failed")
    assert count("echo ok a; echo FAIL b; exit 1", "echo ok c") == (1, "2 passed, 1 failed")
    assert count("echo FAIL b; echo FAIL c") == (1, "0 passed, 2 failed")


def test_run_sees_what_prints_no_verdict():
    assert count("echo ok a; exit 3") == (1, "1 passed, 1 failed")
    assert count("true") == (1, "0 passed, 1 failed")
    assert count("no-such-command") == (1, "0 passed, 1 failed")
    assert count("echo okay; echo not ok a") == (1, "0 passed, 1 failed")
    assert count() == (1, "0 passed, 0 failed")


def test_scenarios_report_each_function():
    status, lines = scenarios("from scenarios import Skip\n"
                              "def test_good(): pass\n"
                              "def test_bad(): assert 1 == 2\n"
                              "def test_not_here(): raise Skip('no such thing')\n"
                              "def helper(): raise ValueError\n")
    assert status == 1
    verdicts = [line.split(" (")[0] for line in lines if line.startswith(("ok", "FAIL", "skip"))]
    assert verdicts == ["ok sample_good", "FAIL sample_bad", "skip sample_not_here: no such thing"]


def test_scenarios_report_a_file_that_does_not_load():
    status, _ = scenarios("import no_such_module\n")
    assert status != 0
