"""Memory of one tile, used again by the next."""

import torch
from jaxtyping import Float
from torch import Tensor


class Buffers:
    """Named (rows x columns) tensors whose content lasts until the name is asked for again.

    Tiles made and freed by the thousand leave gaps between the small tensors that stay, and a heap that grows with the
    number of tokens.
    """

    def __init__(self) -> None:
        self.flat: dict[tuple[str, torch.dtype], Tensor] = {}

    def tile(self, name: str, like_NC: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Of the shape of `like_NC`."""
        return self.of(name, like_NC.shape[0], like_NC.shape[1], dtype or like_NC.dtype, like_NC.device)

    def of(self, name: str, rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Uninitialised."""
        need, key = rows * columns, (name, dtype)
        if key not in self.flat or self.flat[key].numel() < need:
            self.flat[key] = torch.empty(need, dtype=dtype, device=device)
        return self.flat[key][:need].view(rows, columns)

    def dot(self, a_NC: Float[Tensor, "N C"], b_NC: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
        """Row-wise inner products. `bmm` needs no tile of products, but is six times slower and less exact."""
        return torch.mul(a_NC, b_NC, out=self.tile("products", a_NC)).sum(-1)
