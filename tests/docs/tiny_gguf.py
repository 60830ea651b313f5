"""A GGUF file of a small random Llama whose tokens are single bytes: stands for the real models of the documentation."""
import array
import pathlib
import random
import struct

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, CONTEXT = 64, 128, 2, 4, 2, 2048
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
UINT32, FLOAT32, TEXT, ARRAY, INT32 = 4, 6, 8, 9, 5


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) if byte in plain else chr(256 + others.index(byte)) for byte in range(256)]


def packed_text(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def packed(value):
    """Type and bytes of a metadata value."""
    if isinstance(value, str):
        return struct.pack("<I", TEXT) + packed_text(value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    element = TEXT if not value or isinstance(value[0], str) else INT32
    items = b"".join(packed_text(v) if element == TEXT else struct.pack("<i", v) for v in value)
    return struct.pack("<IIQ", ARRAY, element, len(value)) + items


def metadata(tokens):
    sizes = {"block_count": LAYERS, "context_length": CONTEXT, "embedding_length": HIDDEN, "feed_forward_length": INTERMEDIATE,
             "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS,
             "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0}
    tokenizer = {"model": "gpt2", "pre": "smollm", "tokens": tokens,
                 "token_type": [1] * 256 + [3] * len(SPECIAL), "merges": [],
                 "bos_token_id": 257, "eos_token_id": 258}
    return {"general.architecture": "llama", **{f"llama.{k}": v for k, v in sizes.items()},
            **{f"tokenizer.ggml.{k}": v for k, v in tokenizer.items()}, "tokenizer.chat_template": TEMPLATE}


def shapes(vocabulary):
    """Rows and columns by name; vectors have one number."""
    kv = HIDDEN // HEADS * KV_HEADS
    found = {"token_embd.weight": (vocabulary, HIDDEN), "output_norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        block = {"attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,), "attn_q": (HIDDEN, HIDDEN), "attn_k": (kv, HIDDEN),
                 "attn_v": (kv, HIDDEN), "attn_output": (HIDDEN, HIDDEN), "ffn_gate": (INTERMEDIATE, HIDDEN),
                 "ffn_up": (INTERMEDIATE, HIDDEN), "ffn_down": (HIDDEN, INTERMEDIATE)}
        found.update({f"blk.{layer}.{name}.weight": shape for name, shape in block.items()})
    return found


def write(path):
    rng = random.Random(1)
    tokens = byte_alphabet() + SPECIAL
    entries = metadata(tokens)
    infos, data = b"", b""
    layout = shapes(len(tokens))
    for name, shape in layout.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0] * count if len(shape) == 1 else [rng.gauss(0, 0.1) for _ in range(count)]
        infos += packed_text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        infos += struct.pack("<IQ", 0, len(data))
        data += array.array("f", values).tobytes()
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(layout), len(entries))
    head += b"".join(packed_text(key) + packed(value) for key, value in entries.items()) + infos
    pathlib.Path(path).write_bytes(head + bytes(-len(head) % 32) + data)
