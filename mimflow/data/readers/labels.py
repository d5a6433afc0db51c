"""Labels as a table writes them, numbers or words, become class numbers with names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_MOST = 100_000  # a larger number is an identifier, not a class


def numbered(
    values: Sequence[int | str | None], given: list[str] | None = None
) -> tuple[list[int], list[str]]:
    """The class of each value and the names of the classes; -1 for None, "" and -1.

    Whole numbers from 0 keep their value; anything else is numbered by its sorted text. `given`
    are names that the source has for whole numbers.
    """
    present = {value for value in values if value is not None and value not in ("", -1, "-1")}
    whole = _whole(present)
    if whole is not None and (given or all(0 <= number < _MOST for number in whole.values())):
        names = given or [str(number) for number in range(max(whole.values(), default=-1) + 1)]
        return [whole.get(v, -1) for v in values], names
    names = sorted(map(str, present))
    place = {name: i for i, name in enumerate(names)}
    return [place[str(v)] if v in present else -1 for v in values], names


def _whole(values: Iterable[int | str | None]) -> dict[int | str | None, int] | None:
    """Each value as a whole number, or None if one is not."""
    found: dict[int | str | None, int] = {}
    for value in values:
        try:
            found[value] = int(value)  # type: ignore[arg-type]
        except ValueError:
            return None
    return found
