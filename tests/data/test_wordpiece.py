"""WordPiece cleans, splits and cuts as BERT's does."""

import os
import pathlib

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.core import storage
from mvjax.data import wordpiece

MINILM = storage.default_cache(os.environ) / "minilm" / "model"
RECORDING = pathlib.Path(__file__).parents[1] / "models" / "minilm.npz"
LINES = """[PAD] [UNK] [CLS] [SEP] un ##aff ##able ##a ##ff run ##ning , . ! $ cafe the
Café a ##b""".split()


def make(lines=LINES, **options):
    return wordpiece.Tokenizer({piece: i for i, piece in enumerate(lines)}, **options)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("unaffable", "un ##aff ##able"),  # Longest first: not ##a ##ff.
        ("The RUNNING, the!", "the run ##ning , the !"),
        ("Café cafe\u0301", "cafe cafe"),  # One accent of its own, one combined.
        ("running.$the", "run ##ning . $ the"),
        ("  the\t\n\r the\u3000the\u2028the ", "the the the the"),
        ("t\u200bh\x00e\ufffd\ue000 \u00ad\x07", "the"),  # Invisible things vanish.
        ("the運the", "the [UNK] the"),  # A word of its own, though unknown.
        ("unx the", "[UNK] the"),  # A known beginning does not save a word.
        ("\u0378 the", "[UNK] the"),  # Unassigned is kept.
        ("[SEP]", "[UNK] [UNK] [UNK]"),
        ("", ""),
    ],
)
def test_pieces(text, pieces):
    assert make().pieces(text) == pieces.split()


def test_ascii_symbols_and_unicode_punctuation_stand_alone():
    ascii_marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    for mark in ascii_marks + "«»“”—…¿、。":
        assert make().words(f"a{mark}b") == ["a", mark, "b"], mark
    for symbol in "€©°":
        assert make().words(f"a{symbol}b") == [f"a{symbol}b"], symbol


def test_every_chinese_block_splits_and_kana_do_not():
    for code in (0x4E00, 0x9FFF, 0x3400, 0x20000, 0x2B820, 0xF900):
        assert len(make(lower=False).words(f"a{chr(code)}b")) == 3, hex(code)
    for code in (0x3042, 0x30A2, 0xAC00):
        assert len(make(lower=False).words(f"a{chr(code)}b")) == 1, hex(code)


def test_cased_vocabularies_keep_case_and_accents():
    tokenizer = make(lower=False)
    assert tokenizer.pieces("Café cafe The") == ["Café", "cafe", "[UNK]"]
    assert tokenizer.words("Ünï") == ["Ünï"]


def test_case_is_lowered_letter_by_letter():
    assert make().words("ΣΑΣ İ ẞ") == ["σασ", "i", "ß"]


def test_very_long_words_are_unknown():
    word = "a" + "b" * 99
    assert make().pieces(word) == ["a", *["##b"] * 99]
    assert make().pieces(word + "b") == ["[UNK]"]


def test_encode_frames_cuts_and_pads():
    texts = ["the", "unaffable the the", "", "the the"]
    rows = make().encode(texts, length=5)
    assert rows.shape == (4, 3, 5) and rows.dtype == np.int32
    ids = [[2, 16, 3, 0, 0], [2, 4, 5, 6, 3], [2, 3, 0, 0, 0], [2, 16, 16, 3, 0]]
    np.testing.assert_array_equal(rows[:, 0], ids)
    np.testing.assert_array_equal(rows[:, 1].sum(axis=1), [3, 5, 2, 4])
    np.testing.assert_array_equal(rows[:, 1], np.asarray(ids) > 0)
    assert not rows[:, 2].any()
    assert make().encode([], length=5).shape == (0, 3, 5)


def test_padding_is_where_the_vocabulary_has_it():
    rows = make(LINES[1:] + LINES[:1]).encode(["the"], length=4)
    np.testing.assert_array_equal(rows[0, 0], [1, 15, 2, len(LINES) - 1])


@pytest.mark.parametrize(
    ("texts", "length", "message"),
    [("the", 5, "list of texts"), (["the"], 1, "length must be at least 2")],
)
def test_wrong_use_of_encode(texts, length, message):
    with pytest.raises(errors.UserError, match=message):
        make().encode(texts, length=length)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_vocabulary_file(tmp_path, end):
    path = tmp_path / "vocab.txt"
    # A line may hold what Python's splitlines would split at.
    lines = [*LINES, "\x85", "last"]
    text = ("\r\n" if end == "\r\n" else "\n").join(lines) + end
    path.write_bytes(text.encode())
    tokenizer = wordpiece.Tokenizer.from_file(path, lower=False)
    assert dict(tokenizer.vocabulary) == {piece: i for i, piece in enumerate(lines)}
    assert not tokenizer.lower


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read .*vocab.txt"),
        (b"\xff\xfe", "no UTF-8 text"),
        (b"[CLS]\nthe\n", r"vocab.txt: .* lacks \[SEP\], \[UNK\]"),
    ],
)
def test_damaged_vocabulary_file(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.UserError, match=message):
        wordpiece.Tokenizer.from_file(path)


@pytest.mark.realdata
def test_published_vocabulary_gives_the_recorded_ids():
    if not (MINILM / "vocab.txt").is_file():
        pytest.skip(f"{MINILM} is missing: run `mvjax data fetch minilm`")
    tokenizer = wordpiece.Tokenizer.from_file(MINILM / "vocab.txt")
    with np.load(RECORDING) as recorded:
        tokens = recorded["tokens"]
        rows = tokenizer.encode(recorded["texts"].tolist(), length=tokens.shape[-1])
    np.testing.assert_array_equal(rows, tokens)
