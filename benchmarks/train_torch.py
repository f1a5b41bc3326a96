"""The training step of PyTorch and timm; runs in an environment that has them.

A process that `benchmarks.train` starts: `python -m benchmarks.train_torch THREADS`.
"""

import sys

from benchmarks import rounds


def make(network: str, shape: tuple, batch: int, channels_last: bool, bfloat16: bool):
    """Returns a function that takes a training step.

    Args:
        network: Name in timm.
        shape: Height, width and channels of the images.
        batch: The number of images.
        channels_last: Whether weights and images have the memory format of that name.
        bfloat16: Whether `autocast` computes in bfloat16.
    """
    import timm
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    height, width, channels = shape
    model = timm.create_model(network, num_classes=10, in_chans=channels)
    # The stem for small images, as in ours.
    model.conv1 = torch.nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    model.maxpool = torch.nn.Identity()
    images = torch.randn(batch, channels, height, width)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4
    )

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    rounds.serve(make)
