"""One optimiser step: the global batch in micro-batches, one gradient, checked, clipped, applied.

Every rank and micro-batch contributes a share; the shares add up to the loss of the global batch.
A mean over a number that differs between them (`count`) is weighted by it, so that unequal masks
give the same mean however the batch is cut; so is all that the method reports beside it but
`mask_ratio`, a mean over images. Nothing here waits for the device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mimflow.draw import Draw
from mimflow.params.training import Budget
from mimflow.train.clock import Clock
from mimflow.train.optim import clip_each, set_rates
from mimflow.train.parallel import held_back, share_of, whole_norms
from mimflow.train.processes import together, total
from mimflow.train.scale import LossScale
from mimflow.train.schedule import learning_rate, weight_decay

PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Stepper:
    """Takes the steps of `run`: `method` as it is, `model` what spreads it over the processes.

    A method whose loss couples the images of a batch has an attribute `chunk`; it gets a rank's
    whole batch at once, and `chunk` says how many images' activations it may hold at a time.
    """

    def __init__(
        self,
        method: nn.Module,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        run: Budget,
        micro: int,
        scale: LossScale,
    ):
        self.method, self.model, self.optimiser, self.run = method, model, optimiser, run
        self.micro, self.scale = micro, scale
        self.peak = run.optimiser.peak(run.batch)

    def __call__(self, batch: dict[str, Tensor], clock: Clock) -> dict[str, Tensor]:
        """Scalars on the device: `loss`, what the method reports, `gradient_norm`, `finite`."""
        decay = weight_decay(self.run.schedule, self.run.optimiser.weight_decay, clock)
        set_rates(self.optimiser, learning_rate(self.run.schedule, self.peak, clock), decay)
        self.optimiser.zero_grad(set_to_none=True)
        values = self.gradient(batch, clock)
        before_step = getattr(self.method, "before_step", None)
        if before_step is not None:
            before_step(clock)
        values |= self.apply(values["loss"])
        after_step = getattr(self.method, "after_step", None)
        if after_step is not None:
            values |= after_step(clock) or {}
        return values

    def gradient(self, batch: dict[str, Tensor], clock: Clock) -> dict[str, Tensor]:
        """Leaves the gradient of the global batch in the parameters; returns the mean scalars."""
        parts = self.parts(batch)
        alone = len(parts) == 1 and not together()
        sums: dict[str, Tensor] = {}
        counted = False
        for i, part in enumerate(parts):
            with held_back(self.model, i + 1 < len(parts)):
                losses = self.forward(part, clock)
                images = len(part["place"])
                counted = "count" in losses
                weight = losses.pop("count", None)
                if alone:
                    self.scale.up(losses["loss"]).backward()
                    return {name: x.detach() for name, x in losses.items()}
                weight = torch.as_tensor(images if weight is None else weight).detach()
                # DDP and FSDP2 take the mean over ranks: the sum of shares is asked for.
                ranks = self.run.batch / sum(len(p["place"]) for p in parts)
                share = losses["loss"] * (weight * (ranks / self.run.batch))
                self.scale.up(share).backward()
            for name, x in losses.items():
                amount = images if name == "mask_ratio" else weight
                sums[name] = sums.get(name, 0) + (x.detach() * amount).double()
            sums["count"] = sums.get("count", 0) + weight.to(losses["loss"].device).double()
        return self.means(sums, counted)

    def means(self, sums: dict[str, Tensor], counted: bool) -> dict[str, Tensor]:
        """The sums of all ranks as means; the gradient follows where counts were unequal."""
        names = list(sums)
        everywhere = total(torch.stack([sums[name] for name in names]))
        values = dict(zip(names, everywhere.unbind(), strict=True))
        count = values.pop("count")
        if counted:
            factor = (self.run.batch / count).float()
            torch._foreach_mul_([share_of(g) for g in self.gradients()], factor)
        over = {"mask_ratio": self.run.batch}
        return {name: (x / over.get(name, count)).float() for name, x in values.items()}

    def forward(self, part: dict[str, Tensor], clock: Clock) -> dict[str, Tensor]:
        """The method's scalars for one micro-batch."""
        draw = Draw(part["place"], "step", self.run.seed, clock.step)
        dtype = PRECISION[self.run.compute.precision]
        on = dtype != torch.float32
        with torch.autocast(part["place"].device.type, dtype if on else None, enabled=on):
            return dict(self.model(part, draw, clock))

    def parts(self, batch: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """The micro-batches of this rank's share."""
        images = len(batch["place"])
        if hasattr(self.method, "chunk"):
            self.method.chunk = self.micro  # type: ignore[assignment]
            return [batch]
        cuts = range(0, images, self.micro)
        return [{k: x[i : i + self.micro] for k, x in batch.items()} for i in cuts]

    def gradients(self) -> list[Tensor]:
        """Of the parameters that have one."""
        found = (p.grad for g in self.optimiser.param_groups for p in g["params"])
        return [g for g in found if g is not None]

    def trial(self, batch: dict[str, Tensor], micro: int) -> None:
        """A forward and backward pass of one micro-batch, for what it takes in memory."""
        self.micro = micro
        part = self.parts(batch)[0]
        with held_back(self.model, not isinstance(self.model, FSDPModule)):  # it would keep them
            clock = Clock(0, self.run.steps, 0.0, 0.0)  # equal to none of a step
            self.forward(part, clock)["loss"].backward()

    def apply(self, loss: Tensor) -> dict[str, Tensor]:
        """Clips and steps; where loss or gradient is not finite nothing changes."""
        gradients, rule = self.gradients(), self.run.optimiser
        shares = [share_of(g) for g in gradients]
        self.scale.down(shares)
        norm: Any = get_total_norm(gradients)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        finite = norm.isfinite() & loss.isfinite()
        if rule.clip_norm is not None:
            parameters = [p for g in self.optimiser.param_groups for p in g["params"]]
            clip_grads_with_norm_(parameters, rule.clip_norm, norm)
        if rule.clip_each is not None:
            clip_each(shares, whole_norms(gradients), rule.clip_each)
        self.optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self.optimiser.step()
        overflow = self.scale.update(norm)
        return {"gradient_norm": norm, "finite": finite | (overflow & loss.isfinite())}
