"""Train a small text-conditional diffusion model in Stable Diffusion's layout, on images and their captions.

    python examples/train_tiny_dit.py photos/train --side 32 --out tiny-dit
    python examples/train_tiny_sd.py photos/train --captions captions.jsonl --vae tiny-dit/vae --out tiny-sd

For `attar edits`, where Stable Diffusion itself cannot be had: a U-Net of a million parameters that attends to a small
CLIP text encoder, both trained here, over the latents of an autoencoder that `train_tiny_dit.py` made. Its words are
those of the captions (lines {"file_name": "class/image", "text": "..."}, as `attar edits caption` writes them).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from train_tiny_dit import DROPPED, LATENT_CHANNELS, LATENT_SIDE, batches, latents_of, optimise, snr_weights
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import attar
from attar.cli.show import Shown
from attar.devices import keep_freed_memory, pick_device
from attar.features import read_squares

WORDS, WIDTH = 2000, 64


def tokenizer(texts: list[str]) -> CLIPTokenizer:
    """CLIP's, with the commonest pieces of words of `texts`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learned.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, end_of_word_suffix="</w>", show_progress=False)
    learned.train_from_iterator([text.lower() for text in texts], trainer)
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    pieces = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def text_encoder(tokens: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_attention_heads=4,
            num_hidden_layers=2,
            max_position_embeddings=77,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
        )
    )


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
    )


def ddim() -> DDIMScheduler:
    """Stable Diffusion's schedule."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


class Both(nn.Module):
    """U-Net and text encoder, trained as one."""

    def __init__(self, tokens: CLIPTokenizer):
        super().__init__()
        self.unet, self.text = unet(), text_encoder(tokens)

    def forward(self, noisy: Tensor, times: Tensor, words: Tensor) -> Tensor:
        return self.unet(noisy, times, encoder_hidden_states=self.text(words)[0]).sample


def captions_of(file: Path, names: list[str]) -> list[str]:
    known = {line["file_name"]: line["text"] for line in map(json.loads, file.read_text().splitlines())}
    return [known[name] for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="what attar.open takes")
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    device = pick_device(arguments.device)
    source = attar.open(arguments.data)
    vae = AutoencoderKL.from_pretrained(arguments.vae).to(device).eval()
    images = torch.from_numpy(read_squares(source, vae.config.sample_size, range(len(source))))
    latents = torch.stack([latents_of(vae, each) for each in (images, images.flip(-1))])
    texts = captions_of(arguments.captions, [source.name(index) for index in range(len(source))])
    tokens = tokenizer(texts)
    padded = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    words, nothing = tokens(texts, **padded).input_ids, tokens([""], **padded).input_ids
    model, scheduler = Both(tokens).to(device), ddim()
    weight = snr_weights(scheduler)
    generator = torch.Generator().manual_seed(1)
    order = batches(len(texts), arguments.batch, generator)

    def loss() -> Tensor:
        ids = next(order)
        clean = latents[torch.randint(len(latents), (len(ids),), generator=generator), ids]
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(len(weight), (len(ids),), generator=generator)
        said = torch.where((torch.rand(len(ids), generator=generator) < DROPPED)[:, None], nothing, words[ids])
        noisy = scheduler.add_noise(clean, noise, times)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            told = model(noisy.to(device), times.to(device), said.to(device))
        error = (told.float() - noise.to(device)).square().mean((1, 2, 3))
        return (error * weight[times].to(device)).mean()

    def keep(average: nn.Module) -> None:
        StableDiffusionPipeline(
            vae=vae,
            text_encoder=average.text,
            tokenizer=tokens,
            unet=average.unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(arguments.out)

    with Shown() as progress:
        optimise(model, loss, arguments.steps, arguments.rate, "u-net", progress, keep)


if __name__ == "__main__":
    main()
