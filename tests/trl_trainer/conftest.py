"""TRL's trainer on a CPU. The tests are skipped if TRL is not installed; `make test-trl` runs them.

The folder is not named trl because pytest adds tests/ to the path, where `import trl` would find it.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the warning that rollout_func is experimental
