"""The measures of `diagnostics`, which need no label: RankMe (arXiv 2210.02885) and uniformity
(Wang and Isola, arXiv 2005.10242).
"""

from __future__ import annotations

from mimflow.params.fields import Count, Section, Threads


class Diagnostics(Section):
    """`images`: how many training images are measured, at most; RankMe is bounded by it."""

    images: Count
    threads: Threads
