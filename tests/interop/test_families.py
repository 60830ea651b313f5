"""Every model family against transformers: logits, gradients of all parameters, cached decoding, weight names, configs.

Small random models whose weights transformers makes; rqat computes through `rqat forward` and through a disabled test
of tests/train/interop_driver_test.cpp, which writes gradients and the logits of cached decoding.
Environment: RQAT_BIN = the rqat program; RQAT_BUILD_DIR = the folder of the built tests.
"""
import json
import os
import pathlib
import subprocess

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from safetensors.torch import load_file  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
LISTS, LENGTH, VOCABULARY = 2, 24, 96
SIZES = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, pad_token_id=None, bos_token_id=1, eos_token_id=2)
MOE = dict(head_dim=16, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24)
SHORT, LONG = [1.0, 1.1, 1.3, 1.6], [1.0, 2.0, 4.0, 7.0]

# name: class prefix, options of the config. Windows are shorter than the sequences, lengths of rope scaling are such
# that it shows.
CASES = {
    "llama": ("Llama", dict(tie_word_embeddings=True)),
    "llama_biases": ("Llama", dict(attention_bias=True, mlp_bias=True)),
    "llama3_rope": ("Llama", dict(rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0,
                                                        high_freq_factor=4.0, original_max_position_embeddings=32))),
    "llama_linear_rope": ("Llama", dict(rope_parameters=dict(rope_type="linear", rope_theta=1000.0, factor=4.0))),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True)),
    "qwen2_window": ("Qwen2", dict(use_sliding_window=True, sliding_window=7, max_window_layers=1)),
    "qwen3": ("Qwen3", dict(head_dim=16)),
    "qwen3_yarn": ("Qwen3", dict(head_dim=16, rope_parameters=dict(rope_type="yarn", rope_theta=1000.0, factor=4.0,
                                                                   original_max_position_embeddings=16))),
    "qwen3_window": ("Qwen3", dict(head_dim=16, use_sliding_window=True, sliding_window=5,
                                   layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    "qwen3_moe": ("Qwen3Moe", dict(MOE, norm_topk_prob=True)),
    "qwen3_moe_mixed": ("Qwen3Moe", dict(MOE, norm_topk_prob=False, decoder_sparse_step=2, num_hidden_layers=4,
                                         mlp_only_layers=[3], use_sliding_window=True, sliding_window=9)),
    "smollm3": ("SmolLM3", dict(num_hidden_layers=4)),
    "smollm3_window": ("SmolLM3", dict(no_rope_layers=[1, 0, 1], use_sliding_window=True, sliding_window=6)),
    "mistral": ("Mistral", dict(sliding_window=8)),
    "mistral_full": ("Mistral", dict(sliding_window=None, head_dim=12)),
    "olmo2": ("Olmo2", dict()),
    "olmo3": ("Olmo3", dict(num_hidden_layers=4, sliding_window=7)),
    "olmo3_yarn": ("Olmo3", dict(num_hidden_layers=4, sliding_window=7, rope_parameters=dict(
        full_attention=dict(rope_type="yarn", rope_theta=500000.0, factor=4.0, original_max_position_embeddings=16,
                            attention_factor=1.2, beta_fast=32.0, beta_slow=1.0),
        sliding_attention=dict(rope_type="default", rope_theta=500000.0)))),
    "phi3": ("Phi3", dict(sliding_window=10)),
    "phi3_partial": ("Phi3", dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))),
    "phi3_short": ("Phi3", dict(max_position_embeddings=256, original_max_position_embeddings=32, rope_parameters=dict(
        rope_type="longrope", rope_theta=10000.0, short_factor=SHORT, long_factor=LONG))),
    "phi3_long": ("Phi3", dict(max_position_embeddings=256, original_max_position_embeddings=16, rope_parameters=dict(
        rope_type="longrope", rope_theta=10000.0, short_factor=SHORT[:3], long_factor=LONG[:3], partial_rotary_factor=0.75))),
    "gemma2": ("Gemma2", dict(head_dim=16, sliding_window=6, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
                              final_logit_softcapping=3.0)),
    "gemma2_uncapped": ("Gemma2", dict(head_dim=16, sliding_window=6, query_pre_attn_scalar=16,
                                       attn_logit_softcapping=None, final_logit_softcapping=None)),
    "gemma3": ("Gemma3Text", dict(head_dim=16, sliding_window=6, query_pre_attn_scalar=24, num_hidden_layers=6,
                                  rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e4),
                                                       sliding_attention=dict(rope_type="default", rope_theta=100.0)))),
}


@pytest.fixture(scope="session")
def rqat():
    program = os.environ.get("RQAT_BIN")
    if not program:
        pytest.skip("RQAT_BIN is not set")
    return program


def make_model(name):
    torch.manual_seed(list(CASES).index(name))
    prefix, options = CASES[name]
    config = getattr(transformers, prefix + "Config")(**{**SIZES, **options})
    config._attn_implementation = "eager"
    causal = "Gemma3ForCausalLM" if prefix == "Gemma3Text" else prefix + "ForCausalLM"
    model = getattr(transformers, causal)(config)
    offset = 0.0 if prefix.startswith("Gemma") else 1.0  # of norm weights, whose initial values would hide mistakes
    with torch.no_grad():
        for parameter in model.parameters():
            wide = parameter.dim() > 1
            parameter.copy_(torch.randn_like(parameter) * (0.3 if wide else 0.2) + (0.0 if wide else offset))
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith(".bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def token_ids():
    return torch.randint(0, VOCABULARY, (LISTS, LENGTH), generator=torch.Generator().manual_seed(7))


def reference(folder, dtype, ids):
    """fp32 logits and gradients of transformers computing in `dtype`."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    logits = model(ids).logits.float()
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    gradients = {name: parameter.grad.float() for name, parameter in model.named_parameters()}
    return logits.detach(), gradients


def run_driver(folder, model, dtype, ids):
    build = pathlib.Path(os.environ.get("RQAT_BUILD_DIR", ROOT / "build"))
    (folder / "ids.json").write_text(json.dumps(ids.tolist()))
    out, weights = folder / f"{dtype}.safetensors", folder / f"{dtype}_weights.safetensors"
    environment = dict(os.environ, RQAT_DRIVER_MODEL=str(model), RQAT_DRIVER_IDS=str(folder / "ids.json"),
                       RQAT_DRIVER_DTYPE=dtype, RQAT_DRIVER_OUT=str(out), RQAT_DRIVER_WEIGHTS=str(weights))
    done = subprocess.run([str(build / "test_train"), "--gtest_also_run_disabled_tests",
                           "--gtest_filter=DISABLED_InteropDriver.ModelFamily"],
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    tensors = load_file(out)
    gradients = {name[len("grad."):]: tensor for name, tensor in tensors.items() if name.startswith("grad.")}
    return tensors["logits"], tensors["cached_logits"], gradients, weights


def fused(gradients, name):
    """The gradient of a parameter of transformers, which holds some linears in one tensor."""
    if name in gradients:
        return gradients[name]
    place, last = name.rsplit(".", 1)
    if last == "gate_up_proj" or last == "down_proj":  # experts
        count = sum(1 for key in gradients if key.startswith(place + ".") and key.endswith(".up_proj.weight"))
        parts = ["gate_proj", "up_proj"] if last == "gate_up_proj" else ["down_proj"]
        return torch.stack([torch.cat([gradients[f"{place}.{i}.{part}.weight"] for part in parts]) for i in range(count)])
    place, last = place.rsplit(".", 1)
    parts = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}[last]
    return torch.cat([gradients[f"{place}.{part}.weight"] for part in parts])


def difference(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


@pytest.mark.parametrize("name", CASES)
def test_family(rqat, tmp_path, name):
    model = tmp_path / "model"
    make_model(name).save_pretrained(model)
    ids = token_ids()
    logits, gradients = reference(model, torch.float32, ids)
    own_logits, cached, own_gradients, weights = run_driver(tmp_path, model, "float32", ids)
    assert difference(own_logits, logits) < 1e-4
    assert difference(cached, logits) < 1e-4
    worst = max((difference(fused(own_gradients, key), gradient), key) for key, gradient in gradients.items())
    assert worst[0] < 1e-4, worst
    assert sum(g.numel() for g in own_gradients.values()) == sum(g.numel() for g in gradients.values())

    # What is saved loads again, with every name in its place.
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "config.json").write_bytes((model / "config.json").read_bytes())
    (saved / "model.safetensors").write_bytes(weights.read_bytes())
    again, report = transformers.AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32, attn_implementation="eager",
                                                                      output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[kind], (kind, report[kind])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, logits)


@pytest.mark.parametrize("name", CASES)
def test_bfloat16(rqat, tmp_path, name):
    """As near to fp32 as transformers' own bfloat16 is, or nearly so."""
    model = tmp_path / "model"
    make_model(name).to(torch.bfloat16).save_pretrained(model)
    ids = token_ids()
    exact, exact_gradients = reference(model, torch.float32, ids)
    half, half_gradients = reference(model, torch.bfloat16, ids)
    own, cached, own_gradients, _ = run_driver(tmp_path, model, "bfloat16", ids)
    noise = difference(half, exact)
    assert difference(own, exact) < 2 * noise
    assert difference(cached, exact) < 2 * noise
    for key, gradient in exact_gradients.items():
        scale = gradient.norm().clamp_min(1e-30)
        own_noise = ((fused(own_gradients, key) - gradient).norm() / scale).item()
        assert own_noise < 2 * ((half_gradients[key] - gradient).norm() / scale).item() + 1e-3, key


def old_spelling(config):
    """The same config.json as transformers 4 wrote it."""
    config = dict(config)
    config["torch_dtype"] = config.pop("dtype")
    rope = dict(config.pop("rope_parameters"))
    if "full_attention" in rope:
        if config["model_type"] == "gemma3_text":
            config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    return config


def forward(program, folder, ids):
    (folder / "ids.json").write_text(json.dumps(ids.tolist()))
    out = folder / "logits.safetensors"
    subprocess.run([program, "forward", "--model", str(folder), "--ids", str(folder / "ids.json"), "--out", str(out),
                    "--dtype", "float32"], check=True, capture_output=True)
    return load_file(out)["logits"]


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("llama", "qwen2", "qwen3", "qwen3_window")])
def test_both_spellings(rqat, tmp_path, name):
    make_model(name).save_pretrained(tmp_path)
    ids = token_ids()
    new = forward(rqat, tmp_path, ids)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "rope_parameters" in config and "dtype" in config
    (tmp_path / "config.json").write_text(json.dumps(old_spelling(config)))
    assert torch.equal(forward(rqat, tmp_path, ids), new)
