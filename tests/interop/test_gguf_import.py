"""`rqat convert IN.gguf OUT_DIR` against the gguf, tokenizers and transformers packages.

Small random models are written with gguf's own writer and quantizers; SmolLM2 is the real file.
Environment: RQAT_BIN = the rqat program; RQAT_SMOLLM2_GGUF = SmolLM2-135M-Instruct as GGUF (default: the one
in models/); RQAT_DATA = folder of real data (tokenizers).
"""
import json
import os
import pathlib
import re
import subprocess

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")
tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
from gguf import GGMLQuantizationType as Type  # noqa: E402
from gguf import quants  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 64, 96, 2, 4, 2, 16
NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}


@pytest.fixture(scope="session")
def rqat():
    program = os.environ.get("RQAT_BIN")
    if not program:
        pytest.skip("RQAT_BIN is not set")
    return program


@pytest.fixture(scope="session")
def data():
    folder = os.environ.get("RQAT_DATA")
    if not folder:
        pytest.skip("RQAT_DATA is not set")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def smollm2(rqat, tmp_path_factory):
    source = pathlib.Path(os.environ.get("RQAT_SMOLLM2_GGUF", ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    if not source.exists():
        pytest.skip(f"{source} is not there")
    folder = tmp_path_factory.mktemp("smollm2") / "hf"
    subprocess.run([rqat, "convert", str(source), str(folder)], check=True)
    return source, folder


def hf_name(name):
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(\w+)", name)
    if block:
        return f"model.layers.{block[1]}.{NAMES[block[2]]}.{block[3]}"
    stem, kind = name.split(".")
    return f"{NAMES[stem]}.{kind}"


def rotate_half_rows(values, heads):
    """llama.cpp's rows (head, pair, half) as HF's (head, half, pair)."""
    shape = values.shape
    return values.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def expected_tensors(path, heads=None, kv_heads=None, dtype=torch.bfloat16):
    tensors = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = quants.dequantize(tensor.data, tensor.tensor_type).reshape(tuple(reversed(tensor.shape.tolist())))
        if heads and ".attn_q." in tensor.name:
            values = rotate_half_rows(values, heads)
        if heads and ".attn_k." in tensor.name:
            values = rotate_half_rows(values, kv_heads)
        tensors[hf_name(tensor.name)] = torch.from_numpy(np.array(values, dtype=np.float32)).to(dtype)
    return tensors


def assert_same_tensors(folder, expected):
    actual = load_file(folder / "model.safetensors")
    assert sorted(actual) == sorted(expected)
    different = [name for name in expected if not torch.equal(actual[name], expected[name])]
    assert different == []


def load_model(folder):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert model.dtype == torch.bfloat16
    return model


def byte_tokens():
    """The 256 characters that stand for bytes in byte-level BPE."""
    return sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


# Offsets of the float16 numbers in a block, of types that the gguf package reads but does not write.
HALVES = {Type.Q2_K: (80, 82), Type.Q3_K: (108,), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,), Type.TQ2_0: (64,)}


def random_blocks(rng, shape, type_):
    """Blocks of any bits, but for finite scales."""
    values, size = gguf.GGML_QUANT_SIZES[type_]
    blocks = rng.integers(0, 256, (int(np.prod(shape)) // values, size), np.uint8)
    for offset in HALVES[type_]:
        blocks[:, offset:offset + 2] = rng.normal(size=len(blocks)).astype(np.float16).reshape(-1, 1).view(np.uint8)
    return blocks.reshape(shape[0], -1)


def write_model(path, architecture, weight_type, tied, tokens=None, merges=("t h", "th e"), pre="qwen2", wide=False):
    hidden, intermediate, head_dim = (256, 512, 64) if wide else (HIDDEN, INTERMEDIATE, HEAD_DIM)
    tokens = tokens or [*byte_tokens(), "th", "the", "<|im_start|>", "<|im_end|>"]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(intermediate)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(head_dim)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(500000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if re.fullmatch(r"<\|.*\|>", token) else 1 for token in tokens])
    writer.add_token_merges(list(merges))
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)
    rng = np.random.default_rng(7)

    def add(name, shape, type_=Type.F32):
        if type_ in HALVES:
            data = random_blocks(rng, shape, type_)
        else:
            data = quants.quantize(rng.normal(size=shape).astype(np.float32), type_)
        writer.add_tensor(name, data, raw_dtype=type_)

    add("token_embd.weight", (len(tokens), hidden), Type.Q8_0)
    add("output_norm.weight", (hidden,))
    if not tied:
        add("output.weight", (len(tokens), hidden), weight_type)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        rows = {"attn_q": HEADS * head_dim, "attn_k": KV_HEADS * head_dim, "attn_v": KV_HEADS * head_dim,
                "ffn_gate": intermediate, "ffn_up": intermediate}
        for name, count in rows.items():
            add(f"{block}{name}.weight", (count, hidden), weight_type)
            if architecture == "qwen2" and name.startswith("attn"):
                add(f"{block}{name}.bias", (count,))
        add(block + "attn_output.weight", (hidden, HEADS * head_dim), weight_type)
        add(block + "ffn_down.weight", (hidden, intermediate), weight_type)
        add(block + "attn_norm.weight", (hidden,))
        add(block + "ffn_norm.weight", (hidden,))
        if architecture == "qwen3":
            add(block + "attn_q_norm.weight", (head_dim,))
            add(block + "attn_k_norm.weight", (head_dim,))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("weight_type", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_small_model(rqat, tmp_path, architecture, weight_type):
    tied = weight_type in ("F32", "Q4_0", "Q5_1")
    source, folder = tmp_path / "model.gguf", tmp_path / "hf"
    write_model(source, architecture, Type[weight_type], tied)
    subprocess.run([rqat, "convert", str(source), str(folder)], check=True)
    permuted = (HEADS, KV_HEADS) if architecture == "llama" else ()
    assert_same_tensors(folder, expected_tensors(source, *permuted))
    config = load_model(folder).config
    assert config.tie_word_embeddings == tied
    assert config.rope_parameters["rope_theta"] == 500000.0
    assert config.rms_norm_eps == 1e-6
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.convert_ids_to_tokens(tokenizer("the<|im_end|>")["input_ids"]) == ["the", "<|im_end|>"]


@pytest.mark.parametrize("weight_type", [type_.name for type_ in HALVES])
def test_blocks_of_256(rqat, tmp_path, weight_type):
    source, folder = tmp_path / "model.gguf", tmp_path / "hf"
    write_model(source, "qwen2", Type[weight_type], True, wide=True)
    subprocess.run([rqat, "convert", str(source), str(folder), "--dtype", "float32"], check=True)
    assert_same_tensors(folder, expected_tensors(source, dtype=torch.float32))


TEXTS = ["Hello, world!  It's 12345 o'clock.\n\n  Tabs\tand 3.14\r\n",
         "naïve café e\u0301 東京 \U0001f600", "x=1;\n    return x\n",
         "<|im_start|>user\nHi<|im_end|>\n", "", "   ", "I'LL we'Ve 'S"]


def test_qwen_tokenizer(rqat, data, tmp_path):
    source = data / "tokenizers/qwen/Qwen3"
    vocabulary = json.loads((source / "vocab.json").read_text())
    lines = (source / "merges.txt").read_text().split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = sorted(vocabulary, key=vocabulary.get) + added
    write_model(tmp_path / "model.gguf", "qwen3", Type.Q8_0, True, tokens, merges)
    subprocess.run([rqat, "convert", str(tmp_path / "model.gguf"), str(tmp_path / "hf")], check=True)
    actual = tokenizers.Tokenizer.from_file(str(tmp_path / "hf/tokenizer.json"))
    expected = transformers.Qwen2Tokenizer(vocab=vocabulary, merges=[tuple(m.split(" ")) for m in merges])
    expected.add_special_tokens({"additional_special_tokens": added})
    for text in TEXTS:
        ids = actual.encode(text).ids
        assert ids == expected(text)["input_ids"], text
        assert actual.decode(ids, skip_special_tokens=False) == expected.decode(ids), text


def test_smollm2_tensors_equal_gguf(smollm2):
    source, folder = smollm2
    assert_same_tensors(folder, expected_tensors(source, 9, 3))


def test_smollm2_tokenizer_equals_the_published(smollm2, data):
    published = data / "tokenizers/smollm2/SmolLM2-135M-Instruct-Tokenizer.json"
    assert json.loads((smollm2[1] / "tokenizer.json").read_text()) == json.loads(published.read_text())
    expected = tokenizers.Tokenizer.from_file(str(published))
    actual = transformers.AutoTokenizer.from_pretrained(smollm2[1])
    for text in TEXTS:
        assert actual(text)["input_ids"] == expected.encode(text).ids, text


def test_smollm2_answers(smollm2):
    folder = smollm2[1]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "What is the capital of France?"}],
                                           add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = load_model(folder).float().generate(**prompt, max_new_tokens=30, do_sample=False)
    text = tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:])
    print(text)
    assert "Paris" in text and text.endswith("<|im_end|>"), text
