"""Reading model and tokenizer from a safetensors folder, as `rqat bench load` does, with transformers.

  .venvs/peers/bin/python tools/peers/load.py --model DIR
"""
import measure

options = measure.parse_options(__doc__)

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(options.threads)


def load():
    AutoTokenizer.from_pretrained(options.model)
    AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16)


peak = measure.PeakMemory()
seconds = measure.time_repeats(load, options.repeats)
measure.report("load", "transformers", options, seconds, peak)
