"""Cutout as DARTS defines it; torchvision's RandomErasing never clips, so it erases more."""

import torch
from torch import Tensor, nn


class Cutout(nn.Module):
    """Set a square about a uniformly drawn centre pixel to 0, clipped where it leaves the image.

    It reaches from `length // 2` pixels before the centre (included) to `length // 2` after it (excluded): of 256
    pixels at length 16 on 32x32, 196 are erased on average. Applied after normalisation, 0 is the mean colour.

    Source: DeVries & Taylor, arXiv 1708.04552, as in quark0/darts, cnn/utils.py.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(
                f"`cutout_length` must be 1 pixel or more, got {length}; 0 in a configuration leaves it out"
            )
        self.length = length

    def forward(self, images: Tensor) -> Tensor:
        """Erase one square of images [..., H, W], the same for all of them; the input is left as it was."""
        height, width = images.shape[-2:]
        y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
        reach = self.length // 2
        erased = images.clone()
        # A slice may end beyond the image, but must not start before it: negative indices count from the end.
        erased[..., max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach] = 0
        return erased

    def extra_repr(self) -> str:
        """Show the length in a printed pipeline."""
        return f"length={self.length}"
