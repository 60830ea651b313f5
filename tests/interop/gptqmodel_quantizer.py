"""Runs in the venv of the peers: quantizes a folder with GPTQModel and act-order, on random tokens.

    gptqmodel_quantizer.py FOLDER OUT VOCAB_SIZE
"""
import os
import sys

os.environ["GPTQMODEL_CPU_WORKERS"] = "2"  # its loader asks for two, whatever the machine has

import torch  # noqa: E402
from gptqmodel import GPTQModel, QuantizeConfig  # noqa: E402


def main(folder, out, vocab_size):
    config = QuantizeConfig(bits=4, group_size=32, sym=True, desc_act=True, static_groups=False)
    model = GPTQModel.load(folder, config, device="cpu")
    random = torch.Generator().manual_seed(1)
    samples = [torch.randint(0, int(vocab_size), (1, 64), generator=random) for _ in range(16)]
    model.quantize([{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in samples], batch_size=1)
    model.save(out)


main(*sys.argv[1:])
