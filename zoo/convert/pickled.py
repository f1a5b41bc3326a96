"""PyTorch's own files: the one place that reads a pickle, and only tensors in it."""

import os
import pickle

import numpy as np

WRAPPERS = "state_dict", "model"  # Trainings put the weights into one of these.


def read_pth(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the tensors of a `.pth` file; nothing else in it is unpickled.

    Args:
        path: Of a file that `torch.save` wrote.

    Returns:
        Arrays by name.

    Raises:
        ImportError: If PyTorch is not installed.
        ValueError: If the file holds anything but named tensors.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"'{path}' is a file of PyTorch, which reads it: pip install torch. A "
            "`.safetensors` file needs no PyTorch."
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"'{path}' is not a file of PyTorch, or holds other objects than tensors, "
            f"which are not unpickled: {str(error).splitlines()[0]}"
        ) from error
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    tensors = isinstance(state, dict) and [torch.is_tensor(v) for v in state.values()]
    if not tensors or not all(tensors):
        raise ValueError(
            f"'{path}' is not a state dict: expected tensors by name, found "
            f"{type(state).__name__}."
        )
    return {key: _to_numpy(tensor) for key, tensor in state.items()}


def _to_numpy(tensor):
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
