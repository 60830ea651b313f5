"""GPTQ files with act-order (desc_act, groups spread over the inputs): those that GPTQModel makes and random ones, through the formula of
the format in numpy, and ours through GPTQModel.

Environment: RQAT_BIN = the rqat program.
"""
import json
import pathlib
import shutil
import subprocess

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import export_driver as driver  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

LAYER = "model.layers.1.mlp.up_proj"
source = driver.float_model_fixture("qwen2", tied=False)


def bits_along(words, num_bits, count):
    """Codes of a dense stream, low bits first, along dimension 0 of 32-bit words: [R, C] -> [count, C]."""
    bits = (words.view(np.uint32)[:, None, :] >> np.arange(32, dtype=np.uint32)[None, :, None]) & 1
    bits = bits.reshape(-1, words.shape[1])[: count * num_bits].reshape(count, num_bits, -1)
    return (bits.astype(np.int64) << np.arange(num_bits)[None, :, None]).sum(axis=1)


def weight_of(tensors, layer, num_bits, version):
    """W[n, k] = scales[g_idx[k], n] (q[k, n] - z[g_idx[k], n])."""
    groups, scales = tensors[layer + ".g_idx"], tensors[layer + ".scales"].astype(np.float32)
    codes = bits_along(tensors[layer + ".qweight"], num_bits, len(groups))
    zeros = bits_along(np.ascontiguousarray(tensors[layer + ".qzeros"].T), num_bits, scales.shape[1]).T
    if version == 1:
        zeros = (zeros + 1) % (1 << num_bits)
    return (scales[groups] * (codes - zeros[groups]).astype(np.float32)).T


def tensors_of(folder):
    """Tensors of the packed layers."""
    return {name: tensor.numpy() for name, tensor in load_file(folder / "model.safetensors").items()
            if name.endswith((".qweight", ".qzeros", ".scales", ".g_idx"))}


def layers_of(tensors):
    return sorted(name[: -len(".qweight")] for name in tensors if name.endswith(".qweight"))


def check_weights(files, stage, num_bits, version):
    """Every layer of the files is, by the formula, what the stage multiplies with."""
    tensors, weights = tensors_of(files), driver.weights_of(stage)
    assert layers_of(tensors) == sorted(weights)
    for layer, weight in weights.items():
        assert not np.array_equal(tensors[layer + ".g_idx"], np.arange(weight.shape[1]) // driver.GROUP), layer
        assert np.array_equal(weight_of(tensors, layer, num_bits, version), weight.float().numpy()), layer


def check_same_files(files, again):
    tensors, others = tensors_of(files), tensors_of(again)
    assert set(tensors) == set(others)
    for name, tensor in tensors.items():
        assert others[name].dtype == tensor.dtype and np.array_equal(others[name], tensor), name


def trained(start, folder):
    """The stage of three steps of training from `start`, and its GPTQ files."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"""
name: q
output_dir: {folder / "run"}
device: cpu
models: {{m: {{path: {start}, dtype: float32}}}}
data: {{d: {{generators: [comparison], split: train, num_examples: 32}}}}
stages:
  - {{id: qat, type: train, model: m, data: d, objective: cross_entropy, estimator: lsq, max_steps: 3, batch_size: 4,
     optimizer: {{adamw: {{learning_rate: 3.0e-2, scale_learning_rate: 1.0e-4}}}}}}
  - {{id: files, type: export, model: qat, formats: [gptq]}}
""")
    driver.run("train", "--config", recipe)
    return folder / "run/qat", folder / "run/files/gptq"


@pytest.fixture(scope="session")
def theirs(tmp_path_factory):
    """A checkpoint that GPTQModel quantized with act-order."""
    python = driver.ROOT / ".venvs/peers/bin/python"
    if not python.exists():
        pytest.skip(".venvs/peers is missing; tools/setup --peers makes it")
    folder = tmp_path_factory.mktemp("theirs")
    model = driver.float_model(folder / "float", "llama")
    script = pathlib.Path(__file__).with_name("gptqmodel_quantizer.py")
    # It leaves a folder of logs where it runs.
    done = subprocess.run([python, script.resolve(), model, folder / "gptq", str(driver.SIZES["vocab_size"])], cwd=folder,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder / "gptq"


def test_what_gptqmodel_quantized(theirs, tmp_path):
    imported, again = tmp_path / "imported", tmp_path / "again"
    driver.run("convert", theirs, imported, "--dtype", "float32")
    check_weights(theirs, imported, 4, 1)
    driver.run("export", "--model", imported, "--format", "gptq", "--out", again)
    check_same_files(theirs, again)
    assert json.loads((again / "config.json").read_text())["quantization_config"]["desc_act"] is True

    stage, files = trained(theirs, tmp_path)
    check_weights(files, stage, 4, 1)
    before, after = driver.state_of(imported), driver.state_of(stage)
    changed = [torch.ne(before[f"{LAYER}.weight_{part}"], after[f"{LAYER}.weight_{part}"]).any() for part in ("packed", "scale")]
    assert all(changed)
    assert torch.equal(before[LAYER + ".weight_input_order"], after[LAYER + ".weight_input_order"])

    flipped = driver.with_flipped_bit(again, tmp_path / "flipped", LAYER + ".qweight", 2, 7, 5)
    # Word 2 holds inputs 16..23, bit 5 is of the second of them.
    driver.check_by_gptqmodel([imported, stage], [again, files], tmp_path, flipped, (LAYER, [7, 17]))


def spread(folder, out):
    """The folder with groups of random inputs: the same codes and scales, other weights."""
    shutil.copytree(folder, out)
    tensors, random = load_file(out / "model.safetensors"), np.random.default_rng(3)
    groups = {}
    for layer in layers_of(tensors):
        name = layer + ".g_idx"
        # Layers that read one input have one order, as GPTQ finds it from the input.
        reads = layer.rsplit(".", 1)[0] + str(layer.endswith(("o_proj", "down_proj")))
        tensors[name] = groups.setdefault(reads, torch.from_numpy(random.permutation(tensors[name].numpy()))).clone()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    config["quantization_config"]["desc_act"] = True
    (out / "config.json").write_text(json.dumps(config))
    return out


@driver.BITS
@pytest.mark.parametrize("version, symmetric", [(1, True), (2, False)])
def test_random_groups(source, tmp_path, num_bits, version, symmetric):
    name = {1: "gptq", 2: "gptq_v2"}[version]
    stage = driver.quantized(source, tmp_path / "stage", num_bits, symmetric, driver.GROUP)
    files = spread(driver.exported(stage, tmp_path / "run", "gptq", checkpoint_format=name)[0], tmp_path / "spread")
    imported, plain = tmp_path / "imported", tmp_path / "plain"
    driver.run("convert", files, imported, "--dtype", "float32")
    check_weights(files, imported, num_bits, version)
    check_same_files(files, driver.exported(imported, tmp_path / "again", "gptq", checkpoint_format=name)[0])
    driver.run("export", "--model", imported, "--format", "hf_dequantized", "--out", plain)
    logits = driver.stage_logits(imported, driver.random_ids(), tmp_path)
    assert driver.relative_difference(driver.stage_logits(plain, driver.random_ids(), tmp_path), logits) < 1e-5


def test_a_trained_two_bit_model(source, tmp_path):
    stage = driver.quantized(source, tmp_path / "stage", 2, False, driver.GROUP)
    files = spread(driver.exported(stage, tmp_path / "run", "gptq")[0], tmp_path / "spread")
    qat, out = trained(files, tmp_path)
    check_weights(out, qat, 2, 2)
    before, after = tensors_of(files), tensors_of(out)
    for layer in layers_of(before):
        assert np.array_equal(after[layer + ".g_idx"], before[layer + ".g_idx"]), layer
        assert not np.array_equal(after[layer + ".qweight"], before[layer + ".qweight"]), layer
