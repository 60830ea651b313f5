"""Runs in the venv of the peers: loads GPTQ and AWQ folders with GPTQModel, dequantizes each packed layer with its code.

    gptqmodel_reader.py IDS.json FOLDER WEIGHTS.safetensors [FOLDER WEIGHTS.safetensors ...]

WEIGHTS gets the weight [N, K] of each layer in fp32, with the scales taken as fp32, and `logits` as the model computes them.
"""
import json
import sys

import torch
from gptqmodel import BACKEND, GPTQModel
from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
from safetensors.torch import save_file


def weight_of(module):
    scales = module.scales.float()
    if type(module).__name__.startswith("Awq"):
        return dequantize_gemm(module.qweight, module.qzeros, scales, module.bits, module.group_size)
    module.scales = scales
    return module.dequantize_weight()


def read(ids, folder, out):
    # In its own choice, bfloat16, it would round the scales on loading.
    model = GPTQModel.load(folder, device="cpu", backend=BACKEND.TORCH, dtype=torch.float16).model
    with torch.no_grad():
        tensors = {"logits": model(torch.tensor(ids)).logits.float().contiguous()}
        for name, module in model.named_modules():
            if hasattr(module, "qweight"):
                tensors[name] = weight_of(module).float().T.contiguous()
    save_file(tensors, out)


def main(ids, *folders):
    with open(ids) as file:
        ids = json.load(file)
    for folder, out in zip(folders[::2], folders[1::2]):
        read(ids, folder, out)


main(*sys.argv[1:])
