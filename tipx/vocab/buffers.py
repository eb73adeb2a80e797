"""Memory of one tile, which the next tile uses again."""

import torch
from jaxtyping import Float
from torch import Tensor


class TileBuffers:
    """Named (rows x columns) tensors. The content of a name lasts until the name is asked for again.

    Without them every tile would allocate and free large tensors between small ones that stay. The heap would then have
    gaps and grow with the number of tokens.
    """

    def __init__(self) -> None:
        self.flat: dict[tuple[str, torch.dtype], Tensor] = {}

    def like(self, name: str, like_NC: Tensor, dtype: torch.dtype | None = None) -> Float[Tensor, "N C"]:
        """A buffer of the shape of `like_NC`, uninitialised."""
        return self.get(name, like_NC.shape[0], like_NC.shape[1], dtype or like_NC.dtype, like_NC.device)

    def get(self, name: str, rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A buffer of shape (rows, columns), uninitialised."""
        need, key = rows * columns, (name, dtype)
        if key not in self.flat or self.flat[key].numel() < need:
            self.flat[key] = torch.empty(need, dtype=dtype, device=device)
        return self.flat[key][:need].view(rows, columns)
