"""The paper's analyses made again: `python -m eval.evidence [NAME ...] --out DIR`.

Data moves one way: an experiment (one file in `experiments/`) plans runs, the store runs those that it does not hold
yet, the experiment works numbers out of them, and a JSON file, a plot and a table come of those.

    setup.py         what is trained and tested          command line -> Setup
    runs.py          trainings and measurements          Setup -> Run, each with a hash of its settings
    store.py         a folder of finished runs           Run -> run folder, or numbers in a JSON file
    probe.py         a policy that is looked at          checkpoint -> rollouts, grades, entropies
    statistics.py    intervals over seeds, paired test   numbers of the seeds -> Contrast
    experiment.py    what an experiment is               runs -> Results
    experiments/     the experiments, found by being there
    results.py       files                               Results -> JSON and plot
    report.py        tables for the documentation        JSON -> markdown
"""
