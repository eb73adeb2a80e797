"""The Hugging Face hub, as far as it can be reached."""

import urllib.error
import urllib.request
from contextlib import suppress

from huggingface_hub import constants


def find_hub(repo: str) -> None:
    """Raises OSError at once if the hub cannot be reached; `repo` as in its URLs, e.g. `models/Qwen/Qwen3-8B`.

    Asked by themselves, huggingface_hub and transformers try again for most of a minute.
    """
    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    request = urllib.request.Request(f"{constants.ENDPOINT}/api/{repo}", method="HEAD")  # noqa: S310
    # A hub that answers with a refusal is there; what it refuses is for the library that asks next to say.
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - the endpoint is the user's own setting
