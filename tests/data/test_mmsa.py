"""Pickles of MMSA and MulT: what is mended, what is refused, what a conversion keeps."""

import pickle
import re
import warnings

import numpy as np
import pytest

from mvjax import cli
from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import check
from mvjax.data import mmsa as mmsa_lib
from mvjax.data import mmsa_doctor
from mvjax.data import mmsa_synthetic
from mvjax.data import sequences
from mvjax.data.sources import mmsa
from mvjax.data.sources import mult
from mvjax.data.sources import npz

COUNTS = {"train": 20, "valid": 6, "test": 9}


def write(tmp_path, *, kind="unaligned", name="file.pkl", **changes):
    """Writes a made-up file; `changes` replace or (None) remove arrays of each split."""
    path = tmp_path / name
    mmsa_synthetic.write_mmsa_pickle(path, kind=kind, counts=COUNTS)
    if changes:
        content = pickle.loads(path.read_bytes())
        for part in content.values():
            for key, value in changes.items():
                value = value(part.get(key)) if callable(value) else value
                part[key] = value
                if value is None:
                    del part[key]
        path.write_bytes(pickle.dumps(content))
    return str(path)


def contents(path, split="train"):
    with open(path, "rb") as stream:
        return pickle.load(stream)[split]


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("kind", mmsa_synthetic.KINDS)
def test_every_record_of_every_kind_is_sound(tmp_path, kind, tokens):
    options = dict(file=write(tmp_path, kind=kind), tokens=tokens)
    options["data_set"] = "sims" if kind == "sims" else "mosi"
    for split, count in (COUNTS | {"all": 35}).items():
        source = mmsa.Source(split=split, **options)
        assert source.spec == mmsa.spec(split=split, **options)
        assert len(source) == count
        for i in range(count):
            batch.validate_record(source[i], source.spec, split)
    part = contents(options["file"])
    train = mmsa.Source(**options)
    text = part["text_bert"] if tokens else part["text"]
    np.testing.assert_array_equal(train.views["text"], text)
    np.testing.assert_allclose(train.targets["score"], part["regression_labels"], 1e-6)
    np.testing.assert_array_equal(train.labels, part["classification_labels"])
    assert train.info["id"] == part["id"]
    assert train.info["raw_text"] == part["raw_text"]
    if kind != "aligned":
        np.testing.assert_array_equal(train.lengths["audio"], part["audio_lengths"])
    if not tokens:
        mask = part["text_bert"][:, 1].sum(axis=1)
        np.testing.assert_array_equal(train.lengths["text"], mask)


def test_infinite_values_become_zero_and_are_told(tmp_path, capsys):
    def spoil(array):
        array[3, 2, 1] = np.nan
        return array

    file = write(tmp_path, vision=spoil)
    source = mmsa.Source(file=file)
    part = contents(file)
    bad = np.isinf(part["audio"])
    assert bad.sum() == 2
    assert (source.views["audio"][bad] == 0).all()
    np.testing.assert_array_equal(source.views["audio"][~bad], part["audio"][~bad])
    assert source.views["vision"][3, 2, 1] == 0
    told = capsys.readouterr().err
    assert "2 infinite values and 0 NaN in audio" in told
    assert "0 infinite values and 1 NaN in vision" in told
    assert len(source.notes) == 2


def test_lengths_beyond_the_sequence_are_clipped_and_noted(tmp_path):
    file = write(tmp_path, audio_lengths=lambda found: [0, 99, *found[2:]])
    source = mmsa.Source(file=file)
    assert source.lengths["audio"][:2].tolist() == [1, 30]
    assert any("2 lengths of audio_lengths outside of 1..30" in n for n in source.notes)


def test_without_lengths_padding_is_measured(tmp_path):
    file = write(tmp_path, audio_lengths=None, text_bert=None)
    given = contents(write(tmp_path, name="other.pkl"))
    source = mmsa.Source(file=file)
    np.testing.assert_array_equal(source.lengths["audio"], given["audio_lengths"])
    mask = given["text_bert"][:, 1].sum(axis=1)
    np.testing.assert_array_equal(source.lengths["text"], mask)
    empty = np.zeros((2, 4, 3))
    empty[0, 1, 2] = 5
    assert sequences.measure(empty).tolist() == [2, 1]


def test_classes_come_from_numbers_words_or_nowhere(tmp_path):
    numbers = mmsa.Source(file=write(tmp_path)).labels
    words = mmsa.Source(file=write(tmp_path, classification_labels=None)).labels
    np.testing.assert_array_equal(numbers, words)
    odd = write(tmp_path, classification_labels=lambda found: [7, *found[1:].tolist()])
    source = mmsa.Source(file=odd)
    labels = source.labels
    assert labels[0] == -1
    assert "1 of classification_labels are none of the classes" in source.notes[-1]
    assert source.spec.names() == ("negative", "neutral", "positive")
    np.testing.assert_array_equal(labels[1:], numbers[1:])
    none = write(tmp_path, classification_labels=None, annotations=None)
    source = mmsa.Source(file=none)
    assert source.spec.classes is None and (source.labels == -1).all()


@pytest.mark.parametrize("suffix", ["_T", "_A", "_V"])
def test_sims_has_a_score_for_each_view(tmp_path, suffix):
    file = write(tmp_path, kind="sims")
    target = f"regression_labels{suffix}"
    source = mmsa.Source(file=file, data_set="sims", target=target)
    part = contents(file)
    np.testing.assert_allclose(source.targets["score"], part[target], 1e-6)
    np.testing.assert_array_equal(source.labels, part[f"classification_labels{suffix}"])
    assert source.spec.targets == {"score": batch.TargetSpec(low=-1.0, high=1.0)}


def test_averages_over_time(tmp_path):
    file = write(tmp_path)
    source = mmsa.Source(file=file, average=True)
    plain = mmsa.Source(file=file)
    for name in ("audio", "vision"):
        wanted = plain.views[name].mean(axis=1, keepdims=True)
        np.testing.assert_allclose(source.views[name], wanted, rtol=1e-6)
        assert (source.lengths[name] == 1).all()
    np.testing.assert_array_equal(source.views["text"], plain.views["text"])
    assert source.spec == mmsa.spec(file=file, average=True)


def test_other_files_give_single_views(tmp_path):
    file = write(tmp_path)
    wider = lambda array: np.concatenate([array, array], axis=2)  # noqa: E731
    other = write(tmp_path, name="other.pkl", audio=wider)
    source = mmsa.Source(file=file, audio_file=other)
    assert source.spec.views["audio"].shape == (30, 10)
    assert source.spec.views["vision"].shape == (22, 7)
    short = tmp_path / "short.pkl"
    mmsa_synthetic.write_mmsa_pickle(short, counts={"train": 3})
    with pytest.raises(errors.UserError, match="other audio file.*has 3 utterances"):
        mmsa.Source(file=file, audio_file=str(short))


def test_files_are_found_as_mmsa_lays_them_out(tmp_path):
    place = tmp_path / "root" / "MOSI" / "Processed"
    place.mkdir(parents=True)
    write(place, name="unaligned_50.pkl")
    write(place, kind="aligned", name="aligned_50.pkl")
    for folder in (tmp_path / "root", tmp_path / "root/MOSI", place):
        assert len(mmsa.Source(folder=str(folder))) == 20
        found = mmsa.Source(folder=str(folder), aligned=True)
        assert found.spec.views["audio"].shape == (12, 5)
    for options, words in (
        (dict(folder=str(tmp_path)), "No unaligned_50.pkl of mosi in"),
        (dict(), "options.folder"),
        (dict(file=str(tmp_path / "x.pkl")), "no file"),
        (dict(data_set="sims", aligned=True, folder="."), "no aligned file of sims"),
        (dict(data_set="iemocap"), "Choices: mosei, mosi"),
    ):
        with pytest.raises(errors.UserError, match=words):
            mmsa.Source(**options)


def drop_slowly(array, lengths, rate, seed):
    """The rule of the benchmark for frames, one by one."""
    draws = np.random.RandomState(seed).uniform(size=array.shape[:2])
    out = np.zeros_like(array)
    for i in range(len(array)):
        for t in range(lengths[i]):
            if draws[i, t] > rate:
                out[i, t] = array[i, t]
    return out


def test_lost_frames_are_zero_and_lost_tokens_unknown(tmp_path):
    file = write(tmp_path)
    rates = {"text": 0.5, "audio": 0.3, "vision": 0.0}
    plain = mmsa.Source(file=file, tokens=True)
    lost = mmsa.Source(file=file, tokens=True, missing=rates)
    wanted = drop_slowly(plain.views["audio"], plain.lengths["audio"], 0.3, 1111)
    np.testing.assert_array_equal(lost.views["audio"], wanted)
    assert (wanted != plain.views["audio"]).any()
    np.testing.assert_array_equal(lost.views["vision"], plain.views["vision"])
    draws = np.random.RandomState(1111).uniform(size=(20, 12))
    for i in range(20):
        before, after = plain.views["text"][i], lost.views["text"][i]
        np.testing.assert_array_equal(after[1:], before[1:])
        count = before[1].sum()
        assert after[0, 0] == 101 and after[0, count - 1] == 102
        for t in range(1, count - 1):
            assert after[0, t] == (before[0, t] if draws[i, t] > 0.5 else 100)
        assert (after[0, count:] == 0).all()
    other = mmsa.Source(file=file, tokens=True, missing=rates, missing_seed=1)
    assert (other.views["audio"] != lost.views["audio"]).any()
    every = mmsa.Source(file=file, missing=0.3)
    wanted = drop_slowly(plain.views["vision"], plain.lengths["vision"], 0.3, 1111)
    np.testing.assert_array_equal(every.views["vision"], wanted)
    for bad in ({"smell": 0.1}, {"audio": 1.0}, -0.1):
        with pytest.raises(errors.UserError, match="smell|rate"):
            mmsa.Source(file=file, missing=bad)


def test_mult_files(tmp_path):
    for aligned, name in ((False, "mosi_data_noalign.pkl"), (True, "mosi_data.pkl")):
        file = tmp_path / name
        mmsa_synthetic.write_mult_pickle(file, aligned=aligned, counts=COUNTS)
        options = dict(folder=str(tmp_path), data_set="mosi", aligned=aligned)
        for split, count in (COUNTS | {"all": 35}).items():
            source = mult.Source(split=split, **options)
            assert len(source) == count
            assert source.spec == mult.spec(split=split, **options)
            for i in range(count):
                batch.validate_record(source[i], source.spec, split)
        part = contents(file, "test")
        source = mult.Source(split="test", **options)
        np.testing.assert_array_equal(source.targets["score"], part["labels"][:, 0, 0])
        assert source.info["id"][0] == "$_$".join(x.decode() for x in part["id"][0])
        assert (source.views["audio"][np.isinf(part["audio"])] == 0).all()
        assert mult.find_problems(split="all", **options) == []
    with pytest.raises(errors.UserError, match="Choices: mosei_senti, mosi"):
        mult.spec(data_set="mosei")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(audio=None), "audio is missing; there is raw_text"),
        (dict(audio=lambda x: x[:5]), "numbers of utterances differ: .*audio 5"),
        (dict(vision=lambda x: x[0]), "vision has the shape"),
        (dict(vision=lambda x: ["a"] * len(x)), "vision is no array of numbers"),
        (dict(regression_labels=lambda x: x * np.nan), "NaN or infinite"),
        (dict(regression_labels=lambda x: x * 0 + 4), "4 to 4, expected -3 to 3"),
        (dict(id=lambda x: x[:4]), "id has 4 utterances"),
        (dict(audio_lengths=lambda x: x[:4]), "audio_lengths has 4"),
        (dict(annotations=7, classification_labels=None), "no list of texts"),
    ],
)
def test_problems_are_named(tmp_path, changes, words):
    file = write(tmp_path, **changes)
    found = mmsa.find_problems(file=file)
    assert len(found) >= 1 and "file.pkl, train" in found[0]
    assert any(re.search(words, line) for line in found)
    with pytest.raises(errors.UserError, match="file.pkl"):
        mmsa.Source(file=file)
    config = dict(name="mmsa", options=dict(file=file))
    assert check.check(config, ("train",))[1]


def test_files_of_something_else_are_refused(tmp_path):
    path = tmp_path / "a.pkl"
    for content, words in (
        ([1], "no dict"),
        ({"a": 1}, "the keys a, expected train"),
        ({"train": 3}, "train is no dict"),
        ({"test": {}}, "has no train, only test"),
        (eval, "refused"),
    ):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(errors.UserError, match=words):
            mmsa.Source(file=str(path))
        assert mmsa.find_problems(file=str(path))


def rename(path, **names):
    """Gives the splits of a file other names."""
    content = pickle.loads(path.read_bytes())
    content = {names.get(name, name): part for name, part in content.items()}
    path.write_bytes(pickle.dumps(content))
    return str(path)


@pytest.mark.parametrize("layout", ["mmsa", "mult"])
def test_splits_of_other_names_are_read_and_told(tmp_path, capsys, layout):
    path = tmp_path / "a.pkl"
    write_file = getattr(mmsa_synthetic, f"write_{layout}_pickle")
    write_file(path, counts=COUNTS)
    file = rename(path, valid="Dev", test="test")
    kind = {"mmsa": mmsa, "mult": mult}[layout]
    options = dict(file=file, data_set="mosi")
    for split, count in (COUNTS | {"all": 35}).items():
        assert len(kind.Source(split=split, **options)) == count
    told = capsys.readouterr().err
    assert told.count("the split 'Dev' is read as 'valid'") == 2  # Of it and of "all".
    assert kind.find_problems(split="valid", **options) == []
    assert any("valid: the split 'Dev'" in x for x in kind.describe(**options))
    notes = mmsa_lib.convert_to_npz(path, tmp_path / "a.npz")
    assert "the split 'Dev' is read as 'valid'." in notes
    assert len(npz.Source(split="valid", file=str(tmp_path / "a.npz"))) == 6


def test_unknown_and_doubled_splits_are_refused(tmp_path):
    path = tmp_path / "a.pkl"
    mmsa_synthetic.write_mmsa_pickle(path, counts=COUNTS | {"rest": 4})
    for names, words in (
        ({}, "'rest' is unknown"),
        ({"rest": "dev"}, "'valid' and 'dev' both stand for the split 'valid'"),
    ):
        file = rename(path, **names)
        with pytest.raises(errors.UserError, match=words):
            mmsa.Source(file=file)
        with pytest.raises(errors.UserError, match=words):
            mmsa_lib.convert_to_npz(path, tmp_path / "a.npz")
        assert words in mmsa.find_problems(file=file)[0]
    assert not (tmp_path / "a.npz").exists()


def test_what_is_no_split_is_told(tmp_path):
    path = tmp_path / "a.pkl"
    mmsa_synthetic.write_mmsa_pickle(path, counts=COUNTS)
    content = pickle.loads(path.read_bytes()) | {"version": "1.0"}
    path.write_bytes(pickle.dumps(content))
    assert mmsa.Source(file=str(path)).notes[0].startswith("version beside the splits")


def spoiled(value):
    def spoil(array):
        array = array.astype(np.float64)
        array.flat[0] = value
        return array

    return spoil


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        (dict(audio=spoiled(1e300)), {}),
        (dict(audio=lambda x: np.full_like(x, 3e38)), dict(average=True)),
        (dict(audio=lambda x: x.astype(np.longdouble) * np.longdouble("1e4000")), {}),
        (dict(audio=lambda x: x.astype(">f8")), {}),
        (dict(audio=lambda x: x.tolist()), {}),
        (dict(text_bert=lambda x: [[1], [1, 2]]), {}),
        (dict(audio_lengths=lambda x: [1e30, *x[1:]]), {}),
    ],
)
def test_odd_numbers_are_read_without_a_word_of_numpy(tmp_path, changes, options):
    file = write(tmp_path, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = mmsa.Source(file=file, **options)
        mmsa.describe(file=file)
        mmsa.find_problems(file=file, **options)
    assert np.isfinite(source.views["audio"]).all()
    if "average" in options:
        assert (source.views["audio"] == np.float32(3e38)).all()


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        (dict(text_bert=spoiled(np.nan)), dict(tokens=True), "no token ids"),
        (dict(text_bert=spoiled(2**40)), dict(tokens=True), "no token ids"),
        (dict(text_bert=3), dict(tokens=True), "must be"),
        (
            dict(regression_labels=spoiled(1e300)),
            {},
            "infinity .in float32. at index 0",
        ),
        (dict(audio_lengths=lambda x: [np.nan, *x[1:]]), {}, "audio_lengths holds NaN"),
        (dict(audio=lambda x: [[[0.0] * 999] * 999] * 999), {}, "unpack to more"),
    ],
)
def test_impossible_numbers_are_refused_without_a_word_of_numpy(
    tmp_path, changes, options, words
):
    file = write(tmp_path, **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(errors.UserError, match=words):
            mmsa.Source(file=file, **options)
        assert mmsa.find_problems(file=file, **options)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"", "empty"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, content, words):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(errors.UserError, match=words):
        mmsa.Source(file=str(path))
    with pytest.raises(errors.UserError, match="it is a folder"):
        mmsa.Source(file=str(tmp_path))


def test_tokens_must_be_whole_numbers(tmp_path):
    file = write(tmp_path, text_bert=lambda x: x + 0.5)
    with pytest.raises(errors.UserError, match="no token ids"):
        mmsa.Source(file=file, tokens=True)
    floats = write(tmp_path, text_bert=lambda x: x.astype(np.float32))
    assert mmsa.Source(file=floats, tokens=True).views["text"].dtype == np.int32


def test_the_doctor_says_what_is_in_a_file(tmp_path, monkeypatch):
    file = write(tmp_path)
    lines = mmsa.describe(file=file)
    text = "\n".join(lines)
    for wanted in (
        "none that MMSA published",
        "train, audio: 20x30x5 float32, 2 infinite, 0 NaN.",
        "test, audio_lengths: 9 int64 (a list), from",
        "valid: keys raw_text, audio",
        "train, regression_labels: 20 float64",
    ):
        assert wanted in text
    digest = mmsa_lib.sha256(tmp_path / "file.pkl")
    assert digest[:16] in lines[0]
    monkeypatch.setitem(mmsa_lib.PUBLISHED, digest[:8], "a test")
    assert (
        "as MMSA published it (a test)"
        in mmsa_doctor.describe(tmp_path / "file.pkl", max_gib=None)[0]
    )


@pytest.mark.parametrize("tokens", [False, True])
def test_a_conversion_keeps_everything(tmp_path, tokens):
    file, out = write(tmp_path), str(tmp_path / "safe.npz")
    notes = mmsa_lib.convert_to_npz(file, out, tokens=tokens)
    assert len(notes) == 3  # Infinite values in each split.
    assert npz.find_splits(file=out) == mmsa.SPLITS
    assert npz.spec(file=out).names() == mmsa.spec(file=file).names() != ()
    for split in (*mmsa.SPLITS, "all"):
        old = mmsa.Source(split=split, file=file, tokens=tokens)
        new = npz.Source(split=split, file=out)
        for name in old.views:
            np.testing.assert_array_equal(new.views[name], old.views[name])
        for name in old.lengths:
            np.testing.assert_array_equal(new.lengths[name], old.lengths[name])
        np.testing.assert_array_equal(new.targets["score"], old.targets["score"])
        np.testing.assert_array_equal(new.labels, old.labels)
        assert new.info["id"].tolist() == old.info["id"]
        for i in range(len(new)):
            batch.validate_record(new[i], new.spec, split)


def test_mult_files_are_converted_too(tmp_path):
    file, out = tmp_path / "mosi_data.pkl", tmp_path / "safe.npz"
    mmsa_synthetic.write_mult_pickle(file, counts=COUNTS)
    mmsa_lib.convert_to_npz(file, out)
    new = npz.Source(split="valid", file=str(out))
    old = mult.Source(split="valid", file=str(file), data_set="mosi")
    np.testing.assert_array_equal(new.views["audio"], old.views["audio"])
    assert new.spec.classes is None
    with pytest.raises(errors.UserError, match="MulT file"):
        mmsa_lib.convert_to_npz(file, out, tokens=True)


def test_made_up_data_has_cues_in_every_view(tmp_path):
    path = tmp_path / "a.pkl"
    mmsa_synthetic.write_mmsa_pickle(path, counts={"train": 300})
    source = mmsa.Source(file=str(path), tokens=True)
    score = source.targets["score"]
    words = source.views["text"][:, 0]
    cue = np.where((words >= 2000) & (words < 2100), words - 2020.0, 0).sum(axis=1)
    peaks = [source.views[k][..., 0].sum(axis=1) for k in ("audio", "vision")]
    columns = np.stack([cue, *peaks, np.ones(300)], axis=1)
    errors_of = []
    for used in ([0, 3], [1, 3], [2, 3], [0, 1, 2, 3]):
        weights = np.linalg.lstsq(columns[:, used], score, rcond=None)[0]
        errors_of.append(np.abs(columns[:, used] @ weights - score).mean())
    mean_only = np.abs(score - score.mean()).mean()
    assert max(errors_of[:3]) < 0.93 * mean_only  # Each view tells a part,
    assert errors_of[3] < 0.35 * mean_only  # all of them nearly everything.
    again = tmp_path / "b.pkl"
    mmsa_synthetic.write_mmsa_pickle(again, counts={"train": 300})
    assert again.read_bytes() == path.read_bytes()
    with pytest.raises(errors.UserError, match="Choices: aligned, sims, unaligned"):
        mmsa_synthetic.write_mmsa_pickle(path, kind="alined")


def test_specs_without_a_file_are_for_made_up_data():
    assert mmsa.spec().views["audio"].shape == (375, 5)
    assert mmsa.spec(tokens=True).views["text"].shape == (3, 50)
    assert mmsa.spec(data_set="mosei", average=True).views["vision"].shape == (1, 35)
    assert mult.spec().views["text"].shape == (50, 300)


@pytest.mark.parametrize("source", [mmsa, mult])
def test_the_bound_on_memory_is_told_and_can_be_raised(tmp_path, monkeypatch, source):
    file = str(tmp_path / "file.pkl")
    if source is mmsa:
        mmsa_synthetic.write_mmsa_pickle(file, kind="unaligned", counts=COUNTS)
    else:
        mmsa_synthetic.write_mult_pickle(file, counts=COUNTS)
    monkeypatch.setattr("mvjax.core.memory.available", lambda: 1 << 12)
    words = "fit into 2048 bytes; config.data.options.max_gib raises that"
    calls = (
        source.spec,
        source.Source,
        source.describe,
        lambda **options: _raise(source.find_problems(**options)),
    )
    for call in calls:
        with pytest.raises(errors.UserError, match=words):
            call(file=file)
        call(file=file, max_gib=1.0)


def _raise(problems):
    if problems:
        raise errors.UserError(problems[0])


def test_convert_has_the_option_too(tmp_path, monkeypatch, capsys):
    argv = [
        "data",
        "convert",
        f"--input={write(tmp_path)}",
        f"--output={tmp_path}/a.npz",
    ]
    monkeypatch.setattr("mvjax.core.memory.available", lambda: 1 << 12)
    for more, code in ([], 2), (["--max-gib=0"], 2), (["--max-gib=1"], 0):
        with pytest.raises(SystemExit) as stop:
            cli.main([*argv, *more])
        assert stop.value.code == code
    said = capsys.readouterr().err.splitlines()
    assert "fit into 2048 bytes; --max-gib raises that." in said[0]
    assert "must be above 0" in said[1]
    assert npz.Source(file=f"{tmp_path}/a.npz", split="all", max_gib=1.0)


def test_splits_without_utterances_are_refused_wherever_they_are_read(tmp_path):
    mmsa_file, mult_file = tmp_path / "mmsa.pkl", tmp_path / "mult.pkl"
    counts = COUNTS | {"valid": 0}
    mmsa_synthetic.write_mmsa_pickle(mmsa_file, counts=counts)
    mmsa_synthetic.write_mult_pickle(mult_file, counts=counts)
    for source, file in ((mmsa, mmsa_file), (mult, mult_file)):
        for split in ("valid", "all"):
            with pytest.raises(errors.UserError, match="valid has no utterances"):
                source.Source(split=split, file=str(file), data_set="mosi")
        with pytest.raises(errors.UserError, match="valid has no utterances"):
            mmsa_lib.convert_to_npz(file, tmp_path / "out.npz")


def test_splits_of_other_shapes_and_scores_beyond_the_scale_are_problems(tmp_path):
    file = write(tmp_path)
    content = pickle.loads((tmp_path / "file.pkl").read_bytes())
    audio = content["valid"]["audio"]
    content["valid"]["audio"] = np.concatenate([audio, audio], axis=2)
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content))
    config = dict(name="mmsa", options=dict(file=file))
    (problem,) = check.check(config)[1]
    assert "'audio' is [30, 10] of float32 in the split 'valid'" in problem
    content["train"]["regression_labels"][3] = 3.5
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(errors.UserError, match="score 3.5 at index 3.*-3 to 3"):
        mmsa.Source(file=file)


def test_tokens_beyond_the_vocabulary_are_refused(tmp_path):
    def spoil(array):
        array[3, 0, 2] = 40_000
        return array

    file = write(tmp_path, text_bert=spoil)
    with pytest.raises(errors.UserError, match="text_bert holds 40000, .* up to 30521"):
        mmsa.Source(file=file, tokens=True)
    assert len(mmsa.Source(file=file))
