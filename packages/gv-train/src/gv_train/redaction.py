"""Take secrets out of what is written down: command lines, addresses, configurations.

The name of a secret stays readable, its value becomes ``***``.
"""

import re
from collections.abc import Sequence

_NAME = (
    r"[\w.-]*(?:token|password|passwd|secret|api[_-]?key|access[_-]?key|secret[_-]?key|signature)"
    r"(?![A-Za-z])"  # neither max_tokens nor tokenizer is a secret
)
_SECRET_NAME = re.compile(rf"-*{_NAME}", re.IGNORECASE)
# Names and schemes are looked for where words begin: in a long word each letter might begin one.
_ASSIGNED = re.compile(rf"((?<![\w.-]){_NAME}\s*[=:]\s*)[^\s&;,]+", re.IGNORECASE)
_BEARER = re.compile(r"((?:bearer|basic)\s+)[\w.~+/=-]+", re.IGNORECASE)
_USER_INFO = re.compile(r"(\b\w+:/{1,2})[^/\s@]+@")  # a Path of a URL has one slash
_HINTS = ("token", "passw", "secret", "key", "signature", "bearer", "basic", "@")
"""Each secret that the patterns find has one of them before it."""


def names_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret.

    Args:
        name: A key of a configuration or an option such as ``--s3-secret-key``.
    """
    return _SECRET_NAME.fullmatch(name) is not None


def redact(text: str) -> str:
    """Hide the secrets that stand in a text.

    Args:
        text: Anything that goes into a file or onto a screen.

    Returns:
        The text with ``***`` for values after ``token=`` and its like, for credentials of a request
        and for the user part of an address.

    Examples:
        >>> redact("https://ann:pw@maps.org/x.tif?token=abc&zoom=3")
        'https://***@maps.org/x.tif?token=***&zoom=3'
    """
    folded = text.casefold()
    if not any(hint in folded for hint in _HINTS):  # most text, and the patterns are slow
        return text
    text = _USER_INFO.sub(r"\1***@", text)
    text = _BEARER.sub(r"\1***", text)
    return _ASSIGNED.sub(r"\1***", text)


def redact_arguments(argv: Sequence[str]) -> list[str]:
    """Hide the secrets of a command line, also where the value is an argument of its own.

    Args:
        argv: Program and arguments.

    Returns:
        A copy that is safe to keep.

    Examples:
        >>> redact_arguments(["train", "--hub-token", "abc", "--minutes", "3"])
        ['train', '--hub-token', '***', '--minutes', '3']
    """
    safe: list[str] = []
    hide_next = False
    for argument in argv:
        is_option = argument.startswith("--")
        safe.append("***" if hide_next and not is_option else redact(argument))
        hide_next = is_option and names_secret(argument)
    return safe
