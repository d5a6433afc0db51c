"""Attentive probe: a learned query attends over frozen patch tokens, a linear layer classifies what
it gathers (CAE, arXiv 2202.03026, attentive probing).

Letters: A heads, K classes, d = D / A.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mimflow.data.order import samples_at
from mimflow.device import device
from mimflow.evals.schedule import probe_rate
from mimflow.params.tasks.attentive import Attentive

HELD_ROWS = 500


class Probe(nn.Module):
    """Logits (B, K) of tokens (B, N, D)."""

    def __init__(self, width: int, num_heads: int, classes: int):
        super().__init__()
        if width % num_heads:
            raise ValueError(
                f"params.yaml: attentive.num_heads: {num_heads} does not divide the encoder's width"
                f" {width}"
            )
        self.query = nn.Parameter(0.02 * torch.randn(num_heads, width // num_heads))
        self.key = nn.Parameter(torch.randn(num_heads, width // num_heads, width) / width**0.5)
        self.value = nn.Parameter(torch.randn(num_heads, width // num_heads, width) / width**0.5)
        self.norm = nn.BatchNorm1d(width, eps=1e-6, affine=False)  # as in the linear probe of MAE
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Query and keys meet before the tokens: A dot products a token, not D."""
        seek = torch.einsum("ad,adw->aw", self.query, self.key) / self.query.shape[1] ** 0.5
        weight = (x @ seek.T).softmax(1)  # (B, N, A)
        gathered = weight.transpose(1, 2) @ x  # (B, A, D)
        pooled = torch.einsum("baw,adw->bad", gathered, self.value).flatten(1)  # (B, D)
        return self.head(self.norm(pooled))


def predict(
    train: np.ndarray, labels: np.ndarray, held: np.ndarray, how: Attentive
) -> dict[str, np.ndarray]:
    """{probe: predicted labels int64 (m,)} of tokens (n, N, D) and (m, N, D) of any float type.

    Raises ValueError if the heads do not divide the width.
    """
    count, batch = len(train), min(how.batch, len(train))
    torch.manual_seed(how.seed)
    probe = Probe(train.shape[2], how.num_heads, int(labels.max()) + 1).to(device())
    optimiser = torch.optim.AdamW(
        probe.parameters(), lr=0.0, weight_decay=how.weight_decay, fused=True
    )
    probe.train(batch > 1)  # the statistics of one image are no statistics
    truth = torch.from_numpy(labels.astype(np.int64)).to(device())
    for step in range(max(how.epochs * count // batch, 1)):
        rows = samples_at(np.arange(step * batch, (step + 1) * batch), count, how.seed)
        x = torch.from_numpy(train[rows].astype(np.float32)).to(device())  # (B, N, D)
        loss = nn.functional.cross_entropy(probe(x), truth[rows])
        for group in optimiser.param_groups:
            group["lr"] = probe_rate(
                step * batch / count, how.epochs, how.warmup, how.base_lr, batch
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    probe.eval()
    with torch.inference_mode():
        parts = (held[i : i + HELD_ROWS].astype(np.float32) for i in range(0, len(held), HELD_ROWS))
        found = [probe(torch.from_numpy(x).to(device())).argmax(1).cpu() for x in parts]
    return {"probe": torch.cat(found).numpy()}
