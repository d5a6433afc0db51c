"""Masked image modelling as a reproducible workflow."""

from mimflow import torchvision_ops

torchvision_ops.watch()
