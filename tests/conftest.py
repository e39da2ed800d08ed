"""Shapes and types are checked at run time in every test (jaxtyping + beartype)."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest-xdist already uses every core

from jaxtyping import install_import_hook

install_import_hook("attar", "beartype.beartype")

from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402

hypothesis.settings.register_profile("attar", deadline=None)  # no test is timed
hypothesis.settings.load_profile("attar")


def _assets() -> Path | None:
    named = os.environ.get("ATTAR_ASSETS")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "assets"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real images and weights; tests that need it are skipped where there is none."""
    folder = _assets()
    if folder is None:
        pytest.skip("no assets: set ATTAR_ASSETS to their folder")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTAR_CACHE", str(tmp_path_factory.mktemp("cache")))
