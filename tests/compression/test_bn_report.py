"""The report's figures are what other libraries make of the same statistics, and scale alone never wins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from attar.backbones.architectures import Classifier, make_classifier
from attar.backbones.squeezed import Squeezed, state_hash
from attar.compression import bn_items
from attar.compression.bn_items import ITEMS
from attar.compression.bn_report import Comparison, Report, bn_report
from attar.compression.first_loss import first_loss
from attar.compression.rescale import rescaled_like
from attar.errors import BackboneError
from attar.images import ArraySource
from attar.synthesis.draws import Stream, generator
from small import squeeze_record

ABOUT = {"architecture": "tiny", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def squeezed(name: str, network: Classifier, **about) -> Squeezed:
    record = squeeze_record(**(ABOUT | about))
    return Squeezed(name, network.eval().requires_grad_(False), record, frozenset())


def trained(network: Classifier, seed: int) -> Classifier:
    """With statistics as training leaves them: drawn, of every layer on another scale."""
    random = torch.Generator().manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            scale = float(torch.rand(1, generator=random)) * 5
            part.running_mean.normal_(generator=random).mul_(scale)
            part.running_var.uniform_(0.1, 3, generator=random).mul_(scale**2)
            part.weight.data.uniform_(0.5, 1.5, generator=random)
            part.num_batches_tracked.fill_(1)
    return network


def tiny(seed: int, *, name: str = "tiny", channels: int = 11) -> Squeezed:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        convolution, second = nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 7, 3, bias=False)
        layers = (convolution, nn.BatchNorm2d(channels), nn.ReLU(), second, nn.BatchNorm2d(7))
        body = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return squeezed(name, trained(Classifier(body, 7, 3), seed).double())


def scaled(network: Squeezed, factor: float) -> Squeezed:
    """The first convolution multiplied, which its BatchNorm layer, without epsilon, divides out."""
    copied = network.to()
    convolution, norm = copied.network.body[0], copied.network.body[1]
    convolution.weight.data *= factor
    convolution.bias.data *= factor
    norm.running_mean *= factor
    norm.running_var *= factor**2
    return copied


def test_scale_changes_spread_and_entropy_and_leaves_logits_and_scale_free_figures():
    network = tiny(3)
    network.network.body[1].eps = 0.0
    larger = scaled(network, 10)
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    assert torch.allclose(larger.logits(images), network.logits(images), rtol=1e-12, atol=1e-12)
    report = bn_report(larger, network)

    def both(name: str) -> tuple[float, float]:
        return report[name].first[0], report[name].second[0]

    assert both("spread_var")[0] == pytest.approx(1e4 * both("spread_var")[1], rel=1e-12)
    assert both("entropy_var")[0] - both("entropy_var")[1] == pytest.approx(4.605, abs=2e-4)
    for name in ("scale_free_mean", "scale_free_var"):
        assert both(name)[0] == pytest.approx(both(name)[1], abs=1e-12)
    assert "more informative by both" not in report.verdict


def test_every_figure_is_what_numpy_and_scipy_make_of_it():
    first, second = tiny(0), tiny(1)
    report = bn_report(first, second)
    for place, norm in enumerate((1, 4)):
        known = [each.network.body[norm] for each in (first, second)]
        means = [norm.running_mean.numpy() for norm in known]
        variances = [norm.running_var.numpy() for norm in known]
        for name, values in (("mean", means), ("var", variances)):
            ends = np.min(np.concatenate(values)), np.max(np.concatenate(values))
            for side, value in zip(("first", "second"), values, strict=True):
                gaussian = stats.norm(scale=np.std(value)).entropy()
                assert getattr(report[f"spread_{name}"], side)[place] == pytest.approx(np.var(value), rel=1e-12)
                counts, _ = np.histogram(value, bins=256, range=ends)
                assert getattr(report[f"entropy_{name}"], side)[place] == pytest.approx(gaussian, rel=1e-12)
                assert getattr(report[f"plug_in_{name}"], side)[place] == pytest.approx(stats.entropy(counts))
        for side, mean, var in zip(("first", "second"), means, variances, strict=True):
            assert getattr(report["scale_free_mean"], side)[place] == pytest.approx(np.var(mean / np.sqrt(var)))
            assert getattr(report["scale_free_var"], side)[place] == pytest.approx(np.var(np.log(var)))


def test_r_and_its_gradient_are_those_of_noise_drawn_by_name():
    network = tiny(5)
    convolution, norm = network.network.body[0], network.network.body[1]
    found = first_loss(network)
    for seed in (0, 7):
        draws = (generator(seed, Stream.CANVAS, step=8, image=image) for image in range(16))
        images = torch.from_numpy(np.stack([draw.standard_normal((3, 8, 8)) for draw in draws])).requires_grad_()
        entered = F.conv2d(images, convolution.weight, convolution.bias)
        after = F.relu(F.batch_norm(entered, norm.running_mean, norm.running_var, norm.weight, norm.bias))
        second, last = network.network.body[3], network.network.body[4]
        terms = []
        for inputs, layer in ((entered, norm), (F.conv2d(after, second.weight), last)):
            gap = inputs.mean((0, 2, 3)) - layer.running_mean
            spread = inputs.var((0, 2, 3), unbiased=False) - layer.running_var
            terms.append(gap.square().sum().sqrt() + spread.square().sum().sqrt())
        sum(terms).backward()
        assert found.gradients[seed] == pytest.approx(float(images.grad.norm()), rel=1e-9)
        for gaps, term in zip(found.layers, terms, strict=True):
            r = math.sqrt(gaps.mean[seed].sum()) + math.sqrt(gaps.var[seed].sum())
            assert r == pytest.approx(term.item(), rel=1e-9)
    mean_of_seeds = np.mean([np.sqrt(found.layers[0].mean.sum(1)) + np.sqrt(found.layers[0].var.sum(1))])
    assert bn_report(network, tiny(6))["mismatch"].first[0] == pytest.approx(mean_of_seeds)


def test_with_images_the_statistics_are_theirs_over_all_of_them_at_once(monkeypatch):
    monkeypatch.setattr(bn_items, "_AT_ONCE", 3)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    network = tiny(2).to(dtype=torch.float32)
    source = ArraySource(pixels, np.arange(7) % 3, ("ant", "bee", "cow"))
    report = bn_report(network, tiny(1).to(dtype=torch.float32), source)
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - torch.tensor(ABOUT["mean"]).view(3, 1, 1)) / (
        torch.tensor(ABOUT["std"]).view(3, 1, 1)
    )
    entered = network.network.body[0](images).double()
    mean, var = entered.mean((0, 2, 3)).numpy(), entered.var((0, 2, 3), unbiased=False).numpy()
    assert report["spread_mean"].first[0] == pytest.approx(np.var(mean), rel=1e-5)
    assert report["spread_var"].first[0] == pytest.approx(np.var(var), rel=1e-5)


def test_the_interval_is_as_wide_as_theory_has_it():
    first, second = tiny(0, channels=401), tiny(1, channels=401)
    for each in (first, second):
        each.network.body[4].running_mean.zero_()  # the other layer adds nothing
    found = bn_report(first, second)["spread_mean"]
    assert found.interval[0] < found.difference < found.interval[1]
    error = 0.0
    for each in (first, second):
        values = each.network.body[1].running_mean.numpy()
        error += (stats.moment(values, 4) - np.var(values) ** 2) / len(values)  # of a sample's variance, squared
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * 1.96 * math.sqrt(error), rel=0.15)


def test_a_network_against_itself_is_a_tie():
    report = bn_report(tiny(4, name="a"), tiny(4, name="b"))
    for found in report.comparisons:
        assert found.difference == 0 and found.interval[0] <= 0 <= found.interval[1]
        assert (found.higher, found.lower, found.p, found.winner) == (0, 0, 1.0, None)


def compared(name: str, higher: int, lower: int) -> Comparison:
    item = next(item for item in ITEMS if item.name == name)
    return Comparison(item, np.array([1.0] * higher + [0.0] * lower), np.full(higher + lower, 0.5), (0.0, 1.0))


def told(*higher: int) -> str:
    """The verdict on six layers, for entropies of means and variances and scale-free figures of both."""
    names = ("entropy_mean", "entropy_var", "scale_free_mean", "scale_free_var")
    comparisons = tuple(compared(name, count, 6 - count) for name, count in zip(names, higher, strict=True))
    seeds = np.zeros(8)
    return Report(("ssl", "sup"), ("a",) * 6, (5,) * 6, comparisons, (seeds, seeds), ()).verdict


def test_more_informative_is_claimed_only_where_the_scale_free_figures_agree():
    assert told(6, 6, 6, 6).endswith("ssl is more informative by both.")
    assert told(0, 0, 0, 0).endswith("sup is more informative by both.")
    for counts in ((6, 6, 6, 0), (6, 6, 0, 0), (3, 6, 6, 6), (3, 3, 3, 3)):
        assert told(*counts).endswith("neither network is shown to be more informative.")
    for counts in ((6, 6, 6, 5), (5, 6, 6, 6), (0, 0, 0, 1)):  # 5 of 6: p = .22
        assert told(*counts).endswith("too few layers to tell them from chance.")
    assert told(6, 5, 0, 1).startswith(
        "ssl has higher entropy than sup on 6 of 6 layers in the means (p = 0.031) and 5 of 6 in the variances "
        "(p = 0.22); scale-free: more spread on 0 of 6 layers in the means (p = 0.031) and 1 of 6"
    )


def test_dead_channels_are_told_and_left_out_of_the_scale_free_figures():
    network = tiny(0)
    var = network.network.body[1].running_var
    var[5] = 0
    report = bn_report(network, tiny(1, name="other"))
    alive = np.delete(var.numpy(), 5)
    assert report["scale_free_var"].first[0] == pytest.approx(np.var(np.log(alive)))
    assert report.notes == ("The scale-free figures leave out channels of tiny that never vary: 1.",)


@pytest.mark.parametrize("architecture", ["convnet3", "cifar_resnet20", "resnetap10"])
def test_rescaled_the_function_is_the_same_and_the_scales_are_the_others(architecture):
    side = 32 if architecture == "resnetap10" else 8
    about = {"architecture": architecture, "side": side}
    one, other = (
        squeezed(str(seed), trained(make_classifier(architecture, 3, side=side, seed=seed), seed).double(), **about)
        for seed in (1, 2)
    )
    for part in one.network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var *= 1e-4  # so small that epsilon counts
    before = state_hash(one.network)
    made = rescaled_like(one, other)
    assert state_hash(one.network) == before != state_hash(made.network)
    assert made.record.settings["rescaled_like"] == other.fingerprint
    images = torch.rand(2, 3, side, side, dtype=torch.float64)
    assert torch.allclose(made.logits(images), one.logits(images), rtol=1e-9, atol=1e-12)
    for (name, mine), theirs in zip(made.network.named_modules(), other.network.modules(), strict=True):
        if isinstance(mine, nn.BatchNorm2d):
            assert float(mine.running_var.mean()) == pytest.approx(float(theirs.running_var.mean())), name


def test_other_architectures_and_sides_are_refused_in_one_sentence():
    for about in ({"architecture": "convnet3"}, {"side": 9}, {"stem": "small"}):
        other = squeezed("other", tiny(0).network, **about)
        with pytest.raises(BackboneError, match="for 8 pixels has others than"):
            bn_report(tiny(0), other)
        with pytest.raises(BackboneError, match="compared one by one"):
            rescaled_like(other, tiny(0))


@pytest.mark.parametrize("order", ["before the convolution", "behind a squashing"])
def test_a_layer_without_a_convolution_of_its_own_is_not_rescaled(order):
    norm = nn.BatchNorm2d(3)
    layers = (norm, nn.Conv2d(3, 3, 3)) if order.startswith("before") else (nn.Conv2d(3, 3, 3), nn.Tanh(), norm)
    network = squeezed(
        "odd", trained(Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 3, 3), 1)
    )
    with pytest.raises(BackboneError, match="can't be rescaled"):
        rescaled_like(network, squeezed("other", trained(network.to().network, 2)))
