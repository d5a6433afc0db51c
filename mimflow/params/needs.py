"""What an entry may build on: the types of a key `needs`, a path that a stage makes.

Which entry makes which path, and whether it is there: `mimflow/params/built.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

_NAME = r"/[a-z][a-z0-9_-]*/"
_WEIGHTS = r"weights\.safetensors$"

Images = Literal["data/index.json"]  # the images alone
RunFile = Annotated[str, Field(pattern=rf"^runs{_NAME}encoder\.safetensors$")]
TeacherFile = Annotated[str, Field(pattern=rf"^teachers{_NAME}{_WEIGHTS}")]
TokenizerFile = Annotated[str, Field(pattern=rf"(^|/)tokenizers{_NAME}{_WEIGHTS}")]
