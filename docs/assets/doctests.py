"""Examples in docstrings as code: Markdown would take `>>>` for a quotation in a quotation in a quotation."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(?:(?P<indent> *)>>>[^\n]*(?:\n(?! *\n)(?P=indent)[^\n]+)*(?:\n|$))+", re.MULTILINE)


class Doctests(griffe.Extension):
    """Fences the examples of every docstring, and leaves out the directives to the doctest runner."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """griffe calls this with everything that it has read."""
        if obj.docstring is not None and not obj.is_alias:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """`text` with its doctests in fences.

    >>> print(fenced("Adds.\\n\\n>>> 1 + 1\\n2\\n"))
    Adds.
    <BLANKLINE>
    ```python
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    """
    return _EXAMPLE.sub(lambda found: f"```python\n{_plain(found[0])}\n```\n", text)


def _plain(example: str) -> str:
    lines = [re.sub(r" +# doctest:.*$", "", line).rstrip() for line in example.rstrip().splitlines()]
    return "\n".join(lines)
