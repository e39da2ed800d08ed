"""No file that attar reads can run code: what could run it isn't in the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import attar

# Modules that run code of what they read, or hide such a call.
MODULES = {"cloudpickle", "dill", "jsonpickle", "marshal", "pickle", "shelve", "webdataset", "yaml"}
HARMLESS = {"pickle.UnpicklingError"}
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"extractall", "extract", "unpack_archive", "read_pickle", "system", "popen"}
ARGUMENTS = {("allow_pickle", True), ("weights_only", False), ("shell", True), ("trust_remote_code", True)}


def dangers(code: str) -> list[str]:
    """What in `code` could run code of a file, with its line."""
    tree = ast.parse(code)
    return sorted(f"line {node.lineno}: {what}" for node in ast.walk(tree) for what in _dangers(node))


def _dangers(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):  # the module's own name, so that its uses can be told
            yield from (name.name for name in names if _top(name.name) in MODULES - {"pickle"} or _renamed(name))
        case ast.ImportFrom(module=str(module), names=names):
            found = (f"{module}.{name.name}" for name in names)
            yield from (name for name in found if _top(module) in MODULES and name not in HARMLESS)
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in MODULES:
            yield from {f"{module}.{name}"} - HARMLESS
        case ast.Call(func=function, keywords=keywords):
            yield from _dangerous_call(ast.unparse(function), function, keywords)


def _dangerous_call(text: str, function: ast.expr, keywords: list[ast.keyword]) -> Iterator[str]:
    given = {each.arg: each.value.value for each in keywords if isinstance(each.value, ast.Constant)}
    if isinstance(function, ast.Name) and text in NAMES:
        yield text
    if isinstance(function, ast.Attribute) and function.attr in ATTRIBUTES:
        yield text
    if text == "torch.load" and given.get("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if text in {"np.load", "numpy.load"} and given.get("allow_pickle") is not False:
        yield "np.load without allow_pickle=False"
    yield from (f"{name}={value}" for name, value in given.items() if (name, value) in ARGUMENTS)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _renamed(name: ast.alias) -> bool:
    return name.name == "pickle" and name.asname is not None


def files() -> dict[str, Path]:
    folder = Path(attar.__file__).parent
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*.py"))}


@pytest.mark.parametrize("name", files())
def test_nothing_in_the_package_can_run_code_of_a_file(name: str):
    assert dangers(files()[name].read_text()) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.load(file)",
        "import pickle\nload = pickle.loads",
        "import pickle as p",
        "from pickle import loads",
        "import yaml",
        "from yaml import safe_load",
        "import webdataset.tariterators",
        "import marshal",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=trusted)",
        "np.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "pandas.read_pickle(path)",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "archive.extractall(folder)",
        "tarfile.open(path).extract(member)",
        "shutil.unpack_archive(path)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "load_dataset(name, trust_remote_code=True)",
    ],
)
def test_what_could_run_code_is_found(code: str):
    assert dangers(code)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\ntry:\n    pass\nexcept pickle.UnpicklingError:\n    pass",
        "torch.load(path, map_location='cpu', weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "module.eval()",
        "extract(source, backbone)",
        "subprocess.run(['git', 'log'])",
        "re.compile(text)",
        "torch.compile(module)",
    ],
)
def test_what_can_not_is_left_alone(code: str):
    assert dangers(code) == []
