"""Run code in a separate process, since importing EasyR1 on a CPU changes torch for the whole process."""

from __future__ import annotations

import os
import subprocess
import sys


def in_dry_run(code: str) -> str:
    """Run `code` in a process of a CPU dry run; returns the last line that it prints."""
    process = subprocess.run(
        [sys.executable, "-c", f"import echorl_vl.engines.easyr1\n{code}"],
        env=os.environ | {"ECHORL_VL_DRY_RUN": "easyr1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-3000:]
    return process.stdout.strip().splitlines()[-1]
