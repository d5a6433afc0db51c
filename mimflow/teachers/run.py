"""The encoder of a finished run as a teacher."""

from __future__ import annotations

from pathlib import Path

from mimflow.encoder import load_encoder
from mimflow.files import sha256
from mimflow.params.teachers import RunTeacher
from mimflow.teachers.made import Made
from mimflow.train.place import Place


def make(params: RunTeacher, place: Place) -> Made:
    """The encoder with the statistics that it was trained with."""
    path = Path(params.needs)
    encoder, card = load_encoder(path)
    return Made(encoder, {**card, "origin": {"file": params.needs, "sha256": sha256(path)}}, None)
