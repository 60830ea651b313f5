"""Greedy decoding of a batch of prompts of one length, prompts included, as `rqat bench generate` does it, with
transformers' generate in bf16.

  .venvs/peers/bin/python tools/peers/generate.py --model DIR --ids FILE --batch-size 16 --sequence-length 64
"""
import measure

options = measure.parse_options(__doc__, max_new_tokens=(64, "tokens drawn per prompt, no fewer"))

import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(options.threads)
model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16).eval()
ids = torch.tensor(measure.read_sequences(options))


def generate():
    new = options.max_new_tokens
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=new, max_new_tokens=new, pad_token_id=0
    )
    assert out.shape == (ids.shape[0], ids.shape[1] + new)


peak = measure.PeakMemory()
with torch.inference_mode():
    seconds = measure.time_repeats(generate, options.repeats)
measure.report("generate", "transformers, bf16", options, seconds, peak, ids.shape[0] * options.max_new_tokens)
