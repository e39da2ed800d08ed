"""Every error that is raised on purpose reads as the table of errors.py promises: one sentence, and what to do now."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from attar import errors

SOURCE = Path(errors.__file__).parent
FAMILY = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.AttarError)}


@dataclass(frozen=True)
class Raised:
    """One error as its source says it: what is filled in at run time stands between braces."""

    place: str
    messages: tuple[str, ...]
    hints: tuple[str, ...] | None
    """None where no hint is given."""

    @property
    def file(self) -> str:
        return self.place.partition(":")[0]


def raised(code: str, file: str) -> list[Raised]:
    """The errors of attar's family that a file makes."""
    tree = ast.parse(code)
    known = assigned(tree)
    found = []
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)] or [tree]:
        names = known | assigned(function)
        for call in own_calls(function):
            message, hint = call.args[0], call.args[1] if len(call.args) > 1 else None
            texts = None if hint is None else tuple(spoken(hint, names))
            found.append(Raised(f"{file}:{call.lineno}", tuple(spoken(message, names)), texts))
    return found


def own_calls(function: ast.AST) -> Iterator[ast.Call]:
    """What a function calls of the family, those of functions inside of it left to them."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FAMILY:
            yield node
        yield from own_calls(node)


def assigned(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """Names and all that is assigned to them."""
    names: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    names.setdefault(target.id, []).append(node.value)
    return names


def spoken(node: ast.expr, names: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The texts that an expression may stand for."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else ast.unparse(part) for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from spoken(node.body, names)
        yield from spoken(node.orelse, names)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from spoken(value, names)
    elif isinstance(node, ast.Name) and node.id in names:
        for value in names.pop(node.id):  # popped: a name may be made of itself
            yield from spoken(value, dict(names))
    else:
        yield f"{{{ast.unparse(node)}}}"


ALL = [
    each
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name != "errors.py"
    for each in raised(path.read_text(), path.relative_to(SOURCE).as_posix())
]

TOLD_ABOVE = "what catches it names the file and adds the hint"
WITHOUT_HINT = {
    "images/decode.py": TOLD_ABOVE,
    "images/torchset.py": TOLD_ABOVE,
    "images/hub.py": TOLD_ABOVE,
    "images/shards.py": TOLD_ABOVE,
    "diffusion/edits/llm.py": "the sentence itself says which option to give",
}


def test_all_errors_of_the_source_are_read():
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py") if path.name != "errors.py")
    names = "|".join(sorted(FAMILY))
    assert len(ALL) == len(re.findall(rf"(?<![\w.])(?:{names})\(", text)) > 400


def test_an_error_says_what_to_do():
    lacking = [each.place for each in ALL if each.hints is None and each.file not in WITHOUT_HINT]
    assert lacking == []


def test_nothing_is_excused_that_has_a_hint():
    assert {each.file for each in ALL if each.hints is None} >= WITHOUT_HINT.keys()


def faults(text: str) -> list[str]:
    """What is wrong with a message by the rules of errors.py."""
    found = []
    if re.match(r"(error|invalid)\b", text, re.IGNORECASE):
        found.append("begins with Error or Invalid, which say nothing")
    is_sentence = text.endswith((".", "!")) and not text.startswith("{")
    if is_sentence and not text.startswith(('"', "'")):
        found.append("ends in a stop, and doesn't begin with a path or a name")
    return found


def test_messages_compose():
    wrong = [f"{each.place}: {fault}: {text}" for each in ALL for text in each.messages for fault in faults(text)]
    assert wrong == [], "\n".join(wrong)


def test_hints_are_words_to_act_upon():
    hints = [(each.place, text) for each in ALL for text in each.hints or ()]
    wrong = [f"{place}: {text}" for place, text in hints if not re.match(r"[\w{'\"-]", text) or text.endswith("..")]
    wrong += [f"{place}: {text}" for place, text in hints if len(text.split()) < 2 and "{" not in text]
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("raise AttarError('a')", ("a",), None),
        ("def f():\n  m = f'{x} is bad.'\n  raise SettingsError(m, 'b' if c else d)", ("{x} is bad.",), ("b", "{d}")),
    ],
)
def test_the_reader_of_the_source_sees_texts_through_names(code, message, hint):
    (found,) = raised(code, "x.py")
    assert (found.messages, found.hints) == (message, hint)


@pytest.mark.parametrize("text", ["Invalid size", "There is no x."])
def test_faults_are_seen(text):
    assert len(faults(text)) == 1
