"""The policy: a vision-language or text model, and its forward pass in the update."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from echorl_vl.core.entropy import log_probs_and_entropy
from echorl_vl.engines.local.architecture import check_architecture
from echorl_vl.engines.local.attention import SHARED_PREFIX, skip_mask, take_rows
from echorl_vl.engines.local.packing import PackedRows
from echorl_vl.engines.local.prompt_tokens import PromptTokens
from echorl_vl.errors import UserError
from echorl_vl.models import family_of
from echorl_vl.models.images import distinct_images
from echorl_vl.models.loading import load, to_dtype
from echorl_vl.models.tokens import VisualTokens, end_of_turn, eos_ids, special_token_ids

HEAD_ELEMENTS = 2**27  # most logits at a time in the update: 512 MB in float32


@dataclass(frozen=True)
class Scores:
    """The forward pass of the update over b rows.

    Attributes:
        log_probs: (b, T) float32, 0 outside the response.
        entropy: (b, T) float32 nats, 0 outside the response.
        prompt_nll: scalar, the weighted sum of -log p over the requested prompt tokens; None without any.
    """

    log_probs: Tensor
    entropy: Tensor
    prompt_nll: Tensor | None = None


class Policy:
    """A model with its tokenizer and processor.

    Attributes:
        model: the transformers model, or the peft model around it, always in eval mode: without dropout, rollout and
            update compute the same log-probabilities.
        tokenizer: the tokenizer.
        processor: the processor; None for a text-only model.
        visual: ids of visual tokens.
        special_ids: (S,) int64 ids of special tokens.
        eos_ids: ids that end a response.
        end_of_turn: the one of `eos_ids` that the chat template writes.
        pad_id: id of padding.
        device: device of the weights.
        compute_dtype: dtype of matrix products (bfloat16 by autocast on a GPU).
        family: the model family (`echorl_vl.models`).
        forward_calls: forward passes of the language model in updates.
        prefill_calls: forward passes over prompts in rollouts.
        decode_calls: forward passes over new tokens in rollouts.
        vision_calls: forward passes of the vision tower.
        vision_images: images in these passes.
    """

    def __init__(self, model, tokenizer, processor=None, compute_dtype: torch.dtype | str | None = None) -> None:
        self.model, self.tokenizer, self.processor = model.eval(), tokenizer, processor
        self.network = model.get_base_model() if hasattr(model, "get_base_model") else model  # without peft's wrapper
        self.config = self.network.config
        self.device = next(model.parameters()).device
        self.compute_dtype = to_dtype(compute_dtype) or (
            torch.bfloat16 if self.device.type == "cuda" else torch.float32
        )
        self.family = family_of(self.config)
        self.decoder = self.family.decoder(self.network)
        self.decoder.config._attn_implementation = SHARED_PREFIX
        self.head = self.family.head(self.network)
        self.vocab_size = self.head.out_features
        self.hidden_size = self.decoder.config.hidden_size

        self.visual = VisualTokens.find(self.config, tokenizer)
        self.special_ids = special_token_ids(tokenizer).to(self.device)
        self.eos_ids = eos_ids(self.network, tokenizer)
        self.end_of_turn = end_of_turn(tokenizer, self.eos_ids)
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.eos_ids[0]
        self.gradient_checkpointing = False
        self.forward_calls = self.prefill_calls = self.decode_calls = self.vision_calls = self.vision_images = 0

    @classmethod
    def load(
        cls,
        model_config,
        device: str | torch.device = "auto",
        compute_dtype: torch.dtype | str | None = None,
        param_dtype: torch.dtype | str | None = None,
    ) -> Policy:
        """Loads a model.

        Args:
            model_config: the section worker.actor.model of the configuration.
            device: "auto" takes the GPU if there is one.
            compute_dtype: fsdp.mp_param_dtype; None is bfloat16 on a GPU. On a CPU it is always float32.
            param_dtype: fsdp.torch_dtype; None is float32, and bfloat16 for the frozen weights of LoRA on a GPU.

        Raises:
            UserError: the model can't be loaded (see `loading.load`), or its architecture is not supported.
        """
        if str(device) == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(device)
        on_cpu = device.type == "cpu"
        loaded = load(model_config, device, torch.float32 if on_cpu else to_dtype(param_dtype))
        policy = cls(loaded.model, loaded.tokenizer, loaded.processor, torch.float32 if on_cpu else compute_dtype)
        if getattr(model_config, "enable_gradient_checkpointing", False):
            policy.network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            policy.gradient_checkpointing = True
        check_architecture(policy)
        return policy

    def autocast(self) -> AbstractContextManager:
        """The context in which matrix products are in `compute_dtype`."""
        if self.device.type == "cpu":
            return nullcontext()
        enabled = self.compute_dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.compute_dtype if enabled else None, enabled=enabled)

    # --- parts of a forward pass, for rollouts and updates ---

    def embed_prompts(self, prompts: Sequence) -> list[Tensor]:
        """Embeddings of each prompt with its image features, (L, width).

        The distinct images pass through the vision tower in one call. The width is hidden, or (1 + K) * hidden if image
        features also enter K layers of the decoder.

        Raises:
            UserError: the model is text-only, or image tokens and image features don't match.
        """
        lengths = [len(p.input_ids) for p in prompts]
        ids = torch.cat([p.input_ids for p in prompts]).to(self.device)
        embeddings = self.network.get_input_embeddings()(ids)
        with_image = [prompt for prompt in prompts if prompt.pixel_values is not None]
        if with_image and not self.family.reads_images:
            kind = type(self.network).__name__
            raise UserError(f"problem {_uid(with_image[0])} has an image, but {kind} is a text-only model")
        if with_image:
            images, prompt_index = distinct_images(prompts, self.family.split_images)
            self.vision_calls += 1
            self.vision_images += len(images)
            features = self.family.image_features(self.network, images)
            features = torch.cat([features[i] for own in prompt_index for i in own]).to(embeddings.dtype)
            at = (ids == self.visual.image_pad).nonzero().squeeze(-1)
            if len(at) != len(features):
                raise UserError(
                    f"problem {_uid(with_image[0])} or another problem of its batch: expected as many image tokens as "
                    f"image features, got {len(at)} tokens and {len(features)} features"
                )
            embeddings = _as_wide(embeddings, features).index_copy(0, at, features)
        return list(embeddings.split(lengths))

    def prompt_positions(self, prompts: Sequence) -> tuple[list[Tensor], Tensor]:
        """Rotary positions of each prompt, (axes, L), and the position after each prompt, (P,).

        Raises:
            UserError: the image tokens of a problem don't match its images.
        """
        positions, following = [], []
        for prompt in prompts:
            try:
                own, after = self.family.positions(self.network, prompt, self.visual.image_pad)
            except UserError as error:
                raise UserError(f"problem {_uid(prompt)}: {error}") from None
            positions.append(own)
            following.append(after)
        return positions, torch.tensor(following)

    def run_decoder(self, embeddings: Tensor, positions: Tensor, layout) -> Tensor:
        """Hidden states (N, hidden) of one row, from embeddings (N, width), positions (axes, N) and a layout."""
        return self._decode(embeddings[None], positions[:, None], skip_mask(self.device), shared_prefix=layout)[0]

    def _decode(self, embeddings: Tensor, positions: Tensor, mask: Tensor, **options) -> Tensor:
        """Hidden states (b, N, hidden), from embeddings (b, N, width) and positions (axes, b, N)."""
        if embeddings.shape[-1] > self.hidden_size:
            embeddings, deeper = embeddings.tensor_split([self.hidden_size], -1)
            options |= self.family.deeper_inputs(deeper.unflatten(-1, (-1, self.hidden_size)))
        positions = positions.to(self.device)
        out = self.decoder(
            inputs_embeds=embeddings,
            position_ids=positions if len(positions) > 1 else positions[0],
            attention_mask=mask,
            use_cache=False,
            **options,
        )
        return out.last_hidden_state

    # --- the update ---

    def response_log_probs(
        self,
        batch,
        rows: Sequence[int] | slice,
        temperature: float,
        with_grad_entropy: bool = False,
        packed: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """`score` without prompt tokens: (b, T) log-probs and (b, T) entropies of the response tokens."""
        scores = self.score(batch, rows, temperature, with_grad_entropy, packed)
        return scores.log_probs, scores.entropy

    def score(
        self,
        batch,
        rows: Sequence[int] | slice,
        temperature: float,
        with_grad_entropy: bool = False,
        packed: bool = True,
        prompt_tokens: PromptTokens | None = None,
    ) -> Scores:
        """Log-probabilities and entropies (nats) of response tokens, with gradient, in one forward pass.

        Args:
            batch: a RolloutBatch; its prompts, group_ids, tokens and response_mask are read.
            rows: rows of the batch, in any order.
            temperature: divides the logits; that of the rollouts.
            with_grad_entropy: whether the entropies have a gradient too (for an entropy bonus).
            packed: computes each prompt once for all of its rows (worker.actor.padding_free). False computes one
                padded row per rollout, with the attention of transformers. Both give the same results.
            prompt_tokens: prompt tokens to score as well, for `Scores.prompt_nll`.
        """
        index = torch.arange(len(batch.tokens))[rows] if isinstance(rows, slice) else torch.as_tensor(list(rows))
        groups, prompt_index = batch.group_ids.cpu()[index].unique(return_inverse=True)
        prompts = [batch.prompts[g] for g in groups.tolist()]
        tokens, mask = batch.tokens[index].to(self.device), batch.response_mask[index].to(self.device)
        column = torch.arange(1, tokens.shape[1] + 1, device=self.device)
        lengths = (mask * column).amax(1).clamp(min=1).cpu()
        inside = column <= lengths.to(self.device)[:, None]

        self.forward_calls += 1
        with self._training_layers(), self.autocast():
            forward = self._packed_hidden if packed else self._padded_hidden
            hidden = forward(prompts, prompt_index, tokens, lengths, prompt_tokens)
            labels = tokens[inside]
            if prompt_tokens is not None:
                labels = torch.cat([labels, prompt_tokens.labels.to(self.device)])
            values = self._score(hidden, labels, temperature, with_grad_entropy)
        count = int(inside.sum())
        log_probs, entropy = (
            torch.zeros(tokens.shape, device=self.device).masked_scatter(inside, v[:count]) * mask for v in values
        )
        if prompt_tokens is None:
            return Scores(log_probs, entropy)
        return Scores(log_probs, entropy, -(values[0][count:] * prompt_tokens.weights.to(self.device)).sum())

    def _packed_hidden(
        self, prompts: list, prompt_index: Tensor, tokens: Tensor, lengths: Tensor, prompt_tokens: PromptTokens | None
    ) -> Tensor:
        """(sum of lengths [+ H], hidden): the states that predict the response tokens, in row order.

        After them come the states that predict the H prompt tokens.
        """
        prompt_lengths = torch.tensor([len(p.input_ids) for p in prompts])
        layout = PackedRows(prompt_lengths, prompt_index, lengths, self.device)
        positions, following = self.prompt_positions(prompts)
        responses = self.network.get_input_embeddings()(layout.response_inputs(tokens))
        embedded = self.embed_prompts(prompts)
        embeddings = torch.cat([*embedded, _as_wide(responses, embedded[0])])
        predictors = layout.predictors()
        if prompt_tokens is not None:
            starts = prompt_lengths.cumsum(0) - prompt_lengths
            places = starts[prompt_tokens.prompt] + prompt_tokens.place - 1
            predictors = torch.cat([predictors, places.to(self.device)])
        hidden = self.run_decoder(embeddings, layout.positions(positions, following), layout)
        return take_rows(hidden, predictors)

    def _padded_hidden(
        self, prompts: list, prompt_index: Tensor, tokens: Tensor, lengths: Tensor, prompt_tokens: PromptTokens | None
    ) -> Tensor:
        """The same as `_packed_hidden`, from one right-padded row [prompt, response] per rollout."""
        positions, following = self.prompt_positions(prompts)
        embedded = self.embed_prompts(prompts)
        starts = torch.tensor([len(p.input_ids) for p in prompts])[prompt_index]
        width = int((starts + lengths).max()) - 1
        rows, places = [], []
        for number, prompt in enumerate(prompt_index.tolist()):
            response = self.network.get_input_embeddings()(tokens[number, : width - int(starts[number])])
            padding = width - int(starts[number]) - len(response)
            row = torch.cat([embedded[prompt], _as_wide(response, embedded[prompt])])
            rows.append(pad(row, (0, 0, 0, padding)))
            after = following[prompt] + torch.arange(width - int(starts[number]))
            places.append(torch.cat([positions[prompt], after.expand(len(positions[prompt]), -1)], 1))
        seen = torch.arange(width) < (starts + lengths - 1)[:, None]
        out = self._decode(torch.stack(rows), torch.stack(places, 1), seen.long().to(self.device))
        column = torch.arange(width)
        predictors = (column >= starts[:, None] - 1) & (column < (starts + lengths - 1)[:, None])
        hidden = out[predictors.to(self.device)]
        if prompt_tokens is None:
            return hidden
        row, predictor = prompt_tokens.row, prompt_tokens.place - 1
        return torch.cat([hidden, out[row.to(self.device), predictor.to(self.device)]])

    def _score(self, hidden: Tensor, labels: Tensor, temperature: float, entropy_grad: bool) -> tuple[Tensor, Tensor]:
        """(N,) log-probs and entropies of labels (N,).

        More than HEAD_ELEMENTS logits are computed in pieces, and again in the backward pass.
        """

        def piece(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return log_probs_and_entropy(self.head(hidden), labels, temperature, entropy_grad=entropy_grad)

        size = max(1, HEAD_ELEMENTS // self.vocab_size)
        if len(labels) <= size:
            return piece(hidden, labels)
        pairs = zip(hidden.split(size), labels.split(size), strict=True)
        scored = [checkpoint(piece, h, own, use_reentrant=False) for h, own in pairs]
        return tuple(torch.cat(part) for part in zip(*scored, strict=True))

    @contextmanager
    def _training_layers(self):
        """Sets `training` on the layers, which transformers needs for checkpointing; dropout stays in eval mode."""
        layers = []
        if self.gradient_checkpointing and torch.is_grad_enabled():
            layers = [m for m in self.network.modules() if getattr(m, "gradient_checkpointing", False)]
        for layer in layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False


def _as_wide(embeddings: Tensor, other: Tensor) -> Tensor:
    """Embeddings (N, hidden), padded with zeros to the width of `other`."""
    missing = other.shape[-1] - embeddings.shape[-1]
    return pad(embeddings, (0, missing)) if missing else embeddings


def _uid(prompt) -> str:
    return getattr(prompt.problem, "uid", "?")
