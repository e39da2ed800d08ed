"""Normalised cross-correlation of small pictures with all windows of larger ones, by Fourier transforms."""

from __future__ import annotations

import torch
from jaxtyping import Complex64, Float
from torch import Tensor

# A picture or window with a smaller deviation is flat: what varies in it is noise and rounding, which match anything.
FLAT = 4 / 255


def standardised(pictures: Float[Tensor, "n side side"]) -> Float[Tensor, "n side side"]:
    """Pictures with mean 0 and length 1; flat ones stay shorter than 1."""
    centred = pictures - pictures.mean((1, 2), keepdim=True)
    length = centred.norm(dim=(1, 2), keepdim=True)
    return centred / length.clamp(min=FLAT * pictures.shape[-1])


def template_spectra(templates: Float[Tensor, "n side side"], size: int) -> Complex64[Tensor, "n {size} half"]:
    """What `correlate` wants of standardised templates that are looked for in images of `size` pixels."""
    return torch.fft.rfft2(templates, s=(size, size)).conj()


def window_scale(images: Float[Tensor, "n size size"], side: int) -> Float[Tensor, "n places places"]:
    """1 / the length of every window of `side` pixels about its mean, as `standardised` has it for whole pictures."""
    exact = images.double().cpu()  # differences of sums over the whole image; not every device has float64
    mean, square = (_window_sums(values, side) / side**2 for values in (exact, exact.square()))
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return (1 / (side * deviation.clamp(min=FLAT))).float().to(images.device)


def correlate(
    images: Complex64[Tensor, "... size half"],
    templates: Complex64[Tensor, "... size half"],
    scale: Float[Tensor, "... places places"],
) -> Float[Tensor, "... positions"]:
    """Correlations in -1..1 of templates with the windows at all positions (row by row), from `rfft2` of the images.

    Images, templates and scales pair up by broadcasting. The product of spectra is a circular correlation; positions at
    which a template fits into the image don't wrap.
    """
    size, places = images.shape[-2], scale.shape[-1]
    columns = torch.fft.ifft(images * templates, dim=-2)[..., :places, :]
    found = torch.fft.irfft(columns, n=size, dim=-1)[..., :places]
    return (found * scale).flatten(-2)


def _window_sums(values: Float[Tensor, "n size size"], side: int) -> Float[Tensor, "n places places"]:
    total = torch.nn.functional.pad(values.cumsum(1).cumsum(2), (1, 0, 1, 0))
    return total[:, side:, side:] - total[:, :-side, side:] - total[:, side:, :-side] + total[:, :-side, :-side]
