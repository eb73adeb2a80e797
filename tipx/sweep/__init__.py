"""Sweeps: a question as a grid of runs, what of it is done, and doing the rest by Hydra's launchers."""
