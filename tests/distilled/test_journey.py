"""Frames of a run come back as they were, but for JPEG's losses."""

from __future__ import annotations

import numpy as np
import pytest

from attar.distilled.journey import read_journey, write_frame


def _smooth(count: int, side: int) -> np.ndarray:
    """Images of one colour each, with a ramp: what JPEG keeps well."""
    colours = np.random.default_rng(count).integers(40, 200, (count, 3, 1, 1))
    ramp = np.linspace(0, 40, side)
    return (colours + ramp).round().astype(np.uint8) * np.ones((1, 1, side, 1), dtype=np.uint8)


@pytest.mark.parametrize(("count", "side"), [(1, 1), (3, 7), (26, 28), (53, 64)])
def test_every_image_comes_back_in_its_place(tmp_path, count: int, side: int):
    images = _smooth(count, side)
    write_frame(tmp_path, 200, images)
    (frame,) = read_journey(tmp_path)
    assert frame.step == 200 and frame.images.shape == images.shape
    assert np.abs(frame.images.astype(int) - images).max() <= 4


def test_frames_are_in_the_order_of_their_steps_and_a_step_taken_again_replaces_its_frame(tmp_path):
    for step, value in ((2_000_000, 30), (30, 20), (4, 10), (30, 90)):
        write_frame(tmp_path, step, np.full((2, 3, 8, 8), value, dtype=np.uint8))
    frames = read_journey(tmp_path)
    assert [frame.step for frame in frames] == [4, 30, 2_000_000]
    assert [int(frame.images.mean().round()) for frame in frames] == [10, 90, 30]


def test_what_is_no_frame_is_left_out(tmp_path):
    whole = write_frame(tmp_path, 1, np.zeros((2, 3, 8, 8), dtype=np.uint8))
    (tmp_path / "000002-2x8.jpg").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "000003-9x8.jpg").write_bytes(whole.read_bytes())
    (tmp_path / "000004-0x8.jpg").write_bytes(whole.read_bytes())
    (tmp_path / "notes.jpg").write_bytes(whole.read_bytes())
    assert [frame.step for frame in read_journey(tmp_path)] == [1]
    assert read_journey(tmp_path / "nothing") == ()


def test_frames_stay_small(tmp_path):
    with pytest.raises(ValueError, match="more than a frame holds"):
        write_frame(tmp_path, 1, np.zeros((1001, 3, 8, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match="more than a frame holds"):
        write_frame(tmp_path, 1, np.zeros((1, 3, 65, 65), dtype=np.uint8))
