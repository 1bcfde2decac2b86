"""What EasyR1 and verl share as engines: everything around a training that a host framework runs on Ray.

    base         such an engine as the registry knows it; host and hooks: the framework and what is relied on of it
    adjusted     what is changed in a configuration, also for a CPU dry run; checks: what is refused in one
    resources    GPUs, model and memory held against what is there
    run          the start and the end of a run; driver: the process that trains, and which processes it lost
    datasets     problem sets as a host reads them; batches: what comes back of them
    recorder     what a training leaves in its run folder; checkpoints: which of a host's are whole
    dry_run      what stands in the place of CUDA and vLLM on a CPU

Importing this package imports neither Ray nor a host; `driver` and `lost` alone import Ray.
"""
