"""A method made ready for its devices: blocks compiled or recomputed, work shared by processes.

DDP keeps a copy of everything on each process, FSDP2 a share (`fully_shard`, block by block).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from timm.models.beit import Block as BeitBlock
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils import deterministic
from torch.utils.checkpoint import checkpoint

from mimflow.params.training import Compute
from mimflow.train.heap import keep_freed
from mimflow.train.processes import together

BLOCKS = Block | BeitBlock | SwinTransformerBlock


def prepare(compute: Compute) -> None:
    """The switches of a run, before anything is built."""
    keep_freed()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = compute.tf32
    if compute.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS asks for it
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(compute.deterministic)


def spread(method: nn.Module, compute: Compute, device: torch.device) -> nn.Module:
    """What the loop calls in the place of `method`, whose parameters stay where they are."""
    if (compute.recompute or compute.compile) and not any(_blocks(method)):
        raise ValueError("compute: recompute and compile are for blocks of ViT, BEiT and Swin")
    for block in _blocks(method):
        if compute.recompute:
            again = partial(checkpoint, block.forward, use_reentrant=False)
            block.forward = again
        if compute.compile and not any(part._forward_hooks for part in block.modules()):
            block.compile()  # a hook inside of a compiled block would not run
    if not together():
        return method
    if compute.parallel == "ddp":
        return DistributedDataParallel(
            method, forward_sync_buffers=False, gradient_as_bucket_view=True
        )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in _blocks(method):
        fully_shard(block, mesh=mesh)
    fully_shard(method, mesh=mesh)
    return method


def _blocks(method: nn.Module) -> Iterator[nn.Module]:
    return (part for part in method.modules() if isinstance(part, BLOCKS))


def held_back(model: nn.Module, hold: bool) -> AbstractContextManager[Any]:
    """Within it gradients add up on this process; they are shared when `hold` is false."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(not hold)
    elif isinstance(model, DistributedDataParallel) and hold:
        return model.no_sync()
    return nullcontext()


def unspread(method: nn.Module, build: Callable[[], nn.Module]) -> nn.Module:
    """The method in one piece on this process; every rank takes part."""
    if not isinstance(method, FSDPModule):
        return method
    state = mapped(method.state_dict(), whole)
    plain = build()
    plain.load_state_dict(state)
    return plain


def whole(x: Any) -> Any:
    """A copy in the host's memory of a tensor, in one piece; anything else as it is."""
    if isinstance(x, DTensor):
        x = x.full_tensor()  # every rank takes part
    return x.detach().to("cpu", copy=True) if isinstance(x, Tensor) else x


def share_of(x: Tensor) -> Tensor:
    """This process's part of a tensor, or the tensor itself; a change of it changes `x`."""
    return x.to_local() if isinstance(x, DTensor) else x


def whole_norms(tensors: list[Tensor]) -> list[Tensor]:
    """The norm of each tensor over all its parts."""
    norms = torch._foreach_norm(tensors)
    return [n.full_tensor() if isinstance(n, DTensor) else n for n in norms]


def like(x: Tensor, place: Tensor) -> Tensor:
    """`x` laid out as the tensor `place` is: in one piece, or as this process's share."""
    if isinstance(place, DTensor):
        return distribute_tensor(x.to(place.device), place.device_mesh, place.placements)
    return x.to(place.device)


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """`tree` of dictionaries and lists with `change` done to its leaves."""
    if isinstance(tree, dict):
        return {key: mapped(value, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(value, change) for value in tree)
    return change(tree)
