"""One optimizer step as `rqat bench kd_step|qat_step|sft_step` takes it, with transformers, torchao's QAT and torch's
fused AdamW: bf16 weights and optimizer state (the least memory torch offers), embedding and head frozen.

  .venvs/peers/bin/python tools/peers/train_step.py --kind kd_step --num-bits 2 --model DIR --ids FILE
"""
import measure

options = measure.parse_options(
    __doc__,
    kind=("kd_step", "kd_step | qat_step | sft_step"),
    num_bits=(2, "bits of the student's linears"),
    group_size=(64, "inputs that share a scale"),
    compile=(False, "torch.compile the student"),
)

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

torch.set_num_threads(options.threads)


def load_model():
    return AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16)


def prepare_qat(model):
    """torchao's fake quantization: asymmetric, scales found anew in each forward."""
    from torchao.quantization import quantize_
    from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig

    weights = IntxFakeQuantizeConfig(
        getattr(torch, f"int{options.num_bits}"), group_size=options.group_size, is_symmetric=False
    )
    # The head stays as it is, as in rqat.
    linear = lambda module, name: isinstance(module, torch.nn.Linear) and name != "lm_head"
    quantize_(model, QATConfig(weight_config=weights, step="prepare"), filter_fn=linear)


def trained_parameters(model):
    model.get_input_embeddings().weight.requires_grad_(False)
    model.get_output_embeddings().weight.requires_grad_(False)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def loss_of(student, teacher, ids):
    logits = student(input_ids=ids, use_cache=False).logits[:, :-1].float()
    if teacher is None:
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    with torch.no_grad():
        target = teacher(input_ids=ids, use_cache=False).logits[:, :-1].float().log_softmax(-1)
    return F.kl_div(
        logits.log_softmax(-1).flatten(0, 1), target.flatten(0, 1), log_target=True, reduction="batchmean"
    )


teacher = load_model().eval() if options.kind == "kd_step" else None
student = load_model().train()
if options.kind != "sft_step":
    prepare_qat(student)
optimizer = torch.optim.AdamW(trained_parameters(student), lr=1e-5, fused=True)
if options.compile:
    student = torch.compile(student)
ids = torch.tensor(measure.read_sequences(options))


def step():
    loss_of(student, teacher, ids).backward()
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


peak = measure.PeakMemory()
seconds = measure.time_repeats(step, options.repeats)
what = f"transformers, {'torchao QAT, ' if options.kind != 'sft_step' else ''}bf16{', compiled' if options.compile else ''}"
measure.report(options.kind, what, options, seconds, peak, ids.numel())
