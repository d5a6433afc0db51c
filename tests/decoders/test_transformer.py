"""The filling decoder's last block: timm's, for the tokens that are asked for."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import Block

from mimflow.decoders.transformer import LastBlock


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("count", [0, 5, 9])
def test_the_last_tokens_and_all_gradients_are_those_of_the_whole_block(
    fused: bool, count: int
) -> None:
    torch.manual_seed(0)
    whole, last = Block(8, 2, qkv_bias=True), LastBlock(8, 2, qkv_bias=True)
    last.load_state_dict(whole.state_dict())
    whole.attn.fused_attn = last.attn.fused_attn = fused
    x = torch.randn(2, 9, 8)
    ways = [(x.clone().requires_grad_(), block) for block in (whole, last)]
    outs = [whole(ways[0][0])[:, 9 - count :], last(ways[1][0], count)]
    assert outs[1].shape == (2, count, 8)
    torch.testing.assert_close(outs[1], outs[0])
    for out in outs:
        out.square().sum().backward()
    torch.testing.assert_close(ways[1][0].grad, ways[0][0].grad)
    theirs = {name: p.grad for name, p in whole.named_parameters()}
    for name, p in last.named_parameters():
        torch.testing.assert_close(p.grad, theirs[name])


def test_what_the_others_would_have_become_changes_nothing() -> None:
    torch.manual_seed(0)
    block, x = LastBlock(8, 2, qkv_bias=True), torch.randn(2, 9, 8)
    x.requires_grad_()
    block(x, 5).sum().backward()
    assert x.grad is not None and (x.grad[:, :4] != 0).any()  # they are looked at
    passes: list[int] = []
    block.mlp.register_forward_hook(lambda module, inputs, out: passes.append(out.shape[1]))
    block(x, 5)
    assert passes == [5]
