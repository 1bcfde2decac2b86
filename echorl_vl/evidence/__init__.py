"""Replications of the paper's analyses: `python -m eval.evidence [NAME ...] --out DIR`.

An experiment (one file in `experiments/`) plans its runs, the store executes those that are missing, and the experiment
analyses them; the results are a JSON file, a plot and a table.

    setup.py         what is trained and tested          command line -> Setup
    runs.py          training runs and measurements      Setup -> Run, each with a hash of its settings
    store.py         a folder of finished runs           Run -> run folder, or numbers in a JSON file
    probe.py         measurements of one policy          checkpoint -> rollouts, grades, entropies
    statistics.py    intervals over seeds, paired test   one number per seed -> Contrast
    experiment.py    interface of an experiment          runs -> Results
    experiments/     the experiments; every module is registered
    results.py       result files                        Results -> JSON and plot
    report.py        tables for the documentation        JSON -> markdown
"""
