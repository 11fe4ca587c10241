"""Foreign text as a person's terminal may have it.

Rules: what a fleet sent is text and nothing else: no markup in it is rendered, and what a terminal would obey
(escapes, backspaces) or what turns the direction of a line is written out; a URL is shown without its password.
"""

import re
from urllib.parse import urlsplit

from rich.text import Text

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""All control characters but tab and line feed, and those that turn the direction of what follows."""


def plain(text: str) -> str:
    """Return text with what a terminal would obey written out."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def cell(text: str | None) -> Text:
    """Return text to be printed, alone or in a table; no markup in it is rendered."""
    return Text(plain(text or ""))


def address(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
