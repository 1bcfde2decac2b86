"""Tables for the documentation, and errors of the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from echorl_vl.errors import UserError
from echorl_vl.evaluation.folder import without_nan
from echorl_vl.evidence.__main__ import main
from echorl_vl.evidence.experiment import experiment_names
from echorl_vl.evidence.report import fill, report
from echorl_vl.evidence.results import result_name
from echorl_vl.evidence.setup import make_setup
from echorl_vl.evidence.statistics import Contrast

DOCUMENT = """# Evidence

<!-- evidence: helps -->
not run yet
<!-- end -->

<!-- evidence: step_choice -->
not run yet
<!-- end -->

The end.
"""


def write(out, name, task, value="0.5", seeds=(1, 2)):
    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "experiment": name,
        "task": task,
        "seeds": list(seeds),
        "steps": 150,
        "seconds": 600,
        "command": f"python -m eval.evidence {name}",
        "sentence": "The claim that x is supported (y).",
        "table": {"columns": ["a", "b"], "rows": [["x", value]]},
        "claims": [Contrast("the claim", (0.1, 0.12), "above", 2).to_json()],
        "others": [Contrast("another", (math.nan, math.nan)).to_json()],
        "raw": {"contrasts": []},
    }
    (folder / f"{name}_{task}.json").write_text(json.dumps(without_nan(result)))


def test_every_experiment_has_a_table_or_a_note_that_it_was_not_run(tmp_path):
    write(tmp_path, "helps", "text")
    text = report(tmp_path)
    assert "| a | b |\n| --- | --- |\n| x | 0.5 |" in text and "*The claim that x is supported (y).*" in text
    assert "**text**, 2 seeds, 150 steps, 10 minutes" in text
    assert text.count("not run yet") == 6
    assert "| the claim | 0.110 (-0.145 to 0.365) | 97.5 % | 0.5000 | undecided |" in text
    assert "| another | ? | 95.0 % | ? |  |" in text


def test_results_are_inserted_at_their_places(tmp_path):
    document = tmp_path / "docs" / "evidence.md"
    document.parent.mkdir()
    document.write_text(DOCUMENT)
    write(tmp_path, "helps", "pictures", "0.1")
    write(tmp_path, "helps", "text", "0.2")
    assert fill(document, tmp_path) == ["helps"]
    once = document.read_text()
    assert once.index("| x | 0.1 |") < once.index("| x | 0.2 |") < once.index("evidence: step_choice")
    assert once.count("not run yet") == 1 and once.endswith("The end.\n")
    files = sorted(path.name for path in (document.parent / "evidence").iterdir())
    assert files == [f"helps_{task}.{suffix}" for task in ("pictures", "text") for suffix in ("json", "png")]
    assert "![helps_text](evidence/helps_text.png)" in once
    write(tmp_path, "helps", "text", "0.3")
    fill(document, tmp_path)
    assert "0.2" not in document.read_text() and "| x | 0.3 |" in document.read_text()


def test_results_from_another_folder_are_kept(tmp_path):
    document = tmp_path / "evidence.md"
    document.write_text(DOCUMENT)
    first, second = tmp_path / "first", tmp_path / "second"
    write(first, "helps", "text", "0.1")
    write(first, "step_choice", "text", "0.2")
    fill(document, first)
    write(second, "helps", "pictures", "0.3")
    write(second, "step_choice", "text", "0.4")
    assert fill(document, second) == ["helps", "step_choice"]
    text = document.read_text()
    assert text.index("| x | 0.3 |") < text.index("| x | 0.1 |") < text.index("| x | 0.4 |") and "0.2" not in text
    once = text
    fill(document, second)
    assert document.read_text() == once


def test_a_result_of_fewer_seeds_does_not_replace_one_of_more(tmp_path):
    document = tmp_path / "evidence.md"
    document.write_text(DOCUMENT)
    write(tmp_path / "five", "helps", "text", seeds=(1, 2, 3, 4, 5))
    fill(document, tmp_path / "five")
    once = document.read_text()
    write(tmp_path / "one", "helps", "text", "0.9", seeds=(1,))
    with pytest.raises(
        UserError, match=r"helps_text: expected a result of at least 5 seed\(s\) as in .*evidence, got 1 in .*one"
    ):
        fill(document, tmp_path / "one")
    assert document.read_text() == once


def test_results_of_other_settings_coexist_with_those_of_the_task(tmp_path):
    names = {
        result_name("helps", make_setup("text", None, keys, splits, **sizes))
        for keys, splits, sizes in (
            ([], [], {}),
            ([], [], {"seeds": (1,)}),
            (["echo.coef=0.1"], [], {}),
            ([], [], {"samples": 2}),
            ([], ["far=generated/arithmetic@ood_kinds"], {}),
        )
    }
    assert "helps_text" in names and len(names) == 4
    document = tmp_path / "evidence.md"
    document.write_text(DOCUMENT)
    write(tmp_path, "helps", "text", "0.1")
    write(tmp_path, "helps", "text", "0.2")
    (tmp_path / "results" / "helps_text.json").rename(tmp_path / "results" / "helps_text_abcdef.json")
    write(tmp_path, "helps", "text", "0.1")
    fill(document, tmp_path)
    text = document.read_text()
    assert text.index("| x | 0.1 |") < text.index("helps_text.png") < text.index("| x | 0.2 |")
    assert "evidence/helps_text_abcdef.png" in text and (tmp_path / "evidence" / "helps_text_abcdef.json").is_file()


def test_the_documentation_has_a_place_for_every_experiment():
    text = (Path(__file__).resolve().parents[2] / "docs" / "evidence.md").read_text()
    for name in experiment_names():
        assert text.count(f"<!-- evidence: {name} -->") == 1
        assert f"python -m eval.evidence {name} --out OUT" in text


def test_a_result_without_a_place_is_named(tmp_path):
    document = tmp_path / "evidence.md"
    document.write_text(DOCUMENT)
    write(tmp_path, "sweep", "text")
    with pytest.raises(UserError, match=r"no place for sweep; expected <!-- evidence: sweep -->"):
        fill(document, tmp_path)
    assert document.read_text() == DOCUMENT


def test_an_invalid_result_is_named(tmp_path):
    write(tmp_path, "helps", "text")
    (tmp_path / "results" / "helps_text.json").write_text("{}")
    with pytest.raises(UserError, match=r"helps_text\.json, experiment: expected text, got nothing"):
        report(tmp_path)


def test_a_result_of_an_earlier_version_is_refused(tmp_path):
    write(tmp_path, "helps", "text")
    file = tmp_path / "results" / "helps_text.json"
    file.write_text(file.read_text().replace('"undecided"', '"not seen"'))
    with pytest.raises(
        UserError, match=r"helps_text\.json, verdict: expected one of supported, .*, got 'not seen' of an"
    ):
        report(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hepls"], "no experiment is called 'hepls'; did you mean helps?"),
        (["xyz"], "no experiment is called 'xyz'; expected one of degeneration, group_size,"),
        (["helps", "--task", "text", "--config", "x.yaml"], "expected --task or --config, got both"),
        (["helps", "--seeds", "1", "1"], "--seeds 1 1: expected each seed once"),
        (["helps", "--samples", "0"], "--samples and --problems: expected whole numbers of at least 1"),
        (["helps", "data.seed=3"], "data.seed is set by the experiments"),
        (["helps", "--task", "text", "echo.coeff=1"], "echo.coeff"),
        (["report", "helps"], "report: expected no experiment, got helps"),
        (["report", "--into", "nowhere.md"], "--into nowhere.md: can't be read"),
    ],
)
def test_invalid_arguments_are_named(tmp_path, capsys, arguments, said):
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert f"error: {said}" in (error := capsys.readouterr().err) or said in error
    assert "Traceback" not in error


def test_the_plan_runs_nothing(tmp_path, capsys):
    assert main(["degeneration", "--task", "text", "--seeds", "1", "--plan", "--out", str(tmp_path / "new")]) == 0
    assert "text, training" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()
