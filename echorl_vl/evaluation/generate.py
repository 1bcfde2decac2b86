"""The generation pass: load and check every benchmark, write the settings down, then sample missing responses."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console

from echorl_vl.evaluation.benchmarks.base import Benchmark
from echorl_vl.evaluation.benchmarks.sources import Questions, load
from echorl_vl.evaluation.console import bar
from echorl_vl.evaluation.folder import BenchmarkFolder
from echorl_vl.evaluation.generation import transformers_backend, vllm_backend
from echorl_vl.evaluation.generation.base import Generator
from echorl_vl.evaluation.generation.draw import draw, measure
from echorl_vl.evaluation.generation.model_files import fingerprint, resolve
from echorl_vl.evaluation.generation.prompting import pixel_limits
from echorl_vl.evaluation.generation.store import ResponseStore
from echorl_vl.evaluation.options import Options
from echorl_vl.evaluation.settings import Sampling, describe, sampling_for, template_path, versions
from echorl_vl.outputs.console import quiet_libraries
from echorl_vl.outputs.environment import describe_environment
from echorl_vl.outputs.log import is_quiet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """One benchmark of a run: its questions, its sampling and its folder."""

    benchmark: Benchmark
    questions: Questions
    sampling: Sampling
    folder: BenchmarkFolder


def generate(options: Options, console: Console) -> None:
    """Sample and write the missing responses of every benchmark.

    All checks come before the first response: files, settings of an earlier run, the model, the length of the prompts.

    Raises:
        UserError: a check failed.
    """
    quiet_libraries(progress=not is_quiet())
    plans = [_plan(benchmark, options) for benchmark in options.benchmarks]
    model = resolve(options.model or "")
    shared = _shared_settings(options, model, any(plan.benchmark.images for plan in plans))
    with ExitStack() as locks:
        for plan in plans:
            locks.callback(plan.folder.lock().release)
            plan.folder.begin(_settings(plan, shared), _about(options, plan), plan.questions)
        stores = [ResponseStore(plan.folder.responses_file) for plan in plans]
        open_plans = [
            (plan, store)
            for plan, store in zip(plans, stores, strict=True)
            if len(store.responses) < len(plan.questions)
        ]
        if not open_plans:
            return
        generator = _load(model, options, shared, max(plan.questions.most_images for plan in plans))
        lengths = [measure(generator, plan.questions, plan.questions.source, plan.sampling) for plan, _ in open_plans]
        for (plan, store), measured in zip(open_plans, lengths, strict=True):
            with bar(console, f"{plan.benchmark.name}: responses", len(plan.questions)) as update:
                questions = plan.questions
                draw(
                    generator, plan.benchmark.name, questions, questions.source, plan.sampling, measured, store, update
                )


def _plan(benchmark: Benchmark, options: Options) -> Plan:
    sampling = sampling_for(benchmark, options.preset, options.sampling)
    questions = load(benchmark, options.place(benchmark), sampling.seed, options.limit)
    whole = len(questions) == questions.total
    count = f"N = {questions.total}" if whole else f"PARTIAL: {len(questions)} of N = {questions.total}"
    logger.info("%s: %s (%s; %s)", benchmark.name, count, questions.edition.name, questions.source)
    return Plan(benchmark, questions, sampling, BenchmarkFolder(options.out, benchmark.name))


def _settings(plan: Plan, shared: dict[str, Any]) -> dict[str, Any]:
    questions = plan.questions
    if not plan.benchmark.images:  # the settings don't depend on the other benchmarks of the command
        shared = shared | {"min_pixels": None, "max_pixels": None}
    return describe(
        plan.sampling,
        benchmark=plan.benchmark.name,
        edition=questions.edition.name,
        size=questions.total,
        limit=None if len(questions) == questions.total else len(questions),
        questions_sha256=questions.sha256,
        **shared,
    )


def _shared_settings(options: Options, model: str, images: bool) -> dict[str, Any]:
    """Return the settings common to all benchmarks that affect the responses, if only by rounding (batch, library)."""
    engine = options.engine
    if engine == "auto":
        engine = "vllm" if vllm_backend.available() else "transformers"
    backend = vllm_backend if engine == "vllm" else transformers_backend
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = (
        "auto"
        if engine == "vllm" and options.dtype is None
        else _name(transformers_backend.dtype_on(device, options.dtype))
    )
    template = template_path(options.template)
    low, high = pixel_limits(model, options.min_pixels, options.max_pixels) if images else (None, None)
    return {
        "engine": engine,
        "template": None if template is None else template.read_text(encoding="utf-8"),
        "min_pixels": low,
        "max_pixels": high,
        "batch_size": options.batch_size or backend.BATCH_SIZE,
        "dtype": dtype,
        "device": device,
        "gpus": options.gpus,
        "model_sha256": fingerprint(model),
        **versions("torch", "transformers", *(["vllm"] if engine == "vllm" else [])),
    }


def _about(options: Options, plan: Plan) -> dict[str, Any]:
    return {
        "model": options.model,
        "preset": options.preset_name,
        "source": plan.questions.source,
        "environment": describe_environment(options.device or "auto", plan.sampling.seed),
    }


def _load(model: str, options: Options, settings: dict[str, Any], most_images: int) -> Generator:
    """Load the model with the settings that were written down."""
    same = {name: settings[name] for name in ("min_pixels", "max_pixels", "dtype", "batch_size")}
    template = template_path(options.template)
    if settings["engine"] == "vllm":
        return vllm_backend.VLLMGenerator(
            model, template, **same, max_images=most_images, tensor_parallel_size=options.gpus
        )
    return transformers_backend.TransformersGenerator(model, template, **same, device=settings["device"])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
