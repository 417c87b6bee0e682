"""That a living server is never taken for a dead one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.postgres.postmaster import Postmaster

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")


def test_a_process_in_the_middle_of_an_exec_is_there() -> None:
    # It replaces itself a thousand times, always with the same argument: for a moment each time it has none.
    again = (
        "import os, sys; n = int(sys.argv[1]); arguments = [*sys.orig_argv[:4], str(n - 1), sys.argv[2]]\n"
        "n and os.execv('/bin/sh', ['sh', '-c', 'exec \"$@\"', 'sh', *arguments])"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", again, "200", "/the/data"])
    try:
        looks = 0
        while process.poll() is None:
            there = Postmaster(process.pid, Path("/the/data"), None, "").serves(Path("/the/data"))
            assert there or process.poll() is not None
            looks += 1
        assert looks > 100
    finally:
        process.kill()
        process.wait()


def test_a_process_that_is_gone_is_not_there() -> None:
    process = subprocess.Popen(["/bin/true", "/the/data"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not Postmaster(process.pid, Path("/the/data"), None, "").serves(Path("/the/data"))  # a zombie
    process.wait()
    assert not Postmaster(process.pid, Path("/the/data"), None, "").serves(Path("/the/data"))
