"""Pre-training of one run: an encoder that plain timm loads, the loss curve, and pictures."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from mimflow.params.check import parse, schema_of
from mimflow.stage import Stage, run

MAX_PIXELS = 1 << 28  # the audit has passed every image


def body(stage: Stage) -> Callable[[], None]:
    """Trains `stage.key` from its newest state on; returns what drops the state."""
    import torch

    from mimflow.backbones.vit import fuse_attention
    from mimflow.data.augment import finish
    from mimflow.data.loader import Batches
    from mimflow.data.shards import Shards
    from mimflow.encoder import device, save_encoder
    from mimflow.train.checkpoint import Checkpoints
    from mimflow.train.loop import train, write_curve
    from mimflow.train.pictures import write_pictures

    where = f"runs.{stage.key}"
    values = stage.params(where)
    params = parse(schema_of(values["method"]), values, where)
    module = importlib.import_module(f"mimflow.methods.{params.method}")
    shards = Shards(Path("data/index.json"), Path("data/shards"), "train")
    torch.manual_seed(params.seed)  # the initial weights; nothing else draws from it
    method = module.build(params).to(device())
    fuse_attention(method, device(), backward=True)
    batches = Batches(shards, module.views(params), params.batch, params.seed, MAX_PIXELS)
    render = finish(shards.mean, shards.std, device())
    keep = Checkpoints(Path("state") / f"pretrain-{stage.key}-{stage.made_hash[:16]}")
    rows = train(method, batches, render, params, keep, str(stage.key))

    folder = Path("runs") / str(stage.key)
    write_curve(folder / "losses.csv", rows)
    write_pictures(folder / "pictures.png", method, batches, render, params)
    timm = {"name": params.encoder.name, "kwargs": params.encoder.timm()}
    card = {
        "timm": timm,
        "mean": shards.mean,
        "std": shards.std,
        "method": params.method,
        "samples": params.samples,
    }
    save_encoder(folder / "encoder.safetensors", method.encoder, card)
    return keep.drop


def main(argv: list[str] | None = None) -> int:
    """Exit code of the stage."""
    return run("pretrain", body, argv)


if __name__ == "__main__":
    sys.exit(main())
