"""P5, P6 and P7: attar's steps beside linear gradient matching as its authors run it; and a race of all methods.

    python benchmarks/rivals.py --part cost              # ViT-S/16, 224 px, 10 images, fp32, random weights: 12 GB
    python benchmarks/rivals.py --part race              # CIFAR-10 of the assets, see race.py

`cost`: all sides take turns in one process, on the same network and fully grown pyramids of the same size; ratios are
of the medians, minima stand beside them. "Saved" are the different storages that autograd keeps for backward in one
step, weights and canvas left out. The rival's real images are JPEGs of 500 x 375, decoded in the same process. Times of
whole runs (P6) are computed: measured steps times their number, and for ours the pass over the real images.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import attar
from attar.devices import free_bytes
from attar.features import Features, RealFeatures
from attar.synthesis.canvas import Pyramid
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.memory import peak_bytes
from attar.synthesis.objectives import find_objective
from attar.synthesis.settings import Settings
from attar.synthesis.views import ViewPolicy, canvas_side, smallest_crop
from authors_lgm import AuthorsLoop, image_folder
from bars import Bar, arguments, report
from race import add_arguments, race
from statistics_pass import write_photos
from step import alternate

CLASSES, COPIES, LGM_STEPS = 10, 10, 5000
SMALL, LARGE = 1_200, 13_000  # training images: of the assets' Imagenette, and of ten classes of ImageNet
BESIDE = 1.3  # peak of the process over what autograd saves


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--part", choices=("cost", "race"), required=True)
    parser.add_argument("--network", default="vit_small_patch16_224", help="of part cost, with random weights")
    parser.add_argument("--chunk", type=int, default=10, help="views at a time in P7's chunked step")
    parser.add_argument("--rounds", type=int)
    add_arguments(parser)
    given = parser.parse_args()
    if given.part == "race":
        race(given)
        return
    report(cost(given.network, given.chunk, given.rounds or (2 if given.quick else 5)), given.json)


def cost(name: str, chunk: int, rounds: int) -> list[Bar]:
    """The bars of P5, P6 and P7."""
    backbone = attar.backbone(name, weights="random")
    side = canvas_side(backbone.image_size)
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), CLASSES * COPIES)
        refuse_where_too_large(backbone, Path(folder), side)
        authors = authors_loop(backbone, Path(folder), side, COPIES)
        fast, paper = attar.choose_settings("fast"), attar.choose_settings("paper", normalise="native")
        gradients = attar.choose_settings("fast", method="lgm", views=COPIES)
        sfm, lgm = ours(backbone, fast), ours(backbone, gradients)
        views = torch.rand(CLASSES, 3, backbone.image_size, backbone.image_size)
        tasks = {
            "sfm": stepping(sfm),
            "sfm, paper": stepping(ours(backbone, paper)),
            "lgm": stepping(lgm),
            "lgm in chunks": stepping(ours(backbone, gradients, chunk)),
            "authors": lambda: authors.step(0),
            "decoding": authors.real_batch,
            "forward": torch.no_grad()(lambda: backbone(views)),
        }
        times = alternate(tasks, rounds)
        middle = {task: statistics.median(values) for task, values in times.items()}
        least = {task: min(values) for task, values in times.items()}
        weights = list(authors.network.parameters())
        saved = {
            "sfm": saved_bytes(lambda: sfm.gradient(0), matching_tensors(sfm)),
            "lgm": saved_bytes(lambda: lgm.gradient(0), matching_tensors(lgm)),
            "authors": saved_bytes(authors.backward, [*weights, *authors.levels]),
            "real": saved_bytes(lambda: authors.encode(authors.real_batch()[0]), weights),
        }
        gradients_kept = [tensor.grad for tensor in (*weights, *authors.levels) if tensor.grad is not None]
        peaks = {
            "sfm": peak_bytes(lambda: sfm.gradient(0), matching_tensors(sfm), backbone.device),
            "authors": peak_bytes(authors.backward, [*weights, *authors.levels, *gradients_kept], backbone.device),
        }
    about = f"{name}, {CLASSES} images, fp32, medians of {rounds} (minima): "
    return [
        *p5(about, middle, least, saved, peaks),
        *p6(about, middle, fast, paper),
        *p7(about, middle, least, chunk),
    ]


def p5(about: str, middle: dict, least: dict, saved: dict, peaks: dict) -> list[Bar]:
    """A step of statistical flow matching against the rival's."""
    without = saved["authors"] - saved["real"]
    memory = (
        f"saved for backward: {size(saved['sfm'])} against {size(saved['authors'])}, of which the real images' graph "
        f"{size(saved['real'])} (without it {without / saved['sfm']:.1f}x); LGM in closed form {size(saved['lgm'])}; "
        f"peak of live tensors {size(peaks['sfm'])} against {size(peaks['authors'])}"
    )
    return [
        Bar("P5 time", middle["authors"] / middle["sfm"], 12, "x", about + pair("sfm", "authors", middle, least), ">="),
        Bar("P5 saved", saved["authors"] / saved["sfm"], 10, "x", memory, ">="),
    ]


def p6(about: str, middle: dict, fast: Settings, paper: Settings) -> list[Bar]:
    """Whole runs, computed; what they are worth is in docs/results.md."""

    def hours(settings: Settings, step: str, images: int) -> float:
        encoding = max(1, settings.statistics_views) * middle["forward"] / CLASSES
        return (images * (encoding + middle["decoding"] / (CLASSES * COPIES)) + settings.steps * middle[step]) / 3600

    rival = LGM_STEPS * middle["authors"] / 3600
    (short, long), (short_large, long_large) = [
        (hours(fast, "sfm", images), hours(paper, "sfm, paper", images)) for images in (SMALL, LARGE)
    ]
    detail = about + f"computed, {SMALL} training images: fast {short:.2f} h, "
    larger = f"; with {LARGE} images "
    return [
        Bar("P6 paper", short / long, 1 / 5, "x",
            detail + f"paper {long:.2f} h" + larger + f"{short_large / long_large:.2f}x"),
        Bar("P6 lgm", short / rival, 1 / 40, "x",
            detail + f"LGM V={COPIES} {rival:.1f} h" + larger + f"{short_large / rival:.3f}x"),
    ]  # fmt: skip


def p7(about: str, middle: dict, least: dict, chunk: int) -> list[Bar]:
    """Linear gradient matching in closed form against the rival's, as many views on both sides."""

    def against(task: str) -> str:
        bare = (middle["authors"] - middle["decoding"]) / middle[task]
        return f"{pair(task, 'authors', middle, least)}; without the rival's decoding {bare:.2f}x"

    return [
        Bar("P7 one chunk", middle["authors"] / middle["lgm"], 1.6, "x", about + against("lgm"), ">="),
        Bar("P7 chunked", middle["authors"] / middle["lgm in chunks"], 1.15, "x",
            about + f"chunks of {chunk}: " + against("lgm in chunks"), ">="),
    ]  # fmt: skip


def ours(backbone: attar.Backbone, settings: Settings, chunk: int | None = None) -> Matching:
    """A run of attar with a grown pyramid; the real features are random."""
    side, crop = canvas_side(backbone.image_size), backbone.image_size
    canvas = Pyramid(CLASSES, side, seed=0, start=side)
    noise = {name: getattr(settings, name) for name in ("noise", "noise_mean", "noise_std")}
    policy = ViewPolicy(side, crop, scale=(smallest_crop(side), 1.0), **noise)
    labels = torch.arange(20 * CLASSES) % CLASSES
    real = RealFeatures(Features(torch.randn(len(labels), 1, backbone.dim), labels), CLASSES)
    made = find_objective(settings.method)
    assert made is not None  # the presets' methods are ours
    objective = made.build(real, settings.options, ipc=1, seed=settings.seed)
    schedule = Schedule(settings.steps, settings.lr, settings.tail)
    terms = [Term(backbone, objective)]
    return Matching(canvas, torch.arange(CLASSES), terms, policy, schedule, views=settings.views, chunk=chunk)


def authors_loop(backbone: attar.Backbone, folder: Path, side: int, copies: int) -> AuthorsLoop:
    """The rival, on a grown pyramid."""
    return AuthorsLoop(backbone, image_folder(folder, side), CLASSES, side=side, copies=copies, start=side)


def stepping(loop: Matching) -> Callable[[], object]:
    """A function that takes the next step."""
    numbers = iter(range(loop.schedule.steps))
    return lambda: loop.step(next(numbers))


def refuse_where_too_large(backbone: attar.Backbone, folder: Path, side: int) -> None:
    """SystemExit where the rival's step won't fit into memory, by what one copy of its images takes."""
    single = authors_loop(backbone, folder, side, 1)
    needed = BESIDE * COPIES * saved_bytes(single.backward, list(single.network.parameters()))
    free = free_bytes(backbone.device)
    print(f"the rival's step takes about {size(needed)} of {size(free)} free memory", flush=True)
    if needed > free:
        raise SystemExit("too little memory: choose a smaller --network")


def matching_tensors(loop: Matching) -> list[Tensor]:
    """Weights and canvas with its gradient."""
    canvas = list(loop.canvas.parameters().values())
    gradients = [tensor.grad for tensor in canvas if tensor.grad is not None]
    return [*loop.terms[0].backbone.module.parameters(), *canvas, *gradients]


def saved_bytes(work: Callable[[], object], known: Sequence[Tensor]) -> int:
    """Bytes of all storages that autograd saves while `work` runs, those of `known` left out."""
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that none is freed and its address used again
    left_out = {tensor.untyped_storage().data_ptr() for tensor in known}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in left_out:
            kept[storage.data_ptr()] = storage
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(storage.nbytes() for storage in kept.values())


def pair(mine: str, other: str, middle: dict, least: dict) -> str:
    """Both sides' seconds."""
    return f"{middle[mine]:.2f} s ({least[mine]:.2f}) against {middle[other]:.2f} s ({least[other]:.2f})"


def size(count: float) -> str:
    return f"{count / 2**20:,.0f} MB"


if __name__ == "__main__":
    main()
