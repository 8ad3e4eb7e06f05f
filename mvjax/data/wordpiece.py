"""WordPiece, the tokenizer of BERT (Devlin et al., 2019), on a `vocab.txt`.

Cleans a text, splits it at blanks and around punctuation and Chinese characters, and
cuts each word into the longest pieces that the vocabulary has. Unlike in the tokenizers
of other libraries, the name of a special token in a text, "[SEP]", is ordinary text.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import unicodedata

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind

SPECIAL = ("[CLS]", "[SEP]", "[UNK]")
_LONGEST = 100  # Characters; a longer word is unknown as a whole.
_CONTINUES = "##"  # Begins a piece that is not the first of its word.
_CHINESE = (  # The blocks of ideographs, first and last code point.
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def _is_removed(character: str) -> bool:
    """Control, format and private characters, half of a pair, and the broken one."""
    if character in "\t\n\r":
        return False
    # Not Cn, unassigned: what is newer than Python's tables is a word that is unknown.
    category = unicodedata.category(character)
    return character == "\ufffd" or category in ("Cc", "Cf", "Cs", "Co")


def _is_chinese(character: str) -> bool:
    code = ord(character)
    return any(first <= code <= last for first, last in _CHINESE)


def _is_punctuation(character: str) -> bool:
    """Unicode's punctuation and all ASCII symbols, such as `$`, `^` and `~`."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character)[0] == "P"


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Turns texts into the ids of a vocabulary.

    Attributes:
      vocabulary: Id by piece; must have [CLS], [SEP] and [UNK].
      lower: Lower the case and take off accents, for uncased vocabularies.
    """

    vocabulary: Mapping[str, int]
    lower: bool = True

    def __post_init__(self):
        missing = [name for name in SPECIAL if name not in self.vocabulary]
        if missing:
            raise errors.UserError(f"The vocabulary lacks {', '.join(missing)}.")

    @classmethod
    def from_file(cls, path: str | os.PathLike, *, lower: bool = True) -> "Tokenizer":
        """Reads a `vocab.txt`: a piece in each line, whose id is the line's number.

        Raises:
          UserError: The file cannot be read or lacks a special token.
        """
        path = pathlib.Path(path)
        try:
            file_kind.refuse_special(path)
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
        except UnicodeDecodeError as error:
            kind = file_kind.clause(path)
            raise errors.UserError(
                f"{path} is no UTF-8 text ({error}){kind}."
            ) from None
        # Not `splitlines`: some pieces are characters that it takes for ends of lines.
        lines = text.removesuffix("\n").split("\n")
        try:
            return cls({piece: i for i, piece in enumerate(lines)}, lower)
        except errors.UserError as error:
            kind = file_kind.clause(path)
            raise errors.UserError(
                f"{path}: {str(error).removesuffix('.')}{kind}."
            ) from None

    def words(self, text: str) -> list[str]:
        """Cleans a text and splits it into words and single punctuation marks."""
        text = "".join(x for x in text if not _is_removed(x))
        if self.lower:
            parts = unicodedata.normalize("NFD", text)
            bare = (x for x in parts if unicodedata.category(x) != "Mn")
            # One by one: a whole string has another form of the last sigma of a word.
            text = "".join(x.lower() for x in bare)
        alone = (_is_punctuation(x) or _is_chinese(x) for x in text)
        return "".join(f" {x} " if a else x for x, a in zip(text, alone)).split()

    def pieces(self, text: str) -> list[str]:
        """Cuts a text into pieces of the vocabulary, without special tokens."""
        return [piece for word in self.words(text) for piece in self._cut(word)]

    def _cut(self, word: str) -> list[str]:
        """Takes the longest piece from the left again and again."""
        if len(word) > _LONGEST:
            return ["[UNK]"]
        pieces: list[str] = []
        start = 0
        while start < len(word):
            prefix = _CONTINUES if start else ""
            for end in range(len(word), start, -1):
                piece = prefix + word[start:end]
                if piece in self.vocabulary:
                    break
            else:  # One unknown part makes the whole word unknown.
                return ["[UNK]"]
            pieces.append(piece)
            start = end
        return pieces

    def encode(self, texts: Sequence[str], *, length: int) -> np.ndarray:
        """Turns texts into what BERT reads.

        Args:
          texts: N texts.
          length: Tokens of each, with [CLS] and [SEP]; longer texts lose their end.

        Returns:
          `[N, 3, length]` int32: ids, padded with [PAD] or else 0; the mask, 1 for
          tokens and 0 for padding; and the segments, all 0.
        """
        if isinstance(texts, str):
            raise errors.UserError("Tokenizer.encode takes a list of texts, not one.")
        if length < 2:
            raise errors.UserError(
                f"length must be at least 2, for [CLS] and [SEP], got {length}."
            )
        rows = np.zeros((len(texts), 3, length), np.int32)
        rows[:, 0] = self.vocabulary.get("[PAD]", 0)
        for row, text in zip(rows, texts):
            pieces = ["[CLS]", *self.pieces(text)[: length - 2], "[SEP]"]
            row[0, : len(pieces)] = [self.vocabulary[piece] for piece in pieces]
            row[1, : len(pieces)] = 1
        return rows
