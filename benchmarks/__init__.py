import mimflow  # noqa: F401  (before timm: see mimflow/torchvision_ops.py)
