"""The vocabularies of the data folder, each as a tokenizer of the `tokenizers` wheel that was put together by hand."""
import gzip
import json

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

import text_driver

QWEN_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+")
LLAMA3_PATTERN = QWEN_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
EAST_ASIAN = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+"
# DeepSeek LLM's list of letters with case.
CASED = (r"A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}"
         r"\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}"
         r"\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}"
         r"\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}"
         r"\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}"
         r"\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}"
         r"\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-"
         r"\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}"
         r"\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}"
         r"\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-"
         r"\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}")


def byte_level(**options):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, "use_regex": True, **options})


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def digits(individual=True):
    return pre_tokenizers.Digits(individual_digits=individual)


# What stands behind the names of tokenizer.ggml.pre.
GGUF_PRE_TOKENIZERS = {
    "gpt-2": (None, [byte_level()]),
    "mpt": (normalizers.NFC(), [byte_level()]),
    None: (normalizers.NFC(), [byte_level()]),  # GPT-NeoX
    "starcoder": (None, [digits(), byte_level()]),
    "refact": (None, [digits(), byte_level()]),
    "smollm": (None, [digits(), byte_level()]),
    "falcon": (None, [pre_tokenizers.Punctuation("contiguous"), byte_level(), digits(False), split("[0-9][0-9][0-9]")]),
    "deepseek-llm": (None, [split("[\r\n]"), split(rf"\s?[{CASED}]+"), split(r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+"), split(r"\s+$"), split(EAST_ASIAN), digits(),
                            byte_level(use_regex=False)]),
    "deepseek-coder": (None, [split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(EAST_ASIAN), digits(), byte_level(use_regex=False)]),
}


def add_tokens(wheel, tokens):
    for content, special in tokens:
        token = AddedToken(content, normalized=False, special=special)
        wheel.add_special_tokens([token]) if special else wheel.add_tokens([token])


def from_gguf(path):
    fields = gguf.GGUFReader(path).fields
    tokens, types = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents()
    vocabulary = {token: i for i, token in enumerate(tokens) if types[i] != 5}
    if fields["tokenizer.ggml.model"].contents() == "llama":
        wheel = sentencepiece_bpe(vocabulary, tokens, types, fields["tokenizer.ggml.scores"].contents())
    else:
        pre = fields.get("tokenizer.ggml.pre")
        merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
        wheel = Tokenizer(models.BPE(vocabulary, merges))
        normalizer, steps = GGUF_PRE_TOKENIZERS[pre and pre.contents()]
        wheel.pre_tokenizer = pre_tokenizers.Sequence(steps)
        wheel.decoder = decoders.ByteLevel()
        if normalizer is not None:
            wheel.normalizer = normalizer
    add_tokens(wheel, [(token, types[i] != 4) for i, token in enumerate(tokens) if types[i] in (2, 3, 4)])
    return wheel


def sentencepiece_bpe(vocabulary, tokens, types, scores):
    """Merges by falling score of the result, as transformers converts sentencepiece's BPE models."""
    merges = []
    for token, i in vocabulary.items():
        if types[i] == 1:
            pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
            known = [(left, right) for left, right in pairs if left in vocabulary and right in vocabulary]
            merges += [(scores[i], pair) for pair in sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))]
    merges = [pair for _, pair in sorted(merges, key=lambda merge: merge[0], reverse=True)]
    wheel = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    wheel.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    wheel.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return wheel


def from_json(path):
    if path.suffix == ".gz":
        return Tokenizer.from_str(gzip.decompress(path.read_bytes()).decode())
    return Tokenizer.from_file(str(path))


def read_merges(path):
    return [tuple(line.split(" ")) for line in path.read_text().split("\n") if line and not line.startswith("#version")]


def qwen(folder):
    wheel = Tokenizer(models.BPE(json.loads((folder / "vocab.json").read_text()), read_merges(folder / "merges.txt")))
    wheel.normalizer = normalizers.NFC()
    wheel.pre_tokenizer = pre_tokenizers.Sequence([split(QWEN_PATTERN), byte_level(use_regex=False)])
    wheel.decoder = decoders.ByteLevel()
    added = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    for _, item in sorted(added.items(), key=lambda pair: int(pair[0])):
        special = item.pop("special")
        token = AddedToken(item.pop("content"), **item)
        wheel.add_special_tokens([token]) if special else wheel.add_tokens([token])
    return wheel


def llama3(folder):
    """From the two files of the same vocabulary that lie beside tokenizer.model."""
    wheel = Tokenizer(models.BPE(json.loads((folder / "encoder.json").read_text()), read_merges(folder / "vocab.bpe"), ignore_merges=True))
    wheel.pre_tokenizer = pre_tokenizers.Sequence([split(LLAMA3_PATTERN), byte_level(use_regex=False)])
    wheel.decoder = decoders.ByteLevel()
    names = {0: "<|begin_of_text|>", 1: "<|end_of_text|>", 4: "<|finetune_right_pad_id|>", 6: "<|start_header_id|>", 7: "<|end_header_id|>",
             8: "<|eom_id|>", 9: "<|eot_id|>", 10: "<|python_tag|>"}
    reserved = iter(range(256))
    add_tokens(wheel, [(names[i] if i in names else f"<|reserved_special_token_{next(reserved)}|>", True) for i in range(256)])
    return wheel


def vocabularies():
    """Name -> (what `rqat tokenize --model` takes, function that makes the wheel's tokenizer)."""
    if text_driver.DATA is None:
        return {}
    root = text_driver.DATA / "tokenizers"
    found = {}
    for path in sorted([*root.glob("hf_json/*.json*"), *root.glob("smollm2/*.json")]):
        found[path.name] = (path, lambda path=path: from_json(path))
    for path in sorted(root.glob("llamacpp_vocab/*.gguf")):
        found[path.name] = (path, lambda path=path: from_gguf(path))
    for folder in sorted(root.glob("qwen/*/")):
        found[folder.name] = (folder, lambda folder=folder: qwen(folder))
    if (root / "llama3").exists():
        found["llama3"] = (root / "llama3", lambda: llama3(root / "llama3"))
        found["llama3.model"] = (root / "llama3" / "tokenizer.model", lambda: llama3(root / "llama3"))
    return found
