"""From raw images to what a network sees: a whole batch at a time, on the device where the batch is.

In DARTS' order (quark0/darts, cnn/utils.py): crop, flip, scale to [0, 1], normalise, cutout. What is random is drawn
before, on the CPU, so that it does not depend on the device.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Draws(NamedTuple):
    """What is random about the images of a batch, int64 [B] each.

    Attributes:
        top, left: first row and column of the crop, in the padded image.
        flip: 1 for an image that is mirrored, 0 for the others.
        centre_y, centre_x: row and column about which a square is erased.
    """

    top: Tensor
    left: Tensor
    flip: Tensor
    centre_y: Tensor
    centre_x: Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random crop and horizontal flip of raw images, and cutout of normalised ones.

    The first two are torchvision's `RandomCrop(size, padding=crop_padding)` and `RandomHorizontalFlip()`, a draw an
    image. Cutout (DeVries & Taylor, arXiv 1708.04552) is that of quark0/darts, cnn/utils.py: a square about a uniformly
    drawn pixel, clipped where it leaves the image; of 256 pixels at length 16 on 32x32, 196 are erased on average.
    (torchvision's `RandomErasing` never clips, so it erases more.)

    Attributes:
        crop_padding: black pixels on each side of an image that is cropped to its own size; 0 for no crop.
        flip: whether half the images are mirrored.
        cutout_length: side in pixels of the erased square, 0 for none. It reaches from `cutout_length // 2` pixels
            before its centre (included) to `cutout_length // 2` after it (excluded).

    Raises:
        ValueError: a length is negative.
    """

    crop_padding: int
    flip: bool
    cutout_length: int = 0

    def __post_init__(self) -> None:
        for setting in ("crop_padding", "cutout_length"):
            if getattr(self, setting) < 0:
                raise ValueError(f"`{setting}` must be 0 pixels or more, got {getattr(self, setting)}; 0 leaves it out")

    def draw(self, num_images: int, image_size: int, generator: torch.Generator) -> Draws:
        """Draw for a batch of square images, every number from its whole range.

        What is switched off takes its numbers too, so that cutout does not change crops.
        """

        def integers(below: int) -> Tensor:
            return torch.randint(below, (num_images,), generator=generator)

        offsets = 2 * self.crop_padding + 1
        return Draws(
            top=integers(offsets),
            left=integers(offsets),
            flip=integers(2) if self.flip else integers(2) * 0,
            centre_y=integers(image_size),
            centre_x=integers(image_size),
        )

    def crop_and_flip(self, images: Tensor, draws: Draws) -> Tensor:
        """Raw images [B, C, H, W] of any dtype, cropped and flipped; `draws` lie on the same device."""
        padding = self.crop_padding
        if padding == 0 and not self.flip:
            return images
        height, width = images.shape[-2:]
        padded = F.pad(images, (padding,) * 4)
        # All crops [2, B, C, 2P + 1, 2P + 1, H, W] of the images and of their mirror images, as a view: choosing one an
        # image copies whole rows, which on a CPU is three times as fast as an index for every pixel.
        crops = torch.stack((padded, padded.flip(-1))).unfold(3, height, 1).unfold(4, width, 1)
        # In the mirror image the crop stands as far from the other side.
        left = torch.where(draws.flip == 1, 2 * padding - draws.left, draws.left)
        number = torch.arange(len(images), device=images.device)
        return crops[draws.flip, number, :, draws.top, left]

    def cut_out(self, images: Tensor, draws: Draws) -> Tensor:
        """Normalised images [B, C, H, W], their squares set to 0, the mean colour; `draws` lie on the same device."""
        if self.cutout_length == 0:
            return images
        reach = self.cutout_length // 2
        height, width = images.shape[-2:]

        def inside(centre: Tensor, size: int) -> Tensor:  # [B, size]
            distance = torch.arange(size, device=images.device) - centre.unsqueeze(1)
            return (distance >= -reach) & (distance < reach)

        erased = inside(draws.centre_y, height).unsqueeze(2) & inside(draws.centre_x, width).unsqueeze(1)
        # Not masked_fill, which takes a CPU twenty times as long.
        return images * erased.logical_not().unsqueeze(1).to(images.dtype)


class Normalization:
    """(image - mean) / std of every channel, in float32, of images scaled to [0, 1] if they are uint8.

    Args:
        mean, std: a number a channel, of pixels in [0, 1].
        device: where the images will be.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        # One product and one sum: image * scale + shift.
        scale = [1 / s for s in std]
        shift = [-m / s for m, s in zip(mean, std, strict=True)]
        self._scale, self._scale_of_bytes, self._shift = (
            torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
            for values in (scale, [s / 255 for s in scale], shift)
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Raw images [B, C, H, W], uint8 or floating point in [0, 1] -> normalised float32; the input is left alone."""
        scale = self._scale_of_bytes if images.dtype == torch.uint8 else self._scale
        return images.to(torch.float32).mul(scale).add_(self._shift)
