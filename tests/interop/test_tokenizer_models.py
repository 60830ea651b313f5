"""Unigram, WordPiece, WordLevel and character-level BPE models trained by the `tokenizers` wheel, with every component of tokenizer.json."""
import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import text_driver
from test_tokenizer import compare
from texts import conformance_texts, every_character, generated_texts, real_texts


@pytest.fixture(scope="module")
def texts():
    return conformance_texts() + generated_texts(2000, 1) + real_texts(100) + every_character()


@pytest.fixture(scope="module")
def unigram():
    wheel = Tokenizer(models.Unigram())
    wheel.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    wheel.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=3000, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    wheel.train_from_iterator(real_texts(10), trainer)
    return wheel.to_str()


@pytest.fixture(scope="module")
def word_piece():
    wheel = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    wheel.normalizer, wheel.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=3000, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    wheel.train_from_iterator(real_texts(10), trainer)
    wheel.decoder = decoders.WordPiece()
    return wheel.to_str()


def check(wheel, texts, folder):
    saved = folder / "tokenizer.json"
    wheel.save(str(saved))
    compare(wheel, saved, texts, folder)


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
@pytest.mark.parametrize("split", [True, False])
def test_unigram(scheme, split, unigram, texts, tmp_path):
    wheel = Tokenizer.from_str(unigram)
    wheel.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    wheel.decoder = decoders.Metaspace(prepend_scheme=scheme, split=split)
    check(wheel, texts, tmp_path)


def test_unigram_with_bytes(unigram, texts, tmp_path):
    description = json.loads(unigram)
    description["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    description["model"]["byte_fallback"] = True
    wheel = Tokenizer.from_str(json.dumps(description))
    wheel.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    check(wheel, texts, tmp_path)


def test_post_processors(unigram, texts, tmp_path):
    special = [("<s>", 1), ("</s>", 2)]
    for processor in (processors.TemplateProcessing(single="<s> $A </s>", special_tokens=special),
                      processors.BertProcessing(("</s>", 2), ("<s>", 1)), processors.RobertaProcessing(("</s>", 2), ("<s>", 1)),
                      processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(single="<s> <s> $A", special_tokens=special)])):
        wheel = Tokenizer.from_str(unigram)
        wheel.post_processor = processor
        saved = tmp_path / "tokenizer.json"
        wheel.save(str(saved))
        got = text_driver.run("TokenizeLines", texts[:200], tmp_path, RQAT_DRIVER_MODEL=str(saved), RQAT_DRIVER_DECODE="0", RQAT_DRIVER_SPECIAL="1")
        assert got == [encoding.ids for encoding in wheel.encode_batch(texts[:200])]


WORD_PRE_TOKENIZERS = {
    "bert": pre_tokenizers.BertPreTokenizer(), "whitespace": pre_tokenizers.Whitespace(),
    "punctuation": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]),
    "merged_punctuation": pre_tokenizers.Punctuation("merged_with_previous"), "delimiter": pre_tokenizers.CharDelimiterSplit("e"),
    "fixed": pre_tokenizers.FixedLength(5), "digits": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(True)]),
}


@pytest.mark.parametrize("name", WORD_PRE_TOKENIZERS)
def test_word_piece(name, word_piece, texts, tmp_path):
    wheel = Tokenizer.from_str(word_piece)
    wheel.pre_tokenizer = WORD_PRE_TOKENIZERS[name]
    check(wheel, texts, tmp_path)


def test_unicode_scripts(word_piece, tmp_path):
    """Without the rows of every character: scripts of a few characters changed since the library's table."""
    wheel = Tokenizer.from_str(word_piece)
    wheel.pre_tokenizer = pre_tokenizers.UnicodeScripts()
    check(wheel, conformance_texts() + real_texts(100) + ["\u3042\u30a2\u4e00\u30fc x \u0430b \u05d0", "  a", " ", "1\u0431"], tmp_path)


NORMALIZERS = {
    "cased": normalizers.BertNormalizer(lowercase=False), "no_accents": normalizers.BertNormalizer(strip_accents=False),
    "nfc": normalizers.NFC(), "nfd": normalizers.NFD(), "nfkc": normalizers.NFKC(), "nfkd": normalizers.NFKD(), "lowercase": normalizers.Lowercase(),
    "strip_accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), "strip": normalizers.Strip(), "nmt": normalizers.Nmt(),
    "left": normalizers.Strip(right=False), "prepend": normalizers.Prepend("x"), "replace": normalizers.Replace("ab", "*"),
    "regex": normalizers.Replace(Regex("[aeiou]+"), "*"), "byte_level": normalizers.ByteLevel(),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizers(name, word_piece, texts, tmp_path):
    wheel = Tokenizer.from_str(word_piece)
    wheel.normalizer, wheel.pre_tokenizer = NORMALIZERS[name], pre_tokenizers.WhitespaceSplit()
    check(wheel, texts, tmp_path)


def test_word_level(texts, tmp_path):
    wheel = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    wheel.pre_tokenizer = pre_tokenizers.Whitespace()
    wheel.train_from_iterator(real_texts(20), trainers.WordLevelTrainer(vocab_size=3000, special_tokens=["[UNK]"], show_progress=False))
    check(wheel, texts, tmp_path)


@pytest.mark.parametrize("options", [{"end_of_word_suffix": "</w>"}, {"continuing_subword_prefix": "##"}])
def test_character_bpe(options, texts, tmp_path):
    wheel = Tokenizer(models.BPE(unk_token="[UNK]", **options))
    wheel.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    wheel.decoder = decoders.BPEDecoder("</w>") if "end_of_word_suffix" in options else decoders.WordPiece()
    wheel.train_from_iterator(real_texts(20), trainers.BpeTrainer(vocab_size=2000, special_tokens=["[UNK]"], show_progress=False, **options))
    check(wheel, texts, tmp_path)
