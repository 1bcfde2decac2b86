"""TRL's trainer on a CPU. Each test file skips where TRL is not installed: `make test-trl` says how to run them.

The folder is not called trl: pytest puts tests/ on the path, where `import trl` would then find it.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the warning that rollout_func is experimental
