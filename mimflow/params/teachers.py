"""The keys of a teacher, by its kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mimflow.params.fields import Count, Encoder, Section, Seed
from mimflow.params.needs import Images, RunFile
from mimflow.params.sections import Colours, Scales, Timm

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ImportedTeacher(Section):
    """Weights that others trained. `needs`: the file, safetensors or a torch checkpoint of tensors;
    `sha256`: of its bytes. `timm`: the architecture, as the vision tower of the file.

    `names`: how the file names its tensors, as timm does or as CLIP and OpenCLIP do. `projection`:
    width of the projection that is kept, null for none. `licence`: its text, if there is one.
    """

    kind: Literal["imported"]
    needs: str
    sha256: Sha256
    timm: Timm
    names: Literal["timm", "clip"]
    projection: Count | None
    mean: Colours
    std: Scales
    licence: str | None


class RunTeacher(Section):
    """The encoder of a finished run; `needs`: runs/NAME/encoder.safetensors."""

    kind: Literal["run"]
    needs: RunFile


class RandomTeacher(Section):
    """The first weights of an encoder: dBOT's first teacher, and the control of every other."""

    kind: Literal["random"]
    needs: Images
    seed: Seed
    encoder: Encoder
