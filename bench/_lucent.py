"""Lucent's loop of feature visualization in PyTorch, written out: what our steps are compared with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def lucent(module: Any, size: int, channels_last: bool, chosen: int, device: Any = "cpu") -> Any:
    """A step of Lucent's loop for one class, on the device: Fourier, colours, warp, network, backward, Adam."""
    import torch

    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    scale = torch.tensor(1 / np.maximum(frequency, 1 / size) / 4, dtype=torch.float32, device=device)
    values = (torch.randn(1, 3, *scale.shape, 2, device=device) * 0.01).requires_grad_(True)
    root = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    matrix = torch.tensor(root / np.linalg.norm(root, axis=0).max(), dtype=torch.float32, device=device)
    optimiser = torch.optim.Adam([values], lr=0.05)
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    for parameter in module.parameters():
        parameter.requires_grad_(False)

    def step() -> None:
        optimiser.zero_grad()
        plane = torch.fft.irfft2(torch.view_as_complex(values) * scale, s=(size, size), norm="ortho")
        seen = torch.sigmoid(torch.einsum("ck,nkhw->nchw", matrix, plane))
        angle, zoom = np.random.uniform(-0.17, 0.17), np.random.uniform(0.9, 1.1)
        shift = np.random.randint(-8, 9, 2) / size * 2
        turn = [[math.cos(angle), math.sin(angle), shift[0]], [-math.sin(angle), math.cos(angle), shift[1]]]
        theta = torch.tensor([turn], dtype=torch.float32, device=device)
        theta[:, :, :2] /= zoom
        grid = torch.nn.functional.affine_grid(theta, [1, 3, size, size], align_corners=False)
        warped = torch.nn.functional.grid_sample(seen - 0.5, grid, align_corners=False) + 0.5
        x = (warped * 255 - 120) / 60
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        (-module(x)[:, chosen].mean()).backward()
        optimiser.step()

    return step
