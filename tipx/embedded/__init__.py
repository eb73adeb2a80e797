"""The pairs of models that come with the package: toy tasks, and teachers and students small enough for a laptop.

`build`, `tuning`, `card`, `tokenizer` and `draws` are the frame of both pairs. A folder below holds what one pair adds:
its task family, its sizes, the words of its card, its data as specs, and in `pair/` the models as they are shipped.
"""
