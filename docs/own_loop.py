"""A training loop with GRPO and EchoRL: `python docs/own_loop.py [MODEL FOLDER]` (default: a tiny random model)."""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from echorl_vl import core


def train(model, tokenizer, answers, echo, lr=1e-6, steps=40, n=16, length=32):
    splitter, optimizer = core.NewlineSplitter(tokenizer), torch.optim.AdamW(model.parameters(), lr)
    special, group = torch.tensor(tokenizer.all_special_ids), torch.zeros(n, dtype=torch.long)
    sampling = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=length, num_return_sequences=n)
    for _ in range(steps):
        for question, answer in answers.items():
            prompt = tokenizer([question], return_tensors="pt")
            rows = model.generate(**prompt, **sampling, eos_token_id=tokenizer.eos_token_id)
            ids = rows[:, prompt.input_ids.shape[1] :]
            rewards = torch.tensor([float(answer in t) for t in tokenizer.batch_decode(ids, skip_special_tokens=True)])
            ends = ids == tokenizer.eos_token_id
            mask = ends.cumsum(1) - ends.long() == 0  # up to the end of the turn
            log_probs, entropy = core.log_probs_and_entropy(model(rows).logits[:, -ids.shape[1] - 1 : -1], ids)
            loss = -(core.group_advantages(rewards, group)[:, None] * log_probs * mask).sum() / mask.sum()
            reasoning = core.step_ids(ids, mask & ~torch.isin(ids, special), splitter)
            clips = core.mine_echo_clips(entropy, reasoning, group, rewards == 1, echo, truncated=~ends.any(dim=1))
            loss = loss / len(answers) + echo.coef * core.echo_loss(log_probs, clips.token_weights, len(answers))
            loss.backward()  # one group; the step below covers all questions
            yield {"loss": loss.item(), "accuracy": rewards.mean().item(), "clips": len(clips)}
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    folder, lr = (sys.argv[1], 1e-6) if sys.argv[1:] else (None, 3e-3)
    tokenizer = AutoTokenizer.from_pretrained(folder or core.__path__[0] + "/../tiny/model")
    tiny = LlamaConfig(vocab_size=592, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    model = AutoModelForCausalLM.from_pretrained(folder) if folder else AutoModelForCausalLM.from_config(tiny)
    for row in train(model, tokenizer, {"1 + 1 = ": "2", "2 + 3 = ": "5"}, core.EchoConfig(include_truncated=True), lr):
        print(row)
