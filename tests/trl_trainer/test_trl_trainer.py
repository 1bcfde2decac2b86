"""`EchoGRPOTrainer`: equality with TRL at coef 0, mining, metrics and errors."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("trl", reason="TRL is not installed here: make test-trl makes an environment that has it")

from datasets import Dataset
from echo_by_hand import assert_gradients_equal, naive_echo_gradient
from peft import LoraConfig
from trl import GRPOTrainer
from trl_runs import (
    GROUP,
    PROMPTS,
    accuracy_mixed,
    accuracy_one,
    accuracy_sampled,
    image_model,
    image_problems,
    logged,
    script,
    scripted,
    text_model,
    text_problems,
    tokenizer,
    train,
    train_scripted,
)

from echorl_vl.core import METRIC_NAMES, EchoConfig, make_splitter, mine_echo_clips, step_ids
from echorl_vl.errors import UserError
from echorl_vl.trl import EchoGRPOTrainer, checks

SPLIT = dict(per_device_train_batch_size=4, gradient_accumulation_steps=4)


def format_reward(completions, **kwargs) -> list[float]:
    return [1.0] * len(completions)


class Keeper(EchoGRPOTrainer):
    """Keeps the generation batches."""

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        self.batches = [*getattr(self, "batches", []), batch]
        return batch


@pytest.mark.parametrize("kind", ["text", "images"])
def test_with_coef_0_training_equals_trl_bit_for_bit(kind, tmp_path):
    def run(trainer_class, **extra):
        model, data = text_model(), text_problems()
        if kind == "images":
            model, data = image_model(), image_problems(2)
        options = dict(learning_rate=1e-2, num_train_epochs=2, max_grad_norm=1.0, optim="adamw_torch")
        options |= dict(per_device_train_batch_size=4, gradient_accumulation_steps=2, num_iterations=2)
        return train(trainer_class, tmp_path, model, data, accuracy_sampled, extra, **options)

    plain, echo = run(GRPOTrainer), run(EchoGRPOTrainer, echo=EchoConfig(coef=0.0))
    assert len(plain.state.log_history) > 4
    for name in ("loss", "grad_norm", "entropy", "reward"):
        assert logged(echo, name) == logged(plain, name), name
    assert any(gradient.abs().max() > 0 for gradient in plain.gradients.mean().values())
    for (name, before), after in zip(plain.model.named_parameters(), echo.model.parameters(), strict=True):
        assert torch.equal(before, after), name
    assert set(logged(echo, "echo/coef")) == {0.0}
    assert logged(echo, "echo/clips") == []
    assert len(logged(echo, "group/all_success")) > 0


def test_the_schedule_counts_optimizer_steps_and_no_batch_is_mined_before_it(tmp_path):
    config = EchoConfig(coef=0.4, start_step=1, warmup_steps=2)
    trainer = train_scripted(tmp_path, config, trainer_class=Keeper, per_device_train_batch_size=4)
    assert logged(trainer, "echo/coef") == [0.0, 0.2, 0.4, 0.4]
    assert ["echo_weights" in batch for batch in trainer.batches] == [False, True, True, True]
    norms = [max(gradient.abs().max().item() for gradient in step.values()) for step in trainer.gradients.steps]
    assert norms[0] == 0  # all completions succeed, so TRL's gradient is 0
    assert min(norms[1:]) > 0


def test_a_batch_is_mined_if_one_of_its_steps_has_the_echo_term(tmp_path):
    """One generation batch for four optimizer steps; the last two have the echo term."""
    config = EchoConfig(coef=0.4, start_step=2)
    trainer = train_scripted(tmp_path, config, per_device_train_batch_size=4, steps_per_generation=4)
    assert logged(trainer, "echo/coef") == [0.0, 0.0, 0.4, 0.4]
    assert len(logged(trainer, "echo/loss")) == 2


def test_metrics_have_the_names_of_the_other_engines(tmp_path):
    trainer = train_scripted(tmp_path, EchoConfig(), rewards=accuracy_mixed, **SPLIT)
    (row,) = [row for row in trainer.state.log_history if "echo/coef" in row]
    other_engines = {"actor/grad_norm", "actor/entropy", "echo/grad_share"}  # TRL logs grad_norm and entropy
    assert set(METRIC_NAMES) - other_engines <= set(row)
    accuracies = torch.tensor([accuracy_of(p, place) for p in PROMPTS for place in range(GROUP)]).view(-1, GROUP)
    assert row["reward/accuracy"] == pytest.approx(accuracies.mean().item())
    assert row["group/all_success"] == (accuracies == 1).all(1).float().mean().item()
    assert row["group/all_fail"] == (accuracies == 0).all(1).float().mean().item()
    assert (row["group/all_success"], row["group/all_fail"]) == (0.25, 0.25)
    assert row["echo/coef"] == 0.001


def accuracy_of(prompt: str, place: int) -> float:
    return accuracy_mixed([tokenizer().decode(script(prompt, place), skip_special_tokens=True)])[0]


OPTIONS = {
    "paper": {},
    "topk": dict(select="topk", k=2),
    "degenerate": dict(apply_to="degenerate", verify_threshold=0.0),  # all verified, but with different rewards
    "truncated": dict(include_truncated=True),
    "long steps": dict(min_step_tokens=8),
    "windows": dict(splitter="window", splitter_kwargs={"size": 5}),
    "threshold": dict(verify_threshold=0.0),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_mining_uses_the_options(name, tmp_path):
    """The weights of the batch equal those of `mine_echo_clips` with entropies computed row by row."""
    config = EchoConfig(**OPTIONS[name])
    trainer = train_scripted(
        tmp_path, config, Keeper, rewards=[format_reward, accuracy_mixed], per_device_train_batch_size=16
    )
    (batch,) = trainer.batches
    rows = [(prompt, script(prompt, place)) for prompt in PROMPTS for place in range(GROUP)]
    length = max(len(completion) for _, completion in rows)
    tokens, entropy = torch.zeros(len(rows), length, dtype=torch.long), torch.zeros(len(rows), length)
    text = torch.zeros(len(rows), length, dtype=torch.bool)
    for row, (prompt, completion) in enumerate(rows):
        before = tokenizer()(prompt)["input_ids"]
        with torch.no_grad():
            log_p = text_model()(torch.tensor([before + completion])).logits[0, len(before) - 1 : -1].log_softmax(-1)
        entropy[row, : len(completion)] = -(log_p.exp() * log_p).sum(-1)
        tokens[row, : len(completion)] = torch.tensor(completion)
        text[row, : len(completion)] = torch.tensor([token not in tokenizer().all_special_ids for token in completion])
    accuracies = torch.tensor([accuracy_of(prompt, place) for prompt in PROMPTS for place in range(GROUP)])
    clips = mine_echo_clips(
        entropy,
        step_ids(tokens, text, make_splitter(config.splitter, tokenizer(), **config.splitter_kwargs)),
        torch.arange(len(rows)) // GROUP,
        accuracies >= config.verify_threshold,
        config,
        truncated=torch.tensor([completion[-1] != tokenizer().eos_token_id for _, completion in rows]),
        rewards=1 + accuracies,
    )
    assert len(clips) > 0
    assert torch.allclose(batch["echo_weights"], clips.token_weights)
    assert logged(trainer, "echo/clips") == [len(clips)]
    clip_entropy = clips.step_entropies.mean().item()
    assert logged(trainer, "echo/clip_step_entropy") == pytest.approx([clip_entropy], rel=1e-4)


def test_options_choose_different_clips(tmp_path):
    """Otherwise the previous test could not detect an ignored option."""
    weights = {}
    for name, options in OPTIONS.items():
        trainer = train_scripted(
            tmp_path, EchoConfig(**options), Keeper, rewards=accuracy_mixed, per_device_train_batch_size=16
        )
        weights[name] = trainer.batches[0]["echo_weights"]
    for name in set(OPTIONS) - {"paper"}:
        assert not torch.equal(weights[name], weights["paper"]), name


def test_normalize_by_clips_divides_by_clips(tmp_path):
    options = dict(rewards=accuracy_mixed, **SPLIT)
    plain = train_scripted(tmp_path, None, GRPOTrainer, **options).gradients.mean()
    by_prompts = train_scripted(tmp_path, EchoConfig(coef=1.0), **options)
    by_clips = train_scripted(tmp_path, EchoConfig(coef=1.0, normalize_by="clips"), **options)
    (clips,) = logged(by_clips, "echo/clips")
    assert clips < len(PROMPTS)
    clip_gradient, prompt_gradient = by_clips.gradients.mean(), by_prompts.gradients.mean()
    assert_gradients_equal(
        {name: clip_gradient[name] - plain[name] for name in plain},
        {name: prompt_gradient[name] - plain[name] for name in plain},
        scale=len(PROMPTS) / clips,
    )


def test_softmax_differs_between_batches_and_repeats_with_the_seed(tmp_path):
    """Two optimizer steps of two generation batches, all with the same prompt."""

    def places(seed):
        # About sixty steps, each about equally likely.
        config = EchoConfig(select="softmax", tau=100.0, seed=seed, splitter="window", splitter_kwargs={"size": 1})
        trainer = train(
            Keeper, tmp_path, text_model(), Dataset.from_dict({"prompt": PROMPTS[:1] * 4}),
            extra={"rollout_func": scripted, "echo": config},
            per_device_train_batch_size=4, gradient_accumulation_steps=2, steps_per_generation=1,
        )  # fmt: skip
        assert (len(trainer.batches), trainer.state.global_step) == (4, 2)
        return [batch["echo_weights"].nonzero().tolist() for batch in trainer.batches]

    first = places(0)
    assert first == places(0)
    assert first != places(1)
    assert first[0] != first[1]
    assert first[:2] != first[2:]


def test_clips_exclude_special_and_visual_tokens(tmp_path):
    """The model's config defines the visual tokens, whatever their text in the tokenizer."""
    special = tokenizer().convert_tokens_to_ids(["<|vision_start|>", "<|im_start|>", "Q"])
    model = text_model()
    model.config.image_token_id = special[-1]

    def with_special(prompts, trainer):
        out = scripted(prompts, trainer)
        out["completion_ids"] = [[*special, *ids[:3], *special, *ids[3:]] for ids in out["completion_ids"]]
        out["logprobs"] = [[0.0] * len(ids) for ids in out["completion_ids"]]
        return out

    extra = {"rollout_func": with_special, "echo": EchoConfig()}
    trainer = train(Keeper, tmp_path, model, text_problems(), extra=extra, per_device_train_batch_size=16)
    (batch,) = trainer.batches
    ids = torch.tensor([*special, tokenizer().eos_token_id])
    assert (batch["echo_weights"] > 0).any()
    assert (batch["echo_weights"][torch.isin(batch["completion_ids"], ids)] == 0).all()
    assert batch["echo_weights"].sum().item() == pytest.approx(len(PROMPTS))


def test_clips_exclude_tokens_of_tools(tmp_path):
    def with_tools(prompts, trainer):
        out = scripted(prompts, trainer)
        out["env_mask"] = [[int(not 2 <= place < 5) for place in range(len(ids))] for ids in out["completion_ids"]]
        return out

    trainer = train_scripted(
        tmp_path, EchoConfig(), Keeper, extra={"rollout_func": with_tools}, per_device_train_batch_size=16
    )
    weights = trainer.batches[0]["echo_weights"]
    assert (weights[:, 2:5] == 0).all()
    assert weights.sum().item() == pytest.approx(len(PROMPTS))


def test_entropy_temperature_can_differ_from_the_sampling_temperature(tmp_path):
    class EntropyKeeper(Keeper):
        def _entropies(self, batch):
            self.entropies = super()._entropies(batch)
            return self.entropies

    trainer = train(
        EntropyKeeper, tmp_path, text_model(), text_problems(), extra={"echo": EchoConfig(entropy_temperature=2.0)},
        temperature=0.8, per_device_train_batch_size=16,
    )  # fmt: skip
    (batch,) = trainer.batches
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    length = batch["completion_ids"].shape[1]
    with torch.no_grad():
        log_p = (trainer.model(ids, attention_mask=mask).logits[:, -length - 1 : -1] / 2.0).log_softmax(-1)
    expected = -(log_p.exp() * log_p).sum(-1)
    assert ((trainer.entropies - expected) * batch["completion_mask"]).abs().max() < 1e-4


def test_evaluation_has_no_echo_term(tmp_path):
    def evaluate(trainer_class, **extra):
        trainer = train(
            trainer_class, tmp_path, text_model(), text_problems(), extra={"rollout_func": scripted} | extra
        )
        trainer.rollout_func = scripted
        return trainer.evaluate(text_problems())

    plain, echo = evaluate(GRPOTrainer), evaluate(EchoGRPOTrainer, echo=EchoConfig(coef=1.0))
    assert echo["eval_loss"] == plain["eval_loss"]


@pytest.mark.parametrize("passes", [1, 2])  # without and with TRL's pass for old log-probs
def test_the_gradient_with_lora_equals_the_reference(passes, tmp_path):
    """The adapters are not zero, so that the entropies and log-probs of the reference policy differ."""
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, lora_dropout=0.0)
    options = dict(beta=0.1, num_iterations=passes, **SPLIT)

    def run(trainer_class, echo):
        return train_scripted(tmp_path, echo, trainer_class, extra={"peft_config": lora}, **options)

    plain, echo = run(GRPOTrainer, None), run(EchoGRPOTrainer, EchoConfig(coef=0.5))
    groups = [[(tokenizer()(p)["input_ids"], script(p, place), {}) for place in range(GROUP)] for p in PROMPTS]
    _, gradient = naive_echo_gradient(echo.model, tokenizer(), groups)
    before, after = plain.gradients.mean(), echo.gradients.mean()
    assert set(gradient) == set(after)
    assert all("lora" in name for name in after)
    assert_gradients_equal({name: after[name] - before[name] for name in after}, gradient, scale=0.5)


def test_entropies_of_sampling_are_recorded_with_lora(tmp_path):

    class SamplingOnly(EchoGRPOTrainer):
        def _entropies(self, batch):
            assert self._sampled_entropies is not None
            return super()._entropies(batch)

    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    trainer = train(
        SamplingOnly, tmp_path, text_model(), text_problems(), extra={"peft_config": lora, "echo": EchoConfig()},
        per_device_train_batch_size=16, max_completion_length=8,
    )  # fmt: skip
    assert len(logged(trainer, "echo/loss")) == 1


def test_a_completion_without_an_accuracy_is_not_verified(tmp_path):
    def accuracy_of_some(completions, prompts, **kwargs):
        return [None if prompt == PROMPTS[0] else 1.0 for prompt in prompts]

    rewards = [format_reward, accuracy_of_some]
    trainer = train_scripted(tmp_path, EchoConfig(), Keeper, rewards=rewards, per_device_train_batch_size=16)
    weights = trainer.batches[0]["echo_weights"]
    assert (weights[:GROUP] == 0).all()
    assert logged(trainer, "echo/clips") == [len(PROMPTS) - 1]
    assert logged(trainer, "group/all_success") == [1.0]  # over the rows that have an accuracy


@pytest.mark.parametrize(
    ("echo", "message", "options"),
    [
        (EchoConfig(log_grad_share=True), "log_grad_share", {}),
        (EchoConfig(include_truncated=True), "mask_truncated_completions", {"mask_truncated_completions": True}),
        (EchoConfig(entropy_temperature=0.5), "entropy_temperature", {}),
    ],
)
def test_unsupported_options_are_errors(echo, message, options, tmp_path):
    with pytest.raises(UserError, match=message):
        train_scripted(tmp_path, echo, **options)


def test_the_error_names_missing_methods_of_trl(tmp_path, monkeypatch):
    monkeypatch.setitem(checks.HOOKS, "_gone", ("self",))
    monkeypatch.setitem(checks.HOOKS, "_compute_loss", ("self", "model", "samples"))
    with pytest.raises(
        UserError, match=r"GRPOTrainer\._compute_loss has no parameter samples; GRPOTrainer\._gone does not exist"
    ):
        train_scripted(tmp_path, EchoConfig())


def test_the_error_names_missing_attributes_of_trl(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "ATTRIBUTES", (*checks.ATTRIBUTES, "gone"))
    with pytest.raises(UserError, match=r"GRPOTrainer\.gone does not exist"):
        train_scripted(tmp_path, EchoConfig(), rewards=accuracy_one)


def test_another_version_of_trl_gives_a_warning(monkeypatch):
    monkeypatch.setattr(checks.trl, "__version__", "1.17.0")
    with pytest.warns(UserWarning, match=r"1\.17\.0"):
        checks.check_hooks()
