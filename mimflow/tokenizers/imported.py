"""Public tokenizers from a local file: read without running any code in it, checked, and measured
on held-out pictures like one of ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mimflow.data.shards import FOLDER, INDEX, MAX_PIXELS, Shards
from mimflow.files import replacing, write
from mimflow.foreign import read_tensors
from mimflow.params.tokenizers import Imported
from mimflow.tokenizers import beit2, dalle
from mimflow.tokenizers.colours import coloured
from mimflow.tokenizers.frozen import Frozen, build_net, save_tokenizer
from mimflow.tokenizers.held import held_out, mean_distance, measure

ROWS = 8


def read_dalle(state: dict[str, Tensor], size: int) -> Frozen:
    """The encoder of DALL-E's dVAE, of its public tensors."""
    state = dalle.own_names(state)
    card = dalle.sizes_of(state, size)
    net = build_net(card["net"])
    net.load_state_dict({name: x.float() for name, x in state.items()})
    return Frozen(net, None, card)


def open_public(params: Imported) -> Frozen:
    """The tokenizer. Raises ValueError, one line, for a file that is none of its kind."""
    state = read_tensors(Path(params.needs))
    read = {"dalle": read_dalle, "beit2": beit2.frozen}[params.kind]
    try:
        found = read(state, params.img_size)
    except KeyError as error:
        raise ValueError(f"{params.needs}: has no {error}, which {params.kind} needs") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{params.needs}: does not fit {params.kind}: {reason}") from None
    size = found.card["net"].get("size", params.img_size)
    if size != params.img_size or params.img_size % found.grid[0]:
        raise ValueError(f"img_size {params.img_size}: {params.needs} takes pictures of {size}")
    return found


def bring(folder: Path, params: Imported) -> None:
    """Writes weights, card, pictures of the codes and an empty curve."""
    tokenizer = open_public(params)
    train = Shards(INDEX, FOLDER, "train")
    held = Shards(INDEX, FOLDER, train.held_out)
    count, size = params.held_images, params.img_size
    if tokenizer.codebook is not None:
        pictures = held_out(held, count, size, MAX_PIXELS)
        tokenizer.card["distance"] = round(mean_distance(tokenizer, pictures), 6)
    pictures = held_out(held, count, size, MAX_PIXELS)
    facts, _ = measure(tokenizer, lambda images: None, pictures)
    show(folder / "pictures.png", tokenizer, next(held_out(held, ROWS, size, MAX_PIXELS)))
    save_tokenizer(folder, tokenizer, {"held": facts, "samples": 0})
    write(folder / "losses.csv", b"samples,loss\n")


def show(path: Path, tokenizer: Frozen, images: Tensor) -> None:
    """Writes images (B, 3, S, S) in [0, 1] beside their codes."""
    patch = images.shape[-1] // tokenizer.grid[0]
    words = coloured(tokenizer.codes(images), tokenizer.grid, patch)
    sheet = torch.cat([images, words], dim=3)
    pixels = (sheet * 255).round().byte().permute(0, 2, 3, 1).flatten(0, 1).numpy()
    with replacing(path) as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
