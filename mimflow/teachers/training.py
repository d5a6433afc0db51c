"""A teacher that is trained here, by the one loop, like a run."""

from __future__ import annotations

from collections.abc import Callable

from mimflow.data.augment import Views
from mimflow.params.caption import CaptionTeacher
from mimflow.params.mocov3 import MoCoTeacher
from mimflow.train import training
from mimflow.train.loop import Render
from mimflow.train.place import Place
from mimflow.train.training import Done, Method, batches_of


def trained(
    build: Callable[[], Method],
    views: Views,
    render: Render,
    params: MoCoTeacher | CaptionTeacher,
    place: Place,
) -> Done[Method]:
    """What `build` makes, trained from the newest state on, in evaluation mode on the CPU.

    Raises Diverged and Interrupted as the loop does.
    """
    batches = batches_of(place.shards, views, params, place, params.order_window)
    done = training.trained(build, batches, render, params, place)
    done.keep.confirm()
    done.method.cpu().eval()
    return done
