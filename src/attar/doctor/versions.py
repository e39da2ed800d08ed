"""Versions of installed packages, and whether they are what others require."""

from __future__ import annotations

import operator
import re
from importlib import metadata

_PIN = re.compile(r"(==|!=|>=|<=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?")
_COMPARE = {"==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le, ">": operator.gt,
            "<": operator.lt}  # fmt: skip


def installed(name: str) -> str | None:
    """The version of the package that PyPI calls `name`; None where it isn't installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def name_of(requirement: str) -> str:
    """The package that a requirement is about.

    >>> name_of("torch (>=2.6)"), name_of("scikit-learn>=1.4")
    ('torch', 'scikit-learn')
    """
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def fulfils(version: str, requirement: str) -> bool:
    """Whether a release is within a requirement's bounds; what follows the numbers ("+cpu", "rc1") doesn't count.

    >>> fulfils("2.13.0+cpu", "torch (>=2.14.0)"), fulfils("2.6.0+cu124", "torch==2.6.0")
    (False, True)
    """
    have = _numbers(version)
    for sign, number, any_end in _PIN.findall(requirement):
        wanted = _numbers(number)
        length = len(wanted) if any_end else max(len(have), len(wanted))
        if not _COMPARE[sign](_padded(have, length), _padded(wanted, length)):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release[0].split(".")) if release else ()


def _padded(numbers: tuple[int, ...], length: int) -> tuple[int, ...]:
    return (numbers + (0,) * length)[:length]
