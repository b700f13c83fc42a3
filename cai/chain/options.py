"""Options of the commands of a chain, which a user gives as one text each."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from cai.errors import UsageError
from cai.options import flag


def option_words(name: str, text: str, taken: Collection[str], taken_by: str) -> list[str]:
    """The words of the text of a setting.

    taken: options that it may not have, and taken_by: who sets them. Raises `UsageError` for one of
    them, and for a quote that is not closed.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{flag(name)} can't be read: {error}") from None
    for word in words:
        if word.partition("=")[0] in taken:
            raise UsageError(f"{flag(name)} may not have {word}: {taken_by}")
    return words
