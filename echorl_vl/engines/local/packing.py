"""Packs a micro-batch of rollouts into one row of tokens that contains each prompt once.

The row is [prompt 0 | prompt 1 | ... | response 0 | response 1 | ...]. A prompt, with all of its visual tokens, is
computed once for all of its rollouts in the micro-batch. A response token attends to its prompt and to its own response
only, so its log-probability equals that of an unpacked row. The last token of a response is not in the row: nothing is
predicted from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from echorl_vl.engines.local.attention import Ragged, attend_padded, take_rows


@dataclass
class PackedRows:
    """The attention layout of a packed micro-batch of P prompts and b responses (see `attention`).

    Attributes:
        prompt_lengths: (P,) in tokens.
        prompt_index: (b,) the prompt of each response.
        response_lengths: (b,) in tokens, at least 1.
        device: device of the tensors.
    """

    prompt_lengths: Tensor
    prompt_index: Tensor
    response_lengths: Tensor
    device: torch.device
    _mask: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.prompts = Ragged(self.prompt_lengths, self.device)
        inputs = self.response_lengths - 1
        self.responses = Ragged(inputs, self.device) if int(inputs.sum()) else None
        self.row_prompt = self.prompt_index.to(self.device)

    @property
    def span(self) -> int:
        """Tokens of the longest pair of prompt and response."""
        return int((self.prompt_lengths[self.prompt_index] + self.response_lengths).max())

    def response_inputs(self, responses: Tensor) -> Tensor:
        """(n,): the tokens of the responses (b, T) without the last of each, concatenated."""
        column = torch.arange(responses.shape[1], device=responses.device)
        return responses[column < (self.response_lengths - 1).to(responses.device)[:, None]]

    def positions(self, prompts: list[Tensor], next_positions: Tensor) -> Tensor:
        """(axes, N) positions of the row.

        Args:
            prompts: (axes, L) positions of each prompt.
            next_positions: (P,) the position after each prompt, at which its responses start.
        """
        lengths = self.response_lengths - 1
        starts = lengths.cumsum(0) - lengths
        within = torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)
        responses = next_positions[self.prompt_index].repeat_interleave(lengths) + within
        axes = prompts[0].shape[0]
        return torch.cat([*prompts, responses.to(prompts[0].device).expand(axes, -1)], 1)

    def predictors(self) -> Tensor:
        """(sum of response lengths,) index in the row of the token that predicts each response token.

        The responses are in order. The first token of a response is predicted by the last token of its prompt.
        """
        prompt_ends = self.prompt_lengths.cumsum(0) - 1
        lengths = self.response_lengths
        inputs_before = (lengths - 1).cumsum(0) - (lengths - 1)
        firsts = lengths.cumsum(0) - lengths
        within = torch.arange(int(lengths.sum())) - firsts.repeat_interleave(lengths)
        index = int(self.prompt_lengths.sum()) + inputs_before.repeat_interleave(lengths) + within - 1
        index[firsts] = prompt_ends[self.prompt_index]
        return index.to(self.device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Causal attention; response tokens attend to their prompt and to their own response."""
        parts = [(x[:, :, : self.prompts.total], x[:, :, self.prompts.total :]) for x in (query, key, value)]
        q, k, v = (self.prompts.pad(prompt) for prompt, _ in parts)
        out = self.prompts.flatten(attend_padded(q, k, v, scaling, None))
        if self.responses is None:
            return out[None]
        own_q, own_k, own_v = (self.responses.pad(response) for _, response in parts)
        own_k = torch.cat([take_rows(k, self.row_prompt), own_k], 2)
        own_v = torch.cat([take_rows(v, self.row_prompt), own_v], 2)
        own = attend_padded(own_q, own_k, own_v, scaling, self._response_mask(query.dtype))
        return torch.cat([out, self.responses.flatten(own)])[None]

    def _response_mask(self, dtype: torch.dtype) -> Tensor:
        """(b or 1, 1, T, L + T) additive mask, the same for all layers. Prompts are padded on the right to L."""
        if self._mask is None or self._mask.dtype != dtype:
            length = self.responses.longest
            sees = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
            lengths = (
                torch.zeros(1) + self.prompts.longest if self.prompts.even else self.prompt_lengths[self.prompt_index]
            )
            prompt = torch.arange(self.prompts.longest, device=self.device) < lengths.to(self.device)[:, None]
            sees = torch.cat(
                [prompt[:, None].expand(-1, length, -1), sees[None].expand(len(prompt), -1, -1)],
                2,
            )
            bias = torch.zeros(sees.shape, dtype=dtype, device=self.device).masked_fill_(~sees, float("-inf"))
            # CUDA's memory-efficient kernel needs mask rows that start at multiples of 16 bytes.
            width = bias.shape[-1]
            self._mask = pad(bias, (0, -width % 8))[..., :width][:, None]
        return self._mask
