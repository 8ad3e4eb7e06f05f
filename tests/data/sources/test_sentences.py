"""Rated sentences: the fixed split, whole documents, and the real files where they are."""

import io
import os
import tarfile

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.core import storage
from mvjax.data import batch
from mvjax.data.sources import sentences

CACHE = storage.default_cache(os.environ)
WORDS = ["good", "bad", "film", "the", "!"]


def write(root, rows, part="movieReviewSnippets"):
    """Writes a cache with a lexicon, a vocabulary and the given lines."""
    folder = root / "sentences" / "below"
    folder.mkdir(parents=True)
    content = (
        "\r\n".join("\t".join(map(str, row)) for row in rows).encode() + b"\xff\r\n"
    )
    with tarfile.open(folder / "hutto_ICWSM_2014.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo(f"x/{part}_GroundTruth.txt")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    (folder / "vader_lexicon.txt").write_text("good\t1.9\t0.9\t[2]\n")
    (root / "minilm" / "model").mkdir(parents=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    (root / "minilm" / "model" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return str(root)


def movie_rows(count=50):
    rng = np.random.default_rng(0)
    return [
        (i + 1, round(rng.uniform(-4, 4), 3), " ".join(rng.choice(WORDS, 5)))
        for i in range(count)
    ]


def test_records_are_sound_and_the_splits_are_those_of_scikit_learn(tmp_path):
    from sklearn import model_selection

    rows = movie_rows()
    cache = write(tmp_path, rows)
    found = {s: sentences.Source(split=s, cache=cache) for s in sentences.SPLITS}
    rest, test = model_selection.train_test_split(
        np.arange(50), test_size=0.2, random_state=0
    )
    wanted = {"train": rest[:36], "valid": rest[36:], "test": test}
    for split, source in found.items():
        assert source.info["id"] == [str(i + 1) for i in sorted(wanted[split])]
        scores = [rows[i][1] for i in sorted(wanted[split])]
        np.testing.assert_allclose(source.targets["score"], scores, rtol=1e-6)
        assert source.spec == sentences.spec()
        for i in range(len(source)):
            batch.validate_record(source[i], source.spec, split)
    whole = sentences.Source(split="all", cache=cache)
    assert [whole.info["raw_text"][i] for i in (0, 7)] == [rows[0][2], rows[7][2]]
    assert len(sentences.Source(cache=cache, limit=3)) == 3


def test_sizes_follow_the_options(tmp_path):
    cache = write(tmp_path, movie_rows())
    sizes = dict(length=9, affect_length=2, form_length=3)
    source = sentences.Source(split="test", cache=cache, **sizes)
    assert source.spec == sentences.spec(**sizes)
    shapes = [source.views[name].shape for name in ("text", "affect", "form")]
    assert shapes == [(10, 3, 9), (10, 2, 10), (10, 3, 10)]
    assert (source.lengths["form"] == 3).all()
    assert source.views["text"][0, 0, 0] == 2  # [CLS]


@pytest.mark.parametrize("part", ["nytEditorialSnippets", "amazonReviewSnippets"])
def test_documents_stay_whole(tmp_path, part):
    rows = [(f"{d}_{k}", 0.1 * k, "good film") for d in range(20) for k in range(4)]
    cache = write(tmp_path, rows, part)
    documents = []
    for split in sentences.SPLITS:
        source = sentences.Source(split=split, cache=cache, part=part)
        names = [name.split("_")[0] for name in source.info["id"]]
        documents.append(set(names))
        assert len(names) == 4 * len(documents[-1])
    assert [len(found) for found in documents] == [14, 2, 4]
    assert len(set.union(*documents)) == 20


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(errors.UserError, match="mvjax data fetch sentences"):
        sentences.Source(cache=str(tmp_path))
    cache = write(tmp_path, movie_rows())
    with pytest.raises(errors.UserError, match="holds no tweets_GroundTruth"):
        sentences.Source(cache=cache, part="tweets")
    with pytest.raises(errors.UserError, match="Choices: amazon"):
        sentences.spec(part="movies")
    (tmp_path / "minilm/model/vocab.txt").unlink()
    with pytest.raises(errors.UserError, match="mvjax data fetch minilm"):
        sentences.Source(cache=cache)
    archive = tmp_path / "sentences/below/hutto_ICWSM_2014.tar.gz"
    content = archive.read_bytes()
    archive.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(errors.UserError, match="Cannot read .*Git LFS pointer"):
        sentences.Source(cache=cache)
    archive.write_bytes(content[:60])
    with pytest.raises(errors.UserError, match="Cannot read .*hutto"):
        sentences.Source(cache=cache)


@pytest.mark.parametrize("score", ["nan", "1e300", "-4.1"])
def test_scores_beyond_the_scale_are_refused(tmp_path, score):
    cache = write(tmp_path, [*movie_rows(), (99, score, "good film")])
    with pytest.raises(errors.UserError, match="no id, mean .of at most 4. and text"):
        sentences.Source(cache=cache)


@pytest.mark.parametrize("count", [1, 7])
def test_too_few_sentences_for_three_splits_are_named(tmp_path, count):
    cache = write(tmp_path, movie_rows(count))
    with pytest.raises(
        errors.UserError, match=rf"hutto.*: {count} sentences, 8 or more"
    ):
        sentences.Source(cache=cache)
    assert sentences.Source(split="valid", cache=write(tmp_path / "8", movie_rows(8)))


def test_vocabularies_beyond_that_of_bert_are_refused(tmp_path):
    cache = write(tmp_path, movie_rows())
    with (tmp_path / "minilm/model/vocab.txt").open("a") as stream:
        stream.write("\n".join(map(str, range(40_000))))
    with pytest.raises(errors.UserError, match=r"vocab.txt has 40009 pieces, expected"):
        sentences.Source(cache=cache)


def test_a_text_that_declares_too_much_is_refused(tmp_path, monkeypatch):
    cache = write(tmp_path, movie_rows())
    monkeypatch.setattr(sentences, "_MOST_TEXT", 100)
    with pytest.raises(errors.UserError, match="declares .* bytes, expected 100 or"):
        sentences.Source(cache=cache)


@pytest.mark.realdata
@pytest.mark.skipif(
    not ((CACHE / "sentences").is_dir() and (CACHE / "minilm").is_dir()),
    reason="needs `mvjax data fetch sentences` and `mvjax data fetch minilm`",
)
def test_the_real_files_have_the_known_sizes():
    place = next((CACHE / "sentences").rglob("hutto_ICWSM_2014.tar.gz"))
    known = (10605, 5190, 4200, 3708)  # As the readme in the archive says.
    for part, count in zip(sentences.PARTS, known, strict=True):
        rated = sentences.read(place, part)
        assert len(rated.texts) == len(set(rated.ids)) == count
        assert np.abs(rated.scores).max() <= 4 and all(rated.texts)
    tests = sentences.choose(rated.ids, "test", by_document=True)
    assert 0.1 < len(tests) / count < 0.3
    source = sentences.Source(split="test", cache=str(CACHE), limit=64)
    for i in range(64):
        batch.validate_record(source[i], source.spec, "sentences")
    assert source.views["text"][:, 0, 0].tolist() == [101] * 64
    rows = source.lengths["affect"] < source.lengths["form"]
    assert rows.mean() > 0.9  # Nearly every sentence has punctuation.
