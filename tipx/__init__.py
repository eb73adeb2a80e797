"""tipx: which tokens matter in on-policy distillation."""

__version__ = "0.1.0"
