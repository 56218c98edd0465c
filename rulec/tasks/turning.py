"""Images turned about their middle, by interpolation between the four nearest pixels; beyond the edge they are zero."""

from __future__ import annotations

import torch
from torch import Tensor


def turned(images: Tensor, angle: Tensor) -> Tensor:
    """Turn images (..., channels, height, width) by angles in radians that broadcast against their leading axes."""
    height, width = images.shape[-2:]
    down = torch.arange(height, dtype=images.dtype).view(-1, 1) - (height - 1) / 2
    right = torch.arange(width, dtype=images.dtype) - (width - 1) / 2
    angle = angle.to(images.dtype)[..., None, None]
    row = torch.cos(angle) * down + torch.sin(angle) * right + (height - 1) / 2
    column = torch.cos(angle) * right - torch.sin(angle) * down + (width - 1) / 2
    total = torch.zeros_like(images)
    flat = images.flatten(-2)
    for r in (row.floor(), row.floor() + 1):
        for c in (column.floor(), column.floor() + 1):
            share = (1 - (row - r).abs()) * (1 - (column - c).abs())
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            place = (r.clamp(0, height - 1) * width + c.clamp(0, width - 1)).long()
            index = place.flatten(-2).unsqueeze(-2)  # the same for all channels
            taken = torch.gather(flat, -1, index.expand(*flat.shape[:-1], -1)).unflatten(-1, (height, width))
            total = total + taken * torch.where(inside, share, torch.zeros_like(share)).unsqueeze(-3)
    return total
