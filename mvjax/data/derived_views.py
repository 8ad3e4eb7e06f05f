"""Two derived views of a sentence, token by token: its affect and its form.

Both are computed from the words themselves and a lexicon of word valences; they are
neither audio nor video. `affect` has a row for each word, `form` one for each word and
each punctuation mark, so the two have different lengths and no common clock.
"""

from collections.abc import Mapping, Sequence
import pathlib
import re
from typing import NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind

AFFECT = (
    "valence",
    "disagreement",
    "known",
    "capitals",
    "negation",
    "negated",
    "strengthens",
    "weakens",
    "exclamations",
    "questions",
)
FORM = (
    "length",
    "lower",
    "upper",
    "digits",
    "vowels",
    "marks",
    "foreign",
    "capitalised",
    "from_start",
    "from_end",
)
_GREATEST_VALENCE = 4.0
_MOST = 100.0  # Of any number in a lexicon, which may have a scale of its own.
_REACH = 3  # Words that a negation holds for.
_LONG = 10.0  # Letters of a word whose length counts as 1.
_SPAN = 32.0  # Tokens whose distance counts as 1.
_TOKEN = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]")
_NEGATIONS = frozenset(
    "no not never none nobody nothing neither nor nowhere without cannot cant dont "
    "doesnt didnt isnt wasnt arent werent wont wouldnt couldnt shouldnt aint lacks "
    "lacking hardly barely scarcely rarely seldom".split()
)
_STRENGTHENS = frozenset(
    "very really so too extremely highly deeply utterly completely absolutely totally "
    "incredibly remarkably truly most more quite especially particularly thoroughly "
    "exceptionally".split()
)
_WEAKENS = frozenset(
    "slightly somewhat little less least almost nearly fairly partly mildly kinda "
    "sorta marginally occasionally sometimes".split()
)


class Views(NamedTuple):
    """The derived views of N sentences and their lengths."""

    affect: np.ndarray  # [N, La, 10] float32, zero padded.
    form: np.ndarray  # [N, Lf, 10] float32, zero padded.
    affect_lengths: np.ndarray  # [N] int32, at least 1.
    form_lengths: np.ndarray


def read_lexicon(path: pathlib.Path) -> dict[str, tuple[float, float]]:
    """Reads valences: lines of token, mean, deviation and ratings, between tabs.

    Returns:
      Mean and standard deviation of the ratings, -4..4, by token in lower case.

    Raises:
      UserError: There is no such file or it has other lines.
    """
    try:
        lines = path.read_text("utf-8", "replace").split("\n")
        rows = [line.split("\t") for line in lines if line.strip()]
        found = {row[0].lower(): (float(row[1]), float(row[2])) for row in rows}
        if any(not abs(x) <= _MOST for pair in found.values() for x in pair):
            raise ValueError("a number beyond the scale")
        return found
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, IndexError):
        raise errors.UserError(
            f"{path} has lines that are no token, mean and deviation (of at most "
            f"{_MOST:g}) between tabs{file_kind.clause(path)}."
        ) from None


def derive(
    texts: Sequence[str],
    lexicon: Mapping[str, tuple[float, float]],
    *,
    affect_length: int,
    form_length: int,
) -> Views:
    """Makes both views; longer sentences lose their end.

    Args:
      texts: N sentences.
      lexicon: Mean and deviation of the valence by token in lower case.
      affect_length: La, rows of `affect`.
      form_length: Lf, rows of `form`.
    """
    affect = np.zeros((len(texts), affect_length, len(AFFECT)), np.float32)
    form = np.zeros((len(texts), form_length, len(FORM)), np.float32)
    lengths = np.ones((2, len(texts)), np.int32)
    seen: dict[str, list[float]] = {}
    for i, text in enumerate(texts):
        tokens = split(text, lexicon)
        for j, (array, rows) in enumerate(
            ((affect, _affect(tokens, lexicon)), (form, _form(tokens, seen)))
        ):
            rows = rows[: array.shape[1]]
            if rows:  # An empty sentence is one frame of zeros.
                array[i, : len(rows)] = rows
                lengths[j, i] = len(rows)
    return Views(affect, form, lengths[0], lengths[1])


def split(text: str, lexicon: Mapping[str, tuple[float, float]]) -> list[str]:
    """Cuts a text into words and punctuation marks; emoticons of the lexicon stay whole."""
    tokens = []
    for chunk in text.split():
        emoticon = chunk.lower() in lexicon and not any(x.isalnum() for x in chunk[:1])
        tokens += [chunk] if emoticon else _TOKEN.findall(chunk)
    return tokens


def _is_mark(token: str, lexicon: Mapping[str, tuple[float, float]]) -> bool:
    """Whether a token is neither a word nor an emoticon."""
    return not token[0].isalnum() and token.lower() not in lexicon


def _affect(
    tokens: Sequence[str], lexicon: Mapping[str, tuple[float, float]]
) -> list[list[float]]:
    """Returns a row of `AFFECT` for each token that is no punctuation mark."""
    rows: list[list[float]] = []
    since_negation = _REACH
    for token in tokens:
        word = token.lower().replace("\u2019", "'")
        if _is_mark(token, lexicon):
            if rows and token == "!":
                rows[-1][AFFECT.index("exclamations")] += 1
            if rows and token == "?":
                rows[-1][AFFECT.index("questions")] += 1
            if token in ".,;:!?":
                since_negation = _REACH  # A negation ends with its clause.
            continue
        mean, deviation = lexicon.get(word, (0.0, 0.0))
        negation = word in _NEGATIONS or word.endswith("n't")
        rows.append(
            [
                mean / _GREATEST_VALENCE,
                deviation / _GREATEST_VALENCE,
                float(word in lexicon),
                float(len(token) > 1 and token.isupper()),
                float(negation),
                float(since_negation < _REACH),
                float(word in _STRENGTHENS),
                float(word in _WEAKENS),
                0.0,
                0.0,
            ]
        )
        since_negation = 0 if negation else since_negation + 1
    return rows


def _form(tokens: Sequence[str], seen: dict[str, list[float]]) -> list[list[float]]:
    """Returns a row of `FORM` for each token; `seen` keeps what words look like."""
    for token in tokens:
        if token not in seen:
            seen[token] = _shape(token)
    last = len(tokens) - 1
    return [
        [*seen[token], place / _SPAN, (last - place) / _SPAN]
        for place, token in enumerate(tokens)
    ]


def _shape(token: str) -> list[float]:
    """Returns what `FORM` says of a token wherever it stands."""
    count = len(token)
    return [
        count / _LONG,
        sum(x.islower() for x in token) / count,
        sum(x.isupper() for x in token) / count,
        sum(x.isdigit() for x in token) / count,
        sum(x in "aeiouyAEIOUY" for x in token) / count,
        sum(not x.isalnum() for x in token) / count,
        sum(not x.isascii() for x in token) / count,
        float(token[0].isupper()),
    ]
