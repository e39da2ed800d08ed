"""A run's figures and pictures for TensorBoard, while it runs: hang it in where a `progress` is taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, final

from attar.errors import SettingsError
from attar.files import safe_name
from attar.progress import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@final
class TensorBoard(Progress):
    """Writes under `folder`, for `tensorboard --logdir FOLDER`: a curve for each figure, pictures, plan and notes.

    Each task that has figures is a run of its own (`folder/distilling`), so that one that continues replaces what it
    takes again and leaves the others alone. Its files are TensorBoard's, which appends to them as it goes. Use it in a
    `with` block, or call `close`. Raises SettingsError where TensorBoard isn't installed.

    >>> with attar.TensorBoard("board") as board:                                      # doctest: +SKIP
    ...     attar.distill(flowers, vit, "flowers.attar", progress=board)
    """

    def __init__(self, folder: str | Path):
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise SettingsError(
                "TensorBoard isn't installed", "Install it: pip install 'attar[tensorboard]'."
            ) from error
        self._folder = Path(folder)
        self._writers: dict[str, SummaryWriter] = {}
        self._current, self._step = "", 0

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is still waiting."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def advance(self, task: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        if not figures:
            return
        self._current, self._step = safe_name(task), done
        writer = self._writer()
        for name, value in figures.items():
            writer.add_scalar(name, value, done)

    def picture(self, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB"))
        self._writer().add_image("picture", pixels, self._step, dataformats="HWC")

    def plan(self, text: str) -> None:
        self._text("plan", text)

    def note(self, text: str) -> None:
        self._text("note", text)

    def _text(self, name: str, text: str) -> None:
        lines = (f"    {line}" for line in text.splitlines())  # as code: text is Markdown there, and paths hold signs
        self._writer().add_text(name, "\n".join(lines), self._step)

    def _writer(self) -> SummaryWriter:
        """That of the current task; at its first step it lets TensorBoard forget what was written of later ones."""
        from torch.utils.tensorboard import SummaryWriter

        if self._current not in self._writers:
            step = self._step or None
            self._writers[self._current] = SummaryWriter(str(self._folder / self._current), purge_step=step)
        return self._writers[self._current]
