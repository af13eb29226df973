"""Show HRCA's messages where the user has not set up logging, and write numbers with their nouns."""

import logging
import sys


class LastResortHandler(logging.Handler):
    """Write messages to stderr as they are, unless the root logger has a handler, which then gets them.

    Python itself shows warnings only. As in scvi-tools and scanpy, a message of the level INFO reaches a user who has
    never heard of logging; ``logging.getLogger("hrca").setLevel("WARNING")`` hides it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        if not logging.getLogger().handlers:
            sys.stderr.write(f"{self.format(record)}\n")


def show_messages() -> None:
    """Show the messages of the logger ``hrca`` from the level INFO on, unless it has a level or a handler."""
    logger = logging.getLogger("hrca")
    if logger.level == logging.NOTSET and not logger.handlers:
        logger.setLevel(logging.INFO)
        logger.addHandler(LastResortHandler())


def counted(n: int, noun: str, verb: tuple[str, str] | None = None) -> str:
    """Return a number with its noun and verb, in the plural unless the number is 1.

    Parameters
    ----------
    n
        The number.
    noun
        The noun in the singular, with its adjectives; its plural ends in "s".
    verb
        The verb if `n` is 1, and for another `n`.

    Examples
    --------
    >>> [counted(n, "cell") for n in (0, 1, 5343)]
    ['0 cells', '1 cell', '5,343 cells']
    >>> counted(1, "feature", ("is", "are"))
    '1 feature is'
    """
    nouns = f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
    return nouns if verb is None else f"{nouns} {agreeing(n, *verb)}"


def agreeing(n: int, one: str, other: str) -> str:
    """Return the word that agrees with a number: `one` if it is 1, else `other`."""
    return one if n == 1 else other


def counted_among(n: int, n_all: int, noun: str, verb: tuple[str, str]) -> str:
    """Return how many of all things have or are something, such as "1 of 5,343 cells has".

    Parameters
    ----------
    n
        Number of things that have or are it.
    n_all
        Number of all things.
    noun
        Their noun in the singular, with its adjectives; its plural ends in "s".
    verb
        The verb if `n` is 1, and for another `n`.

    Examples
    --------
    >>> [counted_among(n, 5343, "cell", ("has", "have")) for n in (1, 20)]
    ['1 of 5,343 cells has', '20 of 5,343 cells have']
    >>> counted_among(1, 1, "cell", ("is", "are"))
    '1 of 1 cell is'
    """
    return f"{n:,} of {counted(n_all, noun)} {agreeing(n, *verb)}"
