"""fp32 logits of `rqat forward` against transformers, on small random models of each family and on SmolLM2.

Environment: RQAT_BIN = the rqat program; RQAT_SMOLLM2 = folder of SmolLM2-135M-Instruct (optional).
"""
import json
import os
import subprocess

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from safetensors.torch import load_file  # noqa: E402

SIZES = dict(vocab_size=199, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=8,
             num_key_value_heads=2, max_position_embeddings=512, attn_implementation="eager")

CASES = {
    "llama_tied": ("Llama", dict(tie_word_embeddings=True, rms_norm_eps=1e-5)),
    "llama_untied": ("Llama", dict(tie_word_embeddings=False)),
    "llama_attention_bias": ("Llama", dict(tie_word_embeddings=False, attention_bias=True)),
    "llama_full_heads": ("Llama", dict(tie_word_embeddings=True, num_key_value_heads=8)),
    "qwen2_bias": ("Qwen2", dict(tie_word_embeddings=True)),
    "qwen3_qk_norm": ("Qwen3", dict(tie_word_embeddings=False, head_dim=16)),
}


@pytest.fixture(scope="session")
def rqat():
    program = os.environ.get("RQAT_BIN")
    if not program:
        pytest.skip("RQAT_BIN is not set")
    return program


def rqat_logits(program, model, ids, folder):
    (folder / "ids.json").write_text(json.dumps(ids))
    out = folder / "logits.safetensors"
    subprocess.run([program, "forward", "--model", str(model), "--ids", str(folder / "ids.json"), "--out", str(out),
                    "--dtype", "float32"], check=True)
    return load_file(out)["logits"]


def assert_same_logits(program, folder, model_folder, ids):
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        expected = model(torch.tensor(ids)).logits
    logits = rqat_logits(program, model_folder, ids, folder)
    assert logits.dtype == torch.float32 and logits.shape == expected.shape
    difference = ((logits - expected).abs().max() / expected.abs().max()).item()
    print(f"{model_folder}: relative difference {difference:.2e}")
    assert difference < 1e-4


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rope_theta", [10000.0, 500000.0])
def test_random_model(rqat, tmp_path, name, rope_theta):
    torch.manual_seed(1)
    family, options = CASES[name]
    config = getattr(transformers, family + "Config")(**{**SIZES, **options})
    if getattr(config, "rope_parameters", None) is not None:
        config.rope_parameters["rope_theta"] = rope_theta
    else:
        config.rope_theta = rope_theta
    model = getattr(transformers, family + "ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too: their initial values 0 and 1 would hide mistakes
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (1.0 if parameter.dim() == 1 else 0.0))
    model.save_pretrained(tmp_path / "model")
    ids = torch.randint(0, SIZES["vocab_size"], (3, 70)).tolist()
    assert_same_logits(rqat, tmp_path, tmp_path / "model", ids)


def test_smollm2(rqat, tmp_path):
    folder = os.environ.get("RQAT_SMOLLM2")
    if not folder:
        pytest.skip("RQAT_SMOLLM2 is not set")
    ids = torch.randint(0, 49152, (2, 64), generator=torch.Generator().manual_seed(1)).tolist()
    assert_same_logits(rqat, tmp_path, folder, ids)
