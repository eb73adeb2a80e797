"""Equality of mathematical answers in LaTeX. What is not understood is never dropped: it is compared as it stands."""
