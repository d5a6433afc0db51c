"""How a training can end other than done."""


class Diverged(Exception):
    """The loss or a gradient is not finite: exit code 3."""


class Interrupted(Exception):
    """Stopped by a signal or a deadline with its state saved: exit code 75."""


class Superseded(ValueError):
    """Another process has taken the run over: exit code 2."""
