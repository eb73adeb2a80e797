"""What libraries print by themselves."""

import logging

import transformers


def quiet_libraries() -> None:
    """Their progress bars and advice would tear the display; errors still show."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
