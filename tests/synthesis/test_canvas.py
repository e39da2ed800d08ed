import pytest
import torch
import torch.nn.functional as F

from attar.synthesis.canvas import Pixels, Pyramid, make_canvas

ALL = torch.arange(3)


def grown(side: int, steps: int = 100, **options) -> Pyramid:
    canvas = Pyramid(3, side, seed=0, grow_every=2, dtype=torch.float64, **options)
    for step in range(steps):
        canvas.grow(step)
    return canvas


def test_an_image_is_the_squashed_sum_of_enlarged_levels():
    """Against torch's own interpolation and the published colour map, level by level."""
    canvas = grown(29)
    total = sum(
        F.interpolate(level.detach(), 29, mode="bilinear", align_corners=False)
        for level in canvas.parameters().values()
    )
    rows = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], dtype=torch.float64)
    colour = rows / rows.norm(dim=0).max()
    expected = torch.sigmoid(2 * torch.einsum("dc,kchw->kdhw", colour, total))
    torch.testing.assert_close(canvas.images(ALL).detach(), expected, rtol=0, atol=1e-6)


def test_levels_are_added_at_the_published_steps():
    canvas = Pyramid(1, 256, seed=0)
    steps = [step for step in range(5001) if canvas.grow(step)]
    assert steps == [201, 401, 601, 801, 1001, 1201, 1401, 1601]
    assert sum(level[0].numel() for level in canvas.parameters().values()) == 262_143


def test_growth_rescales_the_old_levels():
    canvas = Pyramid(3, 8, seed=0, grow_every=1)
    before = canvas.parameters()["level_001"].detach().clone()
    canvas.grow(2)
    torch.testing.assert_close(canvas.parameters()["level_001"].detach(), before / 2)
    assert float(canvas.parameters()["level_002"].detach().std()) == pytest.approx(0.5, abs=0.2)


def test_a_canvas_of_zeros_is_grey():
    canvas = Pyramid(3, 8, seed=0)
    canvas.load_state_dict({"level_001": torch.zeros(3, 3, 1, 1)})
    assert torch.equal(canvas.images(ALL), torch.full((3, 3, 8, 8), 0.5))


def test_images_do_not_depend_on_the_company():
    """An image starts from the same noise whatever the number of images, and decodes the same in any chunk."""
    many, few = grown(16), Pyramid(2, 16, seed=0, grow_every=2, dtype=torch.float64)
    for step in range(100):
        few.grow(step)
    torch.testing.assert_close(few.images(torch.tensor([1])), many.images(ALL)[1:2])


@pytest.mark.parametrize("kind", ["pyramid", "pixels"])
def test_gradients_land_in_the_rows_asked_for(kind: str):
    canvas = make_canvas(kind, 3, 8, grow_every=1, seed=0, dtype=torch.float64)
    canvas.grow(2)
    weights = torch.rand(3, 3, 8, 8, dtype=torch.float64)
    for ids in (torch.tensor([2]), torch.tensor([0, 1])):
        (canvas.images(ids) * weights[ids]).sum().backward()
    chunked = {name: value.grad.clone() for name, value in canvas.parameters().items()}
    for value in canvas.parameters().values():
        value.grad = None
    (canvas.images(ALL) * weights).sum().backward()
    for name, value in canvas.parameters().items():
        torch.testing.assert_close(chunked[name], value.grad, rtol=1e-13, atol=1e-15)


def test_the_gradient_is_right_by_finite_differences():
    canvas = grown(5, start=2)
    level = canvas.parameters()["level_002"]
    canvas.images(ALL)[:, 1].sum().backward()
    exact = float(level.grad[1, 0, 0, 1])
    step = 1e-6
    with torch.no_grad():
        level[1, 0, 0, 1] += step
        up = canvas.images(ALL)[:, 1].sum()
        level[1, 0, 0, 1] -= 2 * step
        down = canvas.images(ALL)[:, 1].sum()
    assert float(up - down) / (2 * step) == pytest.approx(exact, rel=1e-6)


def test_grey_images_have_three_equal_channels():
    images = grown(8, grey=True).images(ALL)
    assert torch.equal(images[:, 0], images[:, 2])
    assert float(images.detach().std()) > 0


def test_the_state_can_be_put_back():
    canvas, other = grown(16), Pyramid(3, 16, seed=9, grow_every=2, dtype=torch.float64)
    other.load_state_dict(canvas.state_dict())
    assert torch.equal(other.images(ALL), canvas.images(ALL))
    pixels, fresh = Pixels(3, 7, seed=0), Pixels(3, 7, seed=1)
    assert not torch.equal(fresh.images(ALL), pixels.images(ALL))
    fresh.load_state_dict(pixels.state_dict())
    assert torch.equal(fresh.images(ALL), pixels.images(ALL))
