"""The learning rate of a probe: linear warm-up, then half a cosine down to 0."""

from __future__ import annotations

from mimflow.train.schedule import half_cosine


def probe_rate(epoch: float, epochs: int, warmup: float, base_lr: float, batch: int) -> float:
    """At `epoch`, counted with its fraction before each step as in MAE's reference code, of which
    `warmup` are warm-up; the peak is base_lr * batch / 256.
    """
    peak = base_lr * batch / 256
    if epoch < warmup:
        return peak * epoch / warmup
    return half_cosine((epoch - warmup) / (epochs - warmup), peak, 0.0)
