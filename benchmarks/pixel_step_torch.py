"""The training step of a U-Net in PyTorch; runs in an environment that has it.

A process that `benchmarks.pixel_step` starts:
`python -m benchmarks.pixel_step_torch THREADS`.
"""

import sys

from benchmarks import rounds


def network(widths: list[int], channels: int, num_classes: int):
    """Returns the network of `zoo.models.segmentation.unet` with a chain for encoder.

    Args:
        widths: Filters of the stages.
        channels: Those of the images.
        num_classes: The number of logits of each pixel.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    def convolutions(before, width):
        found = []
        for inputs in (before, width):
            found += [
                nn.Conv2d(inputs, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        return nn.Sequential(*found)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            before = [channels, *widths[:-1]]
            stages = zip(before, widths, strict=True)
            self.encoder = nn.ModuleList(convolutions(*pair) for pair in stages)
            pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
            self.up = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairs)
            self.decoder = nn.ModuleList(convolutions(2 * b, b) for _, b in pairs)
            self.head = nn.Conv2d(widths[0], num_classes, 1)

        def forward(self, x):
            maps = []
            for index, stage in enumerate(self.encoder):
                x = stage(functional.max_pool2d(x, 2) if index else x)
                maps.append(x)
            for up, convs in zip(self.up, self.decoder, strict=True):
                skip = maps[-2]
                size = skip.shape[2:]
                maps = maps[:-1]
                x = functional.interpolate(up(x), size, mode="bilinear")
                x = convs(torch.cat([skip, x], 1))
            return self.head(x)

    return UNet()


def make(
    widths: list[int],
    shape: tuple,
    num_classes: int,
    batch: int,
    channels_last: bool,
    bfloat16: bool,
):
    """Returns a function that takes a training step.

    Args:
        widths: Filters of the stages.
        shape: Height, width and channels of the images.
        num_classes: The number of logits of each pixel.
        batch: The number of images.
        channels_last: Whether weights and images have the memory format of that name.
        bfloat16: Whether `autocast` computes in bfloat16.
    """
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    height, width, channels = shape
    model = network(widths, channels, num_classes)
    images = torch.randn(batch, channels, height, width)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(-1, num_classes, (batch, height, width))
    weights = torch.linspace(0.5, 1.5, num_classes)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = model(images)
            loss = functional.cross_entropy(logits, labels, weights, ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    rounds.serve(make)
