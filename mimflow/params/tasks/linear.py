"""The protocol of `linear`: logistic regression on frozen, standardised features, as scikit-learn's
L-BFGS solves it."""

from __future__ import annotations

from mimflow.params.fields import Count, Positive, Section, Threads


class Linear(Section):
    """`c`: inverse strength of the L2 penalty; `max_iter`: a budget, the same for every encoder."""

    c: Positive
    max_iter: Count
    threads: Threads
