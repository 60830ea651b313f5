"""Our AWQ files through an unpacker written from the format's description and through GPTQModel, on tiny random models.

Environment: RQAT_BIN = the rqat program.
"""
import json

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("torch")
pytest.importorskip("transformers")
import export_driver as driver  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def unpack(words):
    """[R, C / 8] -> [R, C]: nibble i of word c holds column 8 c + ORDER[i]."""
    words = words.view(np.uint32)
    values = np.empty((words.shape[0], words.shape[1] * 8), np.int32)
    for nibble, column in enumerate(ORDER):
        values[:, column::8] = words >> (4 * nibble) & 15
    return values


@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("group", [32, 64])
def test_codes_zeros_and_weights(tmp_path, symmetric, group):
    source = driver.float_model(tmp_path / "model", "llama")
    stage = driver.quantized(source, tmp_path / "stage", 4, symmetric, group)
    folder, _ = driver.exported(stage, tmp_path / "run", "awq")
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "awq" and config["bits"] == 4 and config["group_size"] == group
    assert config["version"] == "gemm" and config["zero_point"] is True
    tensors, state, weights = load_file(folder / "model.safetensors"), driver.state_of(stage), driver.weights_of(stage)
    assert len(weights) == 14
    for layer, expected in weights.items():
        codes, zeros = unpack(tensors[layer + ".qweight"]), unpack(tensors[layer + ".qzeros"])
        assert np.array_equal(zeros.T, state[layer + ".weight_zero_point"].numpy()), layer
        spread = np.arange(len(codes)) // group
        weight = tensors[layer + ".scales"].astype(np.float32)[spread] * (codes - zeros[spread]).astype(np.float32)
        assert np.array_equal(weight.T, expected.numpy()), layer


def test_the_config_is_what_transformers_parses(tmp_path):
    from transformers.utils.quantization_config import AwqConfig

    source = driver.float_model(tmp_path / "model", "llama")
    stage = driver.quantized(source, tmp_path / "stage", 4, False, 32)
    folder, _ = driver.exported(stage, tmp_path / "run", "awq")
    config = AwqConfig.from_dict(json.loads((folder / "config.json").read_text())["quantization_config"])
    assert config.bits == 4 and config.group_size == 32 and config.zero_point


def test_gptqmodel_reads_the_same_weights(tmp_path):
    source = driver.float_model(tmp_path / "model", "qwen2", tied=False)
    stages, folders = [], []
    for symmetric in (False, True):
        work = tmp_path / str(symmetric)
        work.mkdir()
        stages.append(driver.quantized(source, work / "stage", 4, symmetric, 32))
        folders.append(driver.exported(stages[-1], work / "run", "awq")[0])
    layer = "model.layers.1.mlp.up_proj"
    # Word 1 holds outputs 8..15, bit 20 is of nibble 5, which is the fourth of them.
    flipped = driver.with_flipped_bit(folders[0], tmp_path / "flipped", layer + ".qweight", 21, 1, 20)
    driver.check_by_gptqmodel(stages, folders, tmp_path, flipped, (layer, [11, 21]))
