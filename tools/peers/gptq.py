"""GPTQ of all linears of a model, calibrated on sequences of one length, as `rqat bench gptq` does it, with gptqmodel.

  .venvs/peers/bin/python tools/peers/gptq.py --model DIR --ids FILE --batch-size 128 --num-bits 2
"""
import contextlib
import os
import sys
import tempfile

import measure

options = measure.parse_options(
    __doc__, num_bits=(4, "bits of the linears"), group_size=(64, "inputs that share a scale")
)

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # its own default on 2 cores is fewer than it asks for

import torch
from gptqmodel import GPTQModel, QuantizeConfig

torch.set_num_threads(options.threads)
settings = QuantizeConfig(bits=options.num_bits, group_size=options.group_size, sym=False, desc_act=False)
sequences = measure.read_sequences(options)
calibration = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in sequences]
model, peak, seconds = None, None, []
options.model = os.path.abspath(options.model)
os.chdir(tempfile.mkdtemp())  # gptqmodel writes its logs where it stands
for _ in range(options.repeats):
    model = None
    with contextlib.redirect_stdout(sys.stderr):  # it logs there
        model = GPTQModel.load(options.model, settings, device="cpu", dtype=torch.bfloat16)
        peak = measure.PeakMemory()
        seconds += measure.time_repeats(lambda: model.quantize(calibration, batch_size=8), 1, warm_up=False)
measure.report("gptq", "gptqmodel", options, seconds, peak, sum(map(len, sequences)))
