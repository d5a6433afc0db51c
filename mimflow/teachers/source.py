"""Where a run's method has its teacher's answers from: the teacher itself, or what is stored.

Which one is the path that the run `needs`; the method does not know. It asks `views` for what the
loader makes, and a `Source` for what the teacher says of a batch.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from mimflow.data.augment import Views
from mimflow.params.fields import Augment
from mimflow.teachers.frozen import Seen, Teacher, open_teacher, read_card
from mimflow.teachers.stored import Stored, seen_in, stored_views


class Source(nn.Module):
    """`card`: the teacher's. `norm`: its final norm; `attention`: of the class token, if wanted."""

    def __init__(self, needs: str, norm: bool, attention: bool):
        super().__init__()
        self.norm, self.attention = norm, attention
        self.teacher: Teacher | None = None
        if is_stored(needs):
            facts = Stored(Path(needs)).facts
            self.card = facts["card"]
            if facts["norm"] != norm:
                raise ValueError(f"{needs}: stored with norm {facts['norm']}; needed: {norm}")
        else:
            self.card = read_card(Path(needs))
            self.teacher = open_teacher(Path(needs))
        if attention and not self.card["attention"]:
            raise ValueError(f"{needs}: this teacher has no class attention, which is needed")

    def forward(self, batch: dict[str, Tensor], image: str = "image") -> Seen:
        """What the teacher makes of the view `image` of a batch."""
        if self.teacher is None:
            return seen_in(batch)
        seen: Seen = self.teacher(batch[image], self.norm, self.attention)
        return seen


def is_stored(needs: str) -> bool:
    """Whether `needs` is the index of stored targets, and not a teacher."""
    return needs.endswith("index.json")


def views_with(views: Views, needs: str, seed: int, size: int, augment: Augment) -> Views:
    """`views` of a run, with stored answers where it needs these. Raises ValueError where they are
    of other crops: of another seed, size or augmentation.
    """
    if not is_stored(needs):
        return views
    stored = Stored(Path(needs))
    ours = {"seed": seed, "img_size": size, "augment": augment.model_dump()}
    for key, value in ours.items():
        if stored.facts[key] != value:
            raise ValueError(f"{needs}: made with {key} {stored.facts[key]}; the run has {value}")
    return stored_views(views, stored)
