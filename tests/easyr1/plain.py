"""EasyR1 alone, without the adapter, on a CPU: `python plain.py CONFIG [key=value ...]`.

EasyR1's own command line reads our configuration without the keys that it lacks, and uses its own classes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ["ECHORL_VL_DRY_RUN"] = "easyr1"

import ray
import yaml

import echorl_vl.engines
import echorl_vl.engines.easyr1  # noqa: F401  (replaces CUDA by the CPU)
from echorl_vl.config import config_to_dict, load_config
from echorl_vl.engines.easyr1.settings import OUR_KEYS
from echorl_vl.engines.ray.adjusted import for_dry_run


def main() -> None:
    config, _ = for_dry_run(load_config(sys.argv[1], sys.argv[2:]))
    tree = config_to_dict(config)
    for key in OUR_KEYS:
        *parents, name = key.split(".")
        section = tree
        for parent in parents:
            section = section[parent]
        del section[name]
    tree["worker"]["rollout"]["val_override_config"] = {"n": 1}
    path = Path(tempfile.mkdtemp()) / "plain.yaml"
    path.write_text(yaml.safe_dump(tree))
    hook = "echorl_vl.engines.easyr1.dry_run.install.install"  # in every process, before EasyR1 is imported
    ray.init(
        address="local",
        num_cpus=8,
        num_gpus=config.trainer.n_gpus_per_node,
        include_dashboard=False,
        runtime_env={"worker_process_setup_hook": hook},
    )
    from verl.trainer.main import main as easyr1

    sys.argv = ["main", f"config={path}"]
    easyr1()


if __name__ == "__main__":
    main()
