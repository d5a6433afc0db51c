"""Blocks left out: they hand on, are not trained and stay in the state."""

from __future__ import annotations

import pytest
import torch
from toy_encoders import backbone, images

from mimflow.backbones.grid import token_features
from mimflow.backbones.shallow import leave_out, residual_blocks


@pytest.mark.parametrize(("name", "count"), [("vit", 3), ("swin", 5), ("pvt", 4)])
def test_left_out_blocks_hand_on_and_keep_their_weights(name: str, count: int) -> None:
    encoder = backbone(name)
    before = {k: x.clone() for k, x in encoder.state_dict().items()}
    assert len(residual_blocks(encoder)) == count
    leave_out(encoder, 1)
    last = residual_blocks(encoder)[-1]
    for p in last.parameters():
        p.data.fill_(torch.nan)  # no weight of it is used
    features = token_features(encoder, images())
    features.sum().backward()
    assert features.isfinite().all()
    trained = {n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is not None}
    idle = {n for n, p in encoder.named_parameters() if p.grad is None} - {"pos_embed"}
    assert trained and {id(p) for p in last.parameters()} == {
        id(encoder.get_parameter(n)) for n in idle
    }
    assert encoder.state_dict().keys() == before.keys()


def test_a_vit_without_its_last_block_is_the_shallower_vit() -> None:
    encoder, shallow = backbone("vit"), backbone("vit", depth=2)
    shallow.load_state_dict(encoder.state_dict(), strict=False)
    leave_out(encoder, 1)
    assert torch.equal(token_features(encoder, images()), token_features(shallow, images()))
    with pytest.raises(ValueError, match="drop_layers: 3 leaves nothing of the 3 blocks"):
        leave_out(encoder, 3)
