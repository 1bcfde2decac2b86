"""Reward files that fail: which failures end a run, which score 0 and are counted, and what the errors say."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from echorl_vl.errors import UserError
from echorl_vl.rewards.loading import UserReward
from echorl_vl.rewards.manager import RewardManager
from echorl_vl.rewards.pool import GradingPool, PoolError


def _reward(folder: Path, code: str) -> str:
    path = folder / "mine.py"
    path.write_text(code)
    return f"{path}:f"


def _score(manager: RewardManager, *responses: str) -> list[float]:
    scores = manager.score(responses, [1] * len(responses), ["5"] * len(responses))
    return [score["overall"] for score in scores]


SEQUENTIAL = "import os, sys, time\nREWARD_TYPE = 'sequential'\n"
GOOD = "\n    return {'overall': 1.0}\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(row): raise StopIteration('a\\x1b[2J\\u202e')", r"raised an error: StopIteration: a\\x1b\[2J\\u202e"),
        ("def f(row): sys.exit(3)", "raised an error: SystemExit: 3"),
        ("def f(row): raise KeyboardInterrupt", "raised an error: KeyboardInterrupt"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\ndef f(row): raise E", "raised an error: E"),
        ("def f(row):\n    os.write(3, b'\\0\\0\\0\\0\\0\\0\\0\\5junk!')" + GOOD, "wrote into a file descriptor"),
        ("def f(row):\n    os.write(3, b'x' * 10 ** 8)" + GOOD, "wrote into a file descriptor"),
        ("def f(row):\n    os.closerange(3, 100)" + GOOD, "closed a file descriptor"),
        ("def f(row):\n    os.closerange(3, 100)\n    time.sleep(60)", "closed a file descriptor"),
        ("def f(row): return {'overall': 10 ** 400}", "overall: expected a number, got int 1000"),
        ("def f(row): return {'overall': 1e39}", r"overall: expected a number from -1000000 to 1000000, got 1e\+39"),
        (
            "def f(row): return {'overall': 1, 'accuracy': 1, 'length': -2e6}",
            "length: expected a number from .*got -2e",
        ),
        ("def f(row): return {'overall': 1.0, 'accuracy': 7.0}", r"accuracy: expected 0 \(incorrect\) to 1 .*got 7"),
        (
            "def f(row): return {'overall': 1.0, 'accuracy': -0.5}",
            r"accuracy: expected 0 \(incorrect\) to 1 .*got -0.5",
        ),
        ("def f(row): return {'overall': '1'}", "overall: expected a number, got str '1'"),
        ("def f(row): return {'overall': 1.0, 'accuracy': b'1'}", "accuracy: expected a number, got bytes b'1'"),
        ("class E(BaseException):\n    def __str__(self): sys.exit(3)\ndef f(row): raise E", "raised an error: E "),
        ("def quick_score(row): raise StopIteration('quick')\ndef f(row):" + GOOD, "StopIteration: quick"),
    ],
)
def test_an_error_names_the_function_and_the_row(tmp_path: Path, code: str, message: str) -> None:
    reward = _reward(tmp_path, SEQUENTIAL + code)
    with RewardManager(reward, {}, 1, 20.0) as manager, pytest.raises(UserError, match=message) as error:
        _score(manager, "one", "two")
    assert str(error.value).startswith(reward) and "response (end of it): 'one'" in str(error.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit(3)", "mine.py: loading it failed with SystemExit: 3"),
        ("raise KeyboardInterrupt", "mine.py: loading it failed with KeyboardInterrupt"),
        ("raise StopIteration('a\\x1b[2J')", r"mine.py: loading it failed with StopIteration: a\\x1b\[2J"),
        ("quick_score = 3", "mine.py: quick_score: expected a function, got int 3"),
        ("warm_up = 'x'", "mine.py: warm_up: expected a function, got str 'x'"),
        ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E", "mine.py: loading it failed with E$"),
        (
            "from echorl_vl.data.images import ImageError\ndef warm_up(): raise ImageError('row 3', 'torn')",
            "^row 3: torn$",  # any UserError keeps its message
        ),
        ("import os; os._exit(3)", "mine.py:f: no grading worker started .*; the last failure: .* exit status 3"),
        ("import os; os.closerange(3, 100)", "(?s)mine.py:f: .*closed a file descriptor"),
    ],
)
def test_a_file_that_does_not_load_is_named(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RewardManager(_reward(tmp_path, code + "\ndef f(rows): return []"))


def test_a_file_that_hangs_when_imported_is_an_error(tmp_path: Path) -> None:
    reward = UserReward.parse(_reward(tmp_path, "while True: pass"), {})
    with (
        GradingPool(reward, 1, 1.0, start_limit=1.5) as pool,
        pytest.raises(PoolError, match=r"loading the function .* took longer than 1\.5 s"),
    ):
        pool.map([("describe", [])])


def test_the_caller_never_imports_the_file(tmp_path: Path) -> None:
    code = f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ndef f(rows): return []"
    with RewardManager(_reward(tmp_path, code)) as manager:
        assert (tmp_path / "pid").read_text() == str(manager._pool.pids()[0])


@pytest.mark.parametrize("value", ["True", "np.float32(1)", "np.int64(1)", "np.array(1.0)", "fractions.Fraction(1)"])
def test_numbers_of_any_library_are_scores(tmp_path: Path, value: str) -> None:
    head = f"import fractions, numpy as np\nquick_score = warm_up = None\n{SEQUENTIAL}"
    code = f"{head}def f(row): return {{'overall': {value}}}"
    with RewardManager(_reward(tmp_path, code), {}, 1, 20.0) as manager:
        assert _score(manager, "a") == [1.0]


@pytest.mark.parametrize(
    "act",
    [
        'raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 8 bytes")',
        "raise OSError(errno.ENOMEM, 'Cannot allocate memory')",
        "raise BlockingIOError(errno.EAGAIN, 'Resource temporarily unavailable')",
        "raise ImportError('libx.so: failed to map segment: Cannot allocate memory')",
        "threading.stack_size(1 << 30)\n    while True: threading.Thread(target=time.sleep, args=[60]).start()",
    ],
)
def test_exhausted_memory_and_threads_are_crashes_of_one_row(tmp_path: Path, act: str) -> None:
    code = f"import errno, threading\n{SEQUENTIAL}def f(row):\n    if row['response'] == 'ok':{GOOD}    {act}\n"
    code = code.replace("if row['response'] == 'ok':\n    return", "if row['response'] == 'ok': return")
    with RewardManager(_reward(tmp_path, code), {}, 1, 20.0) as manager:
        assert _score(manager, "ok", "all of it", "ok") == [1.0, 0.0, 1.0]
        assert manager.kinds == ["ok", "crash", "ok"]


@pytest.mark.parametrize(
    "act",
    [
        "print('x' * 100_000)",
        "os.chdir('/')",
        "os.fork()",
        "os.environ.clear()",
        "sys.stdout.close()",
        "sys.path[:] = []",
    ],
)
def test_harmless_side_effects_are_not_errors(tmp_path: Path, act: str) -> None:
    with RewardManager(_reward(tmp_path, f"{SEQUENTIAL}def f(row):\n    {act}{GOOD}"), {}, 1, 20.0) as manager:
        assert _score(manager, *"abcd") == [1.0] * 4
        assert _score(manager, *"abcd") == [1.0] * 4


@pytest.mark.parametrize("kind", ["batch", "sequential"])
def test_on_error_zero_scores_0_counts_and_warns_once(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        f"REWARD_TYPE = {kind!r}\n"
        "def one(row):\n"
        "    if row['response'] == 'number': return 1.0\n"
        "    return {'overall': 1 / len(row['response']), 'accuracy': 0}\n"
        "def f(x): return one(x) if REWARD_TYPE == 'sequential' else [one(row) for row in x]\n"
    )
    reward = _reward(tmp_path, code)
    with RewardManager(reward, {}, 1, 20.0, on_error="zero") as manager, caplog.at_level(logging.WARNING):
        assert _score(manager, "a", "", "number", "ab") == [1.0, 0.0, 0.0, 0.5]
        assert manager.kinds == ["ok", "error", "error", "ok"]
        assert _score(manager, "", "") == [0.0, 0.0]  # not even if all rows fail
        assert (manager.errors, manager.timeouts, manager.crashes) == (4, 0, 0)
    told = [message for message in caplog.messages if "worker.reward.on_error = zero" in message]
    assert len(told) == 1 and told[0].startswith(f"{reward} raised an error: ZeroDivisionError")
    with RewardManager(reward, {}, 1, 20.0) as manager, pytest.raises(UserError, match="ZeroDivisionError"):
        _score(manager, "a", "")


def test_on_error_is_stop_or_zero(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of stop, zero, got 'ignore'"):
        RewardManager(_reward(tmp_path, "def f(rows): return []"), on_error="ignore")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (SEQUENTIAL + "def f(row): time.sleep(60)", r"mine.py:f: each of the 3 answers .*time_limit = 1 s"),
        ("import time\ndef f(rows): time.sleep(60)", "mine.py:f: each of the 3 answers .*Raise the limit"),
        (
            SEQUENTIAL + "def quick_score(row): time.sleep(60)\ndef f(row):" + GOOD,
            r"mine.py:f \(its quick_score\): each of the 3 answers",
        ),
        (
            SEQUENTIAL + "def f(row): os._exit(1) if row['response'] == 'exit' else time.sleep(60)",
            r"time_limit = 1 s \(2\) or ended the process that scores it \(1\)",
        ),
    ],
)
def test_a_step_without_any_score_is_an_error(tmp_path: Path, code: str, message: str) -> None:
    with RewardManager(_reward(tmp_path, code), {}, 2, 1.0) as manager:
        with pytest.raises(UserError, match=message):
            _score(manager, "a", "exit", "b")
        assert _score(manager, "b") == [0.0]  # a single row may time out


@pytest.mark.slow
def test_a_slow_quick_score_loses_only_its_row(tmp_path: Path) -> None:
    code = SEQUENTIAL + (
        "def quick_score(row):\n"
        "    if row['response'] == 'slow': time.sleep(60)\n"
        "    if row['response'] == 'quick': return {'overall': 0.5, 'accuracy': 0}\n"
        "def f(row): return {'overall': 1.0, 'accuracy': 1}\n"
    )
    with RewardManager(_reward(tmp_path, code), {}, 2, 3.0) as manager:
        begin = time.monotonic()
        assert _score(manager, "quick", "slow", "other") == [0.5, 0.0, 1.0]
        assert time.monotonic() - begin < 50
        assert (manager.timeouts, manager.kinds) == (1, ["ok", "timeout", "ok"])


ONE = "def f(row):\n    return {'overall': float(row['response'] == row['ground_truth'])}\n"
MANY = "def f(rows): return [{'overall': float(row['response'] == row['ground_truth'])} for row in rows]\n"
NUMBER = "def f(row):\n    return {'overall': 1.0} if isinstance(row, dict) else 1.0\n"


@pytest.mark.parametrize("on_error", ["stop", "zero"])
@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (ONE, 'It works with one row: set REWARD_TYPE = "sequential" in the file'),
        (NUMBER, 'It works with one row: set REWARD_TYPE = "sequential" in the file'),
        ("REWARD_TYPE = 'batch'\n" + ONE, 'set REWARD_TYPE = "sequential"'),
        ("REWARD_TYPE = 'sequential'\n" + MANY, 'It works with a list of rows: set REWARD_TYPE = "batch"'),
        ("def f(row):\n    return {'overall': row['no such key']}\n", None),
    ],
)
def test_a_function_of_the_other_type_gets_a_hint(
    tmp_path: Path, code: str, hint: str | None, on_error: str, caplog: pytest.LogCaptureFixture
) -> None:
    with RewardManager(_reward(tmp_path, code), {}, 1, 20.0, on_error) as manager, caplog.at_level(logging.WARNING):
        if on_error == "stop":
            with pytest.raises(UserError) as error:
                _score(manager, "5", "4")
            message = str(error.value)
        else:
            assert _score(manager, "5", "4") == [0, 0]
            message = caplog.text
    assert (hint in message) if hint else "set REWARD_TYPE" not in message


@pytest.mark.parametrize(
    ("code", "scores"),
    [
        ("def f(predict, ground_truth): return {'overall': 0.5 * (predict == ground_truth), 'accuracy': 0}", [0.5, 0]),
        ("def f(predict_str: str, ground_truth: str) -> float: return float(predict_str == ground_truth)", [1, 0]),
        (
            "def f(predicts, ground_truths, weight=0.1, more=None):\n"
            "    return [{'overall': weight * (p == g), 'accuracy': 1} for p, g in zip(predicts, ground_truths)]",
            [0.25, 0],
        ),
        ("def f(predicts, ground_truths, *, weight): return [weight * 4 * (p == '5') for p in predicts]", [1, 0]),
        ("def f(response, ground_truth): return float(response == ground_truth)", [1, 0]),
        ("def f(solution, answer): return float(solution == '5' and answer == '5')", [1, 0]),
        ("def f(gt, pred): return float(pred == '5' and gt == '5')", [1, 0]),
        ("def f(*, predict, ground_truth): return float(predict == ground_truth)", [1, 0]),
        (
            "import numpy as np\n"
            "def f(predicts, ground_truths): return np.array([p == g for p, g in zip(predicts, ground_truths)])",
            [1, 0],
        ),
        ("def f(predict: list[str], ground_truth: list[str]): return tuple(float(p == '5') for p in predict)", [1, 0]),
        (
            "REWARD_TYPE = 'sequential'\ndef f(predict, ground_truth, **rest): return {'overall': predict == '5'}",
            [1, 0],
        ),
    ],
)
def test_functions_of_older_interfaces_work(tmp_path: Path, code: str, scores: list[float]) -> None:
    kwargs = {"weight": 0.25} if "weight" in code else {}
    with RewardManager(_reward(tmp_path, code), kwargs, 1, 20.0) as manager:
        assert _score(manager, "5", "4") == scores


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "predicts, ground_truths, questions, weight=0.1",
            r"missing a required argument: 'questions': it uses an older interface, \(predicts, "
            r"ground_truths, questions, weight\)\. Its keyword arguments: questions, weight\. EasyR1's",
        ),
        ("predict, ground_truth, problem", "missing a required argument: 'problem': it uses an older"),
        ("data_source, solution_str, ground_truth, extra_info=None", "missing .*'solution_str'.*EasyR1's interface is"),
        ("completions, answers", "missing a required argument: 'answers'.*EasyR1's interface is f"),
    ],
)
def test_an_error_for_missing_arguments_describes_the_current_interface(
    tmp_path: Path, arguments: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        RewardManager(_reward(tmp_path, f"def f({arguments}): return []"))


def test_a_function_of_verl_works_with_a_data_source_in_its_kwargs(tmp_path: Path) -> None:
    code = "def f(data_source, solution_str, ground_truth, extra_info=None): return float(solution_str == ground_truth)"
    with RewardManager(_reward(tmp_path, code), {"data_source": "mine"}, 1, 20.0) as manager:
        assert _score(manager, "5", "4") == [1, 0]


def test_positional_only_arguments_work(tmp_path: Path) -> None:
    with RewardManager(_reward(tmp_path, "def f(predict, ground_truth, /): return predict == ground_truth")) as manager:
        assert _score(manager, "5", "4") == [1, 0]
