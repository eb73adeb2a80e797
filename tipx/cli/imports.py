"""How a command that takes torch and transformers imports them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """No search for garbage while it is open: imports make hundreds of thousands of objects, and all of them stay.

    What is there at its end is left out of every later search as well.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
