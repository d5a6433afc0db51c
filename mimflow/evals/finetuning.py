"""The trainings of a fine-tuning, one for each seed, and what they predict.

Each resumes like a pre-training; a seed that is done has its predictions beside the states.
"""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn

from mimflow.data.augment import finish, fit
from mimflow.data.chosen import Chosen
from mimflow.data.shards import MAX_PIXELS, Shards
from mimflow.encoder import described, input_size
from mimflow.evals.finetune import Finetuned, choose_labelled, views, with_head
from mimflow.evals.origin import Opened, open_origin
from mimflow.files import replacing
from mimflow.params.check import CONTROLS, parse
from mimflow.params.tasks.finetune import Finetune
from mimflow.train.layers import depths_of
from mimflow.train.place import Place
from mimflow.train.processes import from_first
from mimflow.train.step import PRECISION
from mimflow.train.training import batches_of, trained


class Tuning:
    """Fine-tunes the encoder of `origin` (`mimflow/evals/origin.py`) on the images of `place`,
    evaluates it on those `held` out.
    """

    def __init__(
        self,
        origin: dict[str, Any],
        held: Shards,
        how: Finetune,
        place: Place,
    ):
        if not origin:
            raise ValueError("params.yaml: evaluate.finetune: raw pixels have no encoder to tune")
        self.origin, self.held, self.how, self.place = origin, held, how, place
        self.opened: Opened = open_origin(origin)
        mean, std = self.opened.mean or place.shards.mean, self.opened.std or place.shards.std
        self.render = finish(mean, std, place.device)

    def predict(self, train: np.ndarray, labels: np.ndarray, held: np.ndarray) -> dict[str, Any]:
        """{finetune: labels int64 (R, m)} of the images `held` (m,), for each of R seeds, learnt
        from a share of the images `train` (n,) with `labels` 0 to C - 1. Raises Interrupted.
        """
        chosen = choose_labelled(labels, self.how.labels, self.how.seed)
        images = Chosen(self.place.shards, train[chosen])
        found = [self._seed(seed, images, labels[chosen], held) for seed in self.how.seeds]
        return {"finetune": np.stack(found)}

    def drop(self) -> None:
        """Removes the predictions that a resume would need: the metrics are written. A training
        that another process has begun there stays, and MIMFLOW_KEEP_STATE keeps all.
        """
        state = self.place.state
        theirs = state.is_dir() and any(path.is_dir() for path in state.iterdir())
        if not self.place.processes.rank and not theirs and "MIMFLOW_KEEP_STATE" not in os.environ:
            shutil.rmtree(state, ignore_errors=True)

    def _seed(self, seed: int, images: Chosen, labels: np.ndarray, held: np.ndarray) -> np.ndarray:
        known = self.place.state / f"seed{seed}.safetensors"
        if from_first("done" if known.exists() else None):
            return load_file(known)["label"]
        how = self.how.model_copy(update={"seed": seed})
        state, key = self.place.state / f"seed{seed}", f"{self.place.key}-{seed}"
        place = self.place._replace(state=state, key=key)
        batches = batches_of(images, views(how, self.size), how, place, None)
        done = trained(partial(self._method, labels, how), batches, self.render, how, place)
        label = self._labels(done.method.evaluated, held)
        if place.processes.rank == 0:
            with replacing(known) as file:
                save_file({"label": label}, file)
        done.keep.drop()
        return label

    @property
    def size(self) -> int:
        """The side in pixels of the pictures that the encoder takes."""
        return input_size(self.opened.model)

    def _method(self, labels: np.ndarray, how: Finetune) -> Finetuned:
        name, kwargs = timm_of(self.origin)
        state = {k: x.cpu() for k, x in self.opened.model.state_dict().items()}
        classes = int(labels.max()) + 1
        model = with_head(name, kwargs, state, classes, how)
        depths = [0] if how.layer_decay == 1 else depths_of(model)
        known = torch.from_numpy(labels.astype(np.int64))
        return Finetuned(model, known, classes, how, depths).train()

    @torch.inference_mode()
    def _labels(self, model: nn.Module, held: np.ndarray) -> np.ndarray:
        """int64 (m,), of the middle of each image."""
        model.eval()
        dtype = PRECISION[self.how.compute.precision]
        found = []
        for start in range(0, len(held), self.how.eval_batch):
            numbers = held[start : start + self.how.eval_batch].tolist()
            pictures = fit([self.held.pixels(i, MAX_PIXELS) for i in numbers], self.size)
            x = self.render({"image": torch.from_numpy(pictures)})["image"]
            with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
                found.append(model(x).argmax(1).cpu())
        return torch.cat(found).numpy()


def timm_of(origin: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the timm model that an origin has."""
    if "file" in origin:
        with safe_open(origin["file"], "pt") as file:
            card = json.loads(file.metadata()["card"])
    else:
        control = parse(CONTROLS[origin["control"]["kind"]], origin["control"], "controls")
        if hasattr(control, "timm"):
            return control.timm.name, control.timm.kwargs
        card = described(control.encoder)
    if "loader" in card:
        raise ValueError(
            f"finetune: not for encoders of kind {card['kind']}, which timm can not be"
        )
    return card["timm"]["name"], card["timm"]["kwargs"]
