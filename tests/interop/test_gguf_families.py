"""GGUF files of every family: names as the gguf package maps them, values as it dequantizes them, and back again by rqat.

Environment: RQAT_BIN = the rqat program.
"""
import json
import re
import shutil

import pytest

np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import export_driver as driver  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

LAYERS, HEADS, KV_HEADS = 6, 4, 2
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3_moe": "qwen3moe",
                 "smollm3": "smollm3", "phi3": "phi3", "olmo2": "olmo2", "olmo3": "olmo2", "gemma2": "gemma2",
                 "gemma3_text": "gemma3"}
PERMUTED = ("llama", "mistral", "smollm3")
# Those whose GGUF files transformers reads, with the sizes and constants that the files give.
BY_TRANSFORMERS = ("llama", "mistral", "qwen2", "phi3", "gemma2", "gemma3_text")


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Family -> (stage folder, exported folder). Norms are random, so that one in another's place shows."""
    made = {}

    def make(family):
        if family not in made:
            root = tmp_path_factory.mktemp(family)
            driver.run("init", "--family", family, "--out", root / "init", "--num-layers", LAYERS, "--num-heads", HEADS,
                       "--num-key-value-heads", KV_HEADS, "--max-length", 128, "--dtype", "float32")
            torch.manual_seed(1)
            model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(root / "init")).float()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.copy_(torch.randn_like(parameter) * 0.1 + (0.5 if parameter.dim() == 1 else 0.0))
            model.save_pretrained(root / "source")
            for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
                shutil.copy(root / "init" / name, root / "source" / name)
            stage = driver.quantized(root / "source", root / "stage", 4, True, 32)
            made[family] = stage, driver.exported(stage, root / "run", "gguf")[0]
        return made[family]

    return make


def gguf_names(family):
    architecture = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == ARCHITECTURES[family])
    names = gguf.get_tensor_name_map(architecture, LAYERS)

    def find(name):
        """(name, expert) in the file; expert -1 = a tensor of its own."""
        expert = re.search(r"\.experts\.(\d+)\.", name)
        found = names.get_name(re.sub(r"\.experts\.\d+\.", ".experts.", name), try_suffixes=(".weight", ".bias"))
        assert found, name
        return found, int(expert[1]) if expert else -1

    return find


def expected_values(family, name, values):
    """What the converter of llama.cpp makes of a Hugging Face tensor."""
    heads = HEADS if ".q_proj." in name else KV_HEADS if ".k_proj." in name else 0
    if family in PERMUTED and heads:
        return values.reshape(heads, 2, values.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)
    return values + 1 if family.startswith("gemma") and name.endswith("norm.weight") else values


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_tensors(exported, family):
    stage, folder = exported(family)
    reader = gguf.GGUFReader(folder / "model.gguf")
    assert reader.get_field("general.architecture").contents() == ARCHITECTURES[family]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    find, used, compared = gguf_names(family), set(), 0
    for name, tensor in load_file(stage / "model.safetensors").items():
        stored, expert = find(name)
        used.add(stored)
        values = gguf.quants.dequantize(tensors[stored].data, tensors[stored].tensor_type)
        if expert >= 0:
            values = values[expert]
        expected = expected_values(family, name, tensor.float().numpy())
        assert np.array_equal(values.reshape(expected.shape), expected), name
        compared += name.endswith("_proj.weight")
    assert used == set(tensors) and compared >= LAYERS * 4


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_rqat_reads_the_same_model(exported, tmp_path, family):
    """Weights, and logits of texts longer than the windows: the metadata say all that counts."""
    stage, folder = exported(family)
    driver.run("convert", folder / "model.gguf", tmp_path / "again", "--dtype", "float32")
    expected, got = load_file(stage / "model.safetensors"), load_file(tmp_path / "again/model.safetensors")
    assert set(got) == set(expected)
    for name, tensor in expected.items():
        assert torch.allclose(got[name], tensor.float(), rtol=0, atol=2e-7 if "norm" in name else 0), name
    ids = driver.random_ids()
    difference = driver.relative_difference(driver.stage_logits(tmp_path / "again", ids, tmp_path),
                                            driver.stage_logits(stage, ids, tmp_path))
    print(f"relative difference {difference:.2e}")
    assert difference < 1e-5
    if family == "mistral":
        assert json.loads((tmp_path / "again/config.json").read_text())["model_type"] == "llama"


@pytest.mark.parametrize("family", BY_TRANSFORMERS)
def test_transformers_computes_the_same(exported, tmp_path, family):
    stage, folder = exported(family)
    config = transformers.AutoConfig.from_pretrained(folder, gguf_file="model.gguf")
    if family.startswith("gemma"):
        config.query_pre_attn_scalar = 16  # not in the file: llama.cpp takes the head size
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", config=config, dtype=torch.float32)
    ids = driver.random_ids()
    with torch.no_grad():
        difference = driver.relative_difference(model(torch.tensor(ids)).logits, driver.stage_logits(stage, ids, tmp_path))
    print(f"relative difference {difference:.2e}")
    assert difference < 1e-4
