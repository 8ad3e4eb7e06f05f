"""The derived views of sentences say what they promise, token by token."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import derived_views

LEXICON = {"good": (2.0, 0.5), "awful": (-3.0, 1.0), ":)": (1.2, 0.4)}


def derive(*texts, affect_length=8, form_length=10):
    return derived_views.derive(
        texts, LEXICON, affect_length=affect_length, form_length=form_length
    )


def column(views, name):
    return views.affect[0, : views.affect_lengths[0], derived_views.AFFECT.index(name)]


def test_punctuation_is_in_one_view_only():
    views = derive("A good, GOOD film!", "Plain words")
    assert views.affect_lengths.tolist() == [4, 2]  # A good GOOD film
    assert views.form_lengths.tolist() == [6, 2]
    assert not views.affect[0, 4:].any() and not views.form[0, 6:].any()
    assert views.affect.dtype == views.form.dtype == np.float32


def test_affect_knows_valence_capitals_negation_and_marks():
    views = derive("This isn't very GOOD, awful!! :)")
    np.testing.assert_allclose(column(views, "valence"), [0, 0, 0, 0.5, -0.75, 0.3])
    np.testing.assert_allclose(column(views, "disagreement")[3:], [0.125, 0.25, 0.1])
    assert column(views, "known").tolist() == [0, 0, 0, 1, 1, 1]
    assert column(views, "capitals").tolist() == [0, 0, 0, 1, 0, 0]
    assert column(views, "negation").tolist() == [0, 1, 0, 0, 0, 0]
    # Until the comma; the emoticon is no punctuation.
    assert column(views, "negated").tolist() == [0, 0, 1, 1, 0, 0]
    assert column(views, "strengthens").tolist() == [0, 0, 1, 0, 0, 0]
    assert column(views, "exclamations").tolist() == [0, 0, 0, 0, 2, 0]


def test_a_negation_reaches_three_words():
    views = derive("not one two three four")
    assert column(views, "negated").tolist() == [0, 1, 1, 1, 0]


def test_form_counts_characters_and_places():
    views = derive("Ab1 é!")
    assert views.form_lengths.tolist() == [3]
    found = dict(zip(derived_views.FORM, views.form[0, 0], strict=True))
    wanted = {"length": 0.3, "lower": 1 / 3, "upper": 1 / 3, "digits": 1 / 3}
    wanted |= {"vowels": 1 / 3, "marks": 0, "foreign": 0, "capitalised": 1}
    wanted |= {"from_start": 0, "from_end": 2 / 32}
    assert found == pytest.approx(wanted)
    assert views.form[0, 1, derived_views.FORM.index("foreign")] == 1
    assert views.form[0, 2, derived_views.FORM.index("marks")] == 1
    # The same word elsewhere differs in its place only.
    twice = derive("Ab1 Ab1").form[0]
    np.testing.assert_array_equal(twice[0, :-2], twice[1, :-2])
    assert twice[1, -2] == np.float32(1 / 32) and twice[1, -1] == 0


def test_long_and_empty_sentences():
    views = derive("word " * 50, "", "!!!")
    assert views.affect_lengths.tolist() == [8, 1, 1]
    assert views.form_lengths.tolist() == [10, 1, 3]
    assert not views.affect[1:].any() and not views.form[1].any()


def test_lexicons_are_read_or_refused(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("Good\t1.9\t0.9\t[2, 2]\n:-(\t-1.5\t0.5\t[1]\n")
    found = derived_views.read_lexicon(path)
    assert found == {"good": (1.9, 0.9), ":-(": (-1.5, 0.5)}
    path.write_text("good 1.9\n")
    with pytest.raises(errors.UserError, match="lexicon.txt has lines"):
        derived_views.read_lexicon(path)
    for number in ("nan", "1e300"):
        path.write_text(f"good\t{number}\t0.9\n")
        with pytest.raises(errors.UserError, match="of at most 100"):
            derived_views.read_lexicon(path)
    path.write_text("<!DOCTYPE html>\n")
    with pytest.raises(errors.UserError, match="it is a web page"):
        derived_views.read_lexicon(path)
    with pytest.raises(errors.UserError, match="none.txt"):
        derived_views.read_lexicon(tmp_path / "none.txt")
