"""What EasyR1 and verl share as engines: everything around a training that a host framework runs on Ray.

    base        such an engine as the registry knows it
    adjusted    what it changes in a configuration, also for a CPU dry run
    checks      what is refused in a configuration
    resources   GPUs, model and memory held against what is there
    run         the start and the end of a run: checks, run folder, exit status
    driver      Ray joined or started, and the driver process waited for
    hooks       names of a host that an adapter relies on, checked before a run starts
    dry_run     a run without a GPU

Importing this package imports neither Ray nor a host; `driver` and `lost` alone import Ray.
"""
