"""Can timm build the encoders that params.yaml names? It takes seconds to ask, so `mimflow check`
asks and what runs often does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from mimflow.files import canonical
from mimflow.params.check import CONTROLS, FILE, parse

SECTIONS = ("runs", "taught", "controls", "teachers", "encoders")


def encoder_mistakes(values: dict[str, Any]) -> Iterator[str]:
    """One line for each encoder that timm can not build. `values` are right in all other ways."""
    told: dict[bytes, str] = {}
    for section in SECTIONS:
        for name, entry in values[section].items():
            for key in ("encoder", "timm"):
                if key in entry:
                    same = canonical({key: entry[key]})
                    told[same] = told[same] if same in told else _why_not(key, entry[key])
                    if told[same]:
                        yield f"{FILE}: {section}.{name}.{key}{told[same]}"


def _why_not(key: str, model: dict[str, Any]) -> str:
    """Empty where it can be built."""
    import timm
    import torch

    from mimflow.encoder import build_encoder, build_timm, described

    if not timm.is_model(model["name"]):
        close = difflib.get_close_matches(model["name"], timm.list_models(), n=1)
        hint = f" (nearest: {close[0]})" if close else ""
        return f".name: timm has no model {model['name']!r}{hint}"
    try:
        with torch.device("meta"):
            if key == "timm":
                build_timm(model["name"], model["kwargs"])
            else:
                control = {"kind": "random", "seed": 0, "draws": 1, "encoder": model}
                build_encoder(described(parse(CONTROLS["random"], control, "encoder").encoder))
    except ValueError as error:
        return f": {str(error).removeprefix('encoder: ')}"
    return ""
