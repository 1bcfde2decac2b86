"""Scores a checkpoint: `python -m eval.run --model PATH --bench geometry3k,mathvision --out DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from echorl_vl.errors import INTERRUPTED, UserError
from eval.benchmarks.base import Benchmark
from eval.benchmarks.registry import benchmarks
from eval.benchmarks.sources import Questions, load
from eval.folder import BenchmarkFolder
from eval.options import Options, parse
from eval.progress import bar, wide_console
from eval.settings import Sampling, describe, sampling_for, template_path

USAGE_ERROR = 2

# Messages of the modules that training shares speak of its keys; here the same things are options.
_OPTIONS = {
    "trainer.save_checkpoint_path=...": "--out",
    "trainer.save_checkpoint_path": "--out",
    "data.min_pixels": "--min-pixels",
    "data.max_pixels": "--max-pixels",
    "data.format_prompt": "--template",
    "data.image_dir": "--data",
    "model_path": "--model",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status (0 done, 2 a mistake in the input, 130 stopped by the user)."""
    console = wide_console()
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        if options is None:
            _list(console)
        else:
            run(options, console)
        return 0
    except UserError as error:
        message = str(error)
        for key, option in _OPTIONS.items():
            message = message.replace(key, option)
        print(f"error: {message}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED


def run(options: Options, console: Console) -> dict[str, dict[str, Any]]:
    """Generates what is missing, grades all of it, writes the results; gives them by benchmark. Raises UserError."""
    if not options.grade_only:
        _generate(options, console)
    from eval.grading.grade import Grader
    from eval.report import show, write_overview

    with Grader(options.workers, options.time_limit, options.tolerance) as grader:
        for benchmark in options.benchmarks:
            _grade(benchmark, options, grader, console)
    results = write_overview(options.out)
    show({name: results[name] for name in (b.name for b in options.benchmarks)}, console)
    console.print(
        f"written: {options.out / 'results.md'}, results.json, and a folder for each benchmark", soft_wrap=True
    )
    return results


def _generate(options: Options, console: Console) -> None:
    """Every benchmark is read and checked before a model is loaded."""
    from eval.generation.draw import draw
    from eval.generation.model_files import fingerprint, resolve
    from eval.generation.store import ResponseStore

    template = template_path(options.template)
    plans: list[tuple[Benchmark, Questions, Sampling]] = []
    for benchmark in options.benchmarks:
        sampling = sampling_for(benchmark, options.preset, options.sampling)
        questions = load(benchmark, options.place(benchmark), sampling.seed, options.limit)
        count = (
            f"N = {questions.total}" if options.limit is None else f"PARTIAL: {len(questions)} of N = {questions.total}"
        )
        console.print(f"{benchmark.name}: {count} ({questions.edition.name}; {questions.source})", soft_wrap=True)
        plans.append((benchmark, questions, sampling))
    model = resolve(options.model or "")
    common = _common_settings(options, template) | {"model_sha256": fingerprint(model)}
    generator = None
    for benchmark, questions, sampling in plans:
        folder = BenchmarkFolder(options.out, benchmark.name)
        lock = folder.lock()
        try:
            settings = describe(
                sampling,
                benchmark=benchmark.name,
                edition=questions.edition.name,
                size=questions.total,
                limit=None if len(questions) == questions.total else len(questions),
                questions_sha256=questions.sha256,
                **common,
            )
            folder.begin(settings, _about(options, questions, sampling.seed), questions)
            store = ResponseStore(folder.responses_file)
            if len(store.responses) < len(questions):
                if generator is None:
                    most_images = max(plan[1].most_images for plan in plans)
                    generator = _load_generator(model, options, template, common["engine"], most_images)
                with bar(console, f"{benchmark.name}: responses", len(questions)) as update:
                    draw(generator, benchmark.name, questions, questions.source, sampling, store, update)
        finally:
            lock.release()


def _grade(benchmark: Benchmark, options: Options, grader: Any, console: Console) -> None:
    from eval.report import result_of, write_result

    folder = BenchmarkFolder(options.out, benchmark.name)
    lock = folder.lock()
    try:
        written = folder.read_settings()
        questions = folder.read_questions()
        responses = folder.read_responses(questions, written["settings"]["samples"])
        with bar(console, f"{benchmark.name}: grading", len(questions)) as update:
            grades = grader.grade(questions, responses, update)
        graded_with = {"tolerance": options.tolerance, "time_limit": options.time_limit} | _versions(
            "mathruler", "math-verify", "latex2sympy2_extended", "sympy"
        )
        write_result(folder, result_of(benchmark, grades, written, graded_with), grades)
    finally:
        lock.release()


def _load_generator(model: str, options: Options, template: Path | None, engine: str, most_images: int) -> Any:
    shared = {
        "template": template,
        "min_pixels": options.min_pixels,
        "max_pixels": options.max_pixels,
        "dtype": options.dtype,
        "batch_size": options.batch_size,
    }
    if engine == "vllm":
        from eval.generation.vllm_backend import VLLMGenerator

        return VLLMGenerator(model, **shared, max_images=most_images, tensor_parallel_size=options.gpus)
    from eval.generation.transformers_backend import TransformersGenerator

    return TransformersGenerator(model, **shared, device=options.device)


def _common_settings(options: Options, template: Path | None) -> dict[str, Any]:
    """What all benchmarks of a run share and what decides the responses: floats depend on the batch and the library."""
    from eval.generation.vllm_backend import available

    engine = options.engine if options.engine != "auto" else "vllm" if available() else "transformers"
    if engine == "vllm":
        from eval.generation.vllm_backend import BATCH_SIZE
    else:
        from eval.generation.transformers_backend import BATCH_SIZE
    import torch

    return {
        "engine": engine,
        "template": None if template is None else template.read_text(encoding="utf-8"),
        "min_pixels": options.min_pixels,
        "max_pixels": options.max_pixels,
        "batch_size": options.batch_size or BATCH_SIZE,
        "dtype": options.dtype,
        "device": options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        "gpus": options.gpus,
        **_versions("torch", "transformers", *(["vllm"] if engine == "vllm" else [])),
    }


def _about(options: Options, questions: Questions, seed: int) -> dict[str, Any]:
    from echorl_vl.outputs.environment import describe_environment

    return {
        "model": options.model,
        "preset": options.preset_name,
        "source": questions.source,
        "environment": describe_environment(options.device or "auto", seed),
    }


def _versions(*packages: str) -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[f"{package}_version"] = version(package)
        except PackageNotFoundError:
            found[f"{package}_version"] = None
    return found


def _list(console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for head in ("name", "N", "k", "pictures", "title", "hub"):
        table.add_column(head, justify="right" if head in ("N", "k") else "left")
    for benchmark in benchmarks().values():
        table.add_row(
            benchmark.name,
            str(benchmark.size),
            str(benchmark.samples),
            "yes" if benchmark.pictures else "",
            benchmark.title,
            str(benchmark.hub),
        )
    console.print(table)
    console.print("N: questions of the official file. k: responses to each question with --preset paper (avg@k).")


if __name__ == "__main__":
    sys.exit(main())
