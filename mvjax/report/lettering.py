"""Names from outside as pictures can show them: letter by letter, and none too long."""

from collections.abc import Iterable, Iterator
import contextlib
import functools

WIDEST = 0.62  # Mean width of the letters of a wide name, of the font's size.


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Matplotlib's own settings while the block runs, whatever a user's file says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def plain(text: str, most: int = 40) -> str:
    r"""A name for matplotlib, in which nothing is markup.

    What its font lacks or nobody can see becomes an escape such as `\u4e2d`.

    Args:
      text: Anything.
      most: Letters that there is room for; of a longer name the middle is left out.
    """
    font = _letters()
    shown = "".join(
        letter
        if ord(letter) in font and letter.isprintable()
        else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )
    if len(shown) > most:
        end = (most - 1) // 2
        shown = f"{shown[: most - 1 - end]}…{shown[-end:]}"
    return shown.replace("$", r"\$")  # A pair of them would be a formula.


def width(names: Iterable[str], points: float, most: float) -> float:
    """Inches that the longest of some names needs beside an axis, at most `most`."""
    longest = max(map(len, names), default=0)
    return min(most, 0.15 + longest * points * WIDEST / 72)


@functools.cache
def _letters() -> frozenset[int]:
    """Code points that the font of the pictures has."""
    from matplotlib import font_manager

    file = font_manager.findfont("DejaVu Sans")  # It comes with matplotlib.
    return frozenset(font_manager.get_font(file).get_charmap())
