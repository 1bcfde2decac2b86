"""What EasyR1 and verl share as engines: everything around a training run of a host framework on Ray.

    base               base class of both engines
    host, hooks        the host framework: its version, its packages, and the names that an adapter uses
    adjusted, checks   changes to a configuration before a run, and unsupported settings
    resources          checks of GPUs, model files and memory
    run                start and end of a run
    driver, lost       the driver process, and processes that died
    datasets, batches  problem sets as a host reads them, and rollouts read from a host's batches
    recorder           metrics, rollouts and validations in the run folder
    checkpoints        which checkpoints of a host are complete
    dry_run            replacements for CUDA and vLLM on a CPU

Importing this package imports neither Ray nor a host; only `driver` and `lost` import Ray.
"""
