"""A small model of images and their captions: the stand-in, trained here and offline, for teachers
that language supervised. It is no CLIP, and tables name it `caption`.

Both towers meet in one space, where an image is nearest to its own caption (CLIP, arXiv
2103.00020). Captions of a batch that are equal are all right (UniCL, arXiv 2204.03610). J width of
the joint space, G the images of all processes, L words.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import normalize

from mimflow.backbones.chunks import chunked
from mimflow.backbones.vit import build_vit
from mimflow.data.augment import Images, Views, finish, one_view
from mimflow.data.shards import INDEX, Shards
from mimflow.draw import Draw
from mimflow.encoder import described, load_encoder
from mimflow.params.caption import CaptionTeacher
from mimflow.teachers.made import Made
from mimflow.teachers.reading import SAMPLE, numbered, read_captions, thinned, vocabulary
from mimflow.teachers.seeing import measure
from mimflow.teachers.training import trained
from mimflow.train.clock import Clock
from mimflow.train.place import Place
from mimflow.train.processes import gather, together

SHARPEST = math.log(100)  # of the scale of the logits, as in CLIP
PROMPT = "a {}"


class Reader(nn.Module):
    """Captions int64 (B, L) as (B, J): the mean over their words after a few blocks."""

    def __init__(self, words: int, params: CaptionTeacher):
        super().__init__()
        how = params.text
        self.words = nn.Embedding(1 + words, how.width)
        self.places = nn.Parameter(torch.empty(how.length, how.width))
        self.blocks = nn.ModuleList(Block(how.width, how.num_heads) for _ in range(how.depth))
        self.norm = nn.LayerNorm(how.width)
        self.joint = nn.Linear(how.width, params.joint, bias=False)
        nn.init.normal_(self.words.weight)  # wide: captions differ from the first step on
        nn.init.normal_(self.places, std=0.1)

    def forward(self, text: Tensor) -> Tensor:
        there = text > 0  # (B, L)
        x = self.words(text) + self.places  # (B, L, E)
        hidden = torch.zeros_like(text, dtype=x.dtype).masked_fill(~there, float("-inf"))
        for block in self.blocks:
            x = block(x, attn_mask=hidden[:, None, None])
        x = self.norm(x) * there[..., None]
        return cast(Tensor, self.joint(x.sum(1) / there.sum(1, keepdim=True)))


class Captioned(nn.Module):
    """The loss couples the images of a batch: a rank's whole batch meets in one pass, and `chunk`
    is how many images are encoded at a time.
    """

    chunk: int | None = None

    def __init__(self, encoder: VisionTransformer, reader: Reader, joint: int, temperature: float):
        super().__init__()
        self.encoder, self.reader = encoder, reader
        self.joint = nn.Linear(encoder.embed_dim, joint, bias=False)
        self.scale = nn.Parameter(torch.full((1,), -math.log(temperature)))

    def forward(self, batch: dict[str, Tensor], draw: Draw, clock: Clock) -> dict[str, Tensor]:
        image = self.joint(chunked(partial(_class_token, self.encoder), self.chunk, batch["image"]))
        text = self.reader(batch["text"])  # (B, J) both
        with torch.autocast(image.device.type, enabled=False):
            image, text = normalize(image.float(), dim=1), normalize(text.float(), dim=1)
            right = _equal(batch["text"])  # (B, G)
            scale = self.scale.clamp(max=SHARPEST).exp()
            look = scale * image @ gather(text).T  # (B, G)
            read = scale * text @ gather(image).T
            loss = (_among(look, right) + _among(read, right)) / 2
            found = right.gather(1, look.argmax(1, keepdim=True)).float().mean()
        return {"loss": loss, "top1": found, "scale": scale.detach()[0]}


def _class_token(encoder: nn.Module, images: Tensor) -> Tensor:
    return cast(Tensor, encoder.forward_features(images)[:, 0])  # type: ignore[operator]


def _equal(text: Tensor) -> Tensor:
    """bool (B, G): which captions of all ranks are the same as each of these."""
    everyone = text
    if together():
        parts = [torch.empty_like(text) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, text.contiguous())
        everyone = torch.cat(parts)
    return (text[:, None] == everyone[None]).all(-1)


def _among(logits: Tensor, right: Tensor) -> Tensor:
    """Cross entropy with all that is `right` as likely as each other."""
    target = right / right.sum(1, keepdim=True)
    return -(target * logits.log_softmax(1)).sum(1).mean()


def views(params: CaptionTeacher, text: np.ndarray) -> Views:
    """One view of each image, and its caption of `text` (n, L) without some of its words."""
    look = one_view(params.augment, params.encoder.img_size)

    def both(images: Images, draw: Draw, step: int) -> dict[str, np.ndarray]:
        own = text[draw.rows & SAMPLE]
        return {**look(images, draw, step), "text": thinned(own, draw, params.text.drop_words)}

    return both


def build(params: CaptionTeacher, words: int) -> Captioned:
    """The two towers, for a vocabulary of `words`."""
    encoder = build_vit(params.encoder.name, params.encoder.timm())
    if params.needs != str(INDEX):
        begin(encoder, Path(params.needs), params)
    return Captioned(encoder, Reader(words, params), params.joint, params.temperature)


def begin(encoder: nn.Module, path: Path, params: CaptionTeacher) -> None:
    """Puts a run's weights into the image tower. Raises ValueError where it is another encoder."""
    found, card = load_encoder(path)
    if _plain(card) != _plain(described(params.encoder)):
        raise ValueError(f"{path}: its encoder is {card['timm']}, not that of the teacher")
    encoder.load_state_dict(found.state_dict())


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    return {key: card[key] for key in ("kind", "timm")}


def prompted(names: list[str], words: dict[str, int], length: int) -> np.ndarray | None:
    """int64 (C, L): "a NAME" of each class; None where there is none, or a word no caption has."""
    prompts = [PROMPT.format(name) for name in names]
    known = all(word in words for prompt in prompts for word in prompt.split())
    return numbered(prompts, words, length) if prompts and known else None


def make(params: CaptionTeacher, place: Place) -> Made:
    """The image tower with its projection; the card has what it was measured to see."""
    held = Shards(INDEX, place.shards.folder, place.shards.held_out)
    captions = read_captions(place.shards)
    words = vocabulary(captions)
    text = numbered(captions, words, params.text.length)
    prompts = prompted(place.shards.label_names, words, params.text.length)
    mean, std = place.shards.mean, place.shards.std
    done = trained(
        partial(build, params, len(words)),
        views(params, text),
        finish(mean, std, place.device),
        params,
        place,
    )
    card: dict[str, Any] = {**described(params.encoder), "mean": mean, "std": std}
    origin: dict[str, Any] = {"samples": params.samples, "seed": params.seed}
    origin |= {"captions": len(captions), "begun": params.needs}
    method, projection = done.method, done.method.joint.weight.detach()
    made = Made(method.encoder, {**card, "origin": origin}, projection, done.keep.drop)
    with torch.no_grad():
        classes = None if prompts is None else method.reader(torch.from_numpy(prompts))  # (C, J)
    return made._replace(card={**made.card, "measured": measure(made, held, classes)})
