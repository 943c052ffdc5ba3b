"""Checks of the arguments that users pass to networks and to functions of networks."""

import math
import operator
from typing import Any

import torch
from torch import Generator, Tensor, nn

from draw.errors import ConfigError, DataError

INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
TOLERANCE = 1e-3  # a resized picture may exceed [0, 1] by rounding


def check_network(model: object, kind: str, advice: str = "") -> None:
    """Check that a model is of the right kind, which may be compiled or wrapped.

    Raises:
        ConfigError: if its configuration is not that of a network of this kind; the message ends
            with `advice`.

    >>> check_network(nn.Linear(2, 3), "DRAW", "; load one with draw.load")
    Traceback (most recent call last):
    draw.errors.ConfigError: the model is a Linear, not a DRAW; load one with draw.load
    """
    given = getattr(getattr(model, "config", None), "network", type(model).__name__)
    if given != kind:
        raise ConfigError(f"the model is a {given}, not a {kind}{advice}")


def check_images(x: Tensor, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    """Check the shape, the dtype and the range of a batch of images.

    Args:
        x: the batch.
        shape: the (C, H, W) that the model takes.
        dtype: the dtype of the parameters. Under autocast, its dtype is allowed as well.

    Raises:
        ConfigError: if the shape differs.
        DataError: if it is not a tensor, if the dtype differs, or if values are NaN or outside
            [0, 1]. Values are checked on the CPU only, because reading them would wait for a GPU.

    >>> check_images(torch.ones(5, 1, 8, 8), (1, 8, 8), torch.float32)
    """
    _check_is_tensor(x)
    if tuple(x.shape[1:]) != shape:
        raise ConfigError(
            f"the images have shape {tuple(x.shape)}; this model takes "
            f"(batch, {', '.join(map(str, shape))})"
        )
    if not _is_dtype_allowed(x, dtype):
        raise DataError(_describe(x, dtype))
    values = value_range(x)
    if values and not (values[0] >= -TOLERANCE and values[1] <= 1 + TOLERANCE):  # or NaN
        raise DataError(_describe(x, x.dtype))


def check_noise(
    name: str, noise: Tensor, batch_size: int | None, like: Tensor, latent_size: int
) -> None:
    """Check the shape and the dtype of noise or latents.

    Args:
        name: the name of the argument, for the message.
        noise: the tensor, which must have the shape [T, B, Z] with at least one glimpse.
        batch_size: the number of images B; None allows any.
        like: a parameter of the model.
        latent_size: Z.

    Raises:
        ConfigError: if it is not a tensor, or if the shape or the dtype differs. Other shapes might
            broadcast.
    """
    if not isinstance(noise, Tensor):
        raise ConfigError(f"{name} is of type {type(noise).__name__}; pass a torch.Tensor")
    fits = noise.dim() == 3 and noise.shape[2] == latent_size
    if not fits or batch_size not in (None, noise.shape[1]) or len(noise) == 0:
        images, B = ("", "B") if batch_size is None else (f"for {batch_size} images ", batch_size)
        raise ConfigError(
            f"{name} has shape {tuple(noise.shape)}; {images}it must be (T, {B}, {latent_size}) "
            f"with at least one glimpse T"
        )
    if not _is_dtype_allowed(noise, like.dtype):
        raise ConfigError(
            f"{name} has dtype {_name(noise.dtype)}; this model takes {_name(like.dtype)}: "
            f"pass {name}.to({like.dtype})"
        )


def check_generator(generator: object) -> None:
    """Check that an argument is a random generator or None.

    Raises:
        ConfigError: if it is anything else, such as a seed.

    >>> check_generator(7)
    Traceback (most recent call last):
    draw.errors.ConfigError: generator is 7; pass torch.Generator().manual_seed(seed)
    """
    if generator is not None and not isinstance(generator, Generator):
        raise ConfigError(f"generator is {generator!r}; pass torch.Generator().manual_seed(seed)")


def to_count(name: str, value: Any, least: int = 1) -> int:
    """Convert an integer of any type, such as NumPy's.

    Raises:
        ConfigError: if it is not an integer, or is less than `least`.

    >>> to_count("steps", 2.5, least=2)
    Traceback (most recent call last):
    draw.errors.ConfigError: steps is 2.5; it must be an integer of at least 2
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = least - 1
    if count < least:
        raise ConfigError(f"{name} is {value!r}; it must be an integer of at least {least}")
    return count


def check_mask(mask: Tensor, x: Tensor) -> None:
    """Check that a mask is boolean and broadcasts to images.

    Raises:
        ConfigError: if it is not a boolean tensor or does not broadcast.
        DataError: if the images are not a tensor.

    >>> check_mask(torch.arange(8) < 4, torch.rand(5, 1, 8, 8))
    """
    _check_is_tensor(x)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        given = _name(mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__
        raise ConfigError(f"the mask is {given}; it must be a boolean tensor, True where known")
    try:
        shape = torch.broadcast_shapes(mask.shape, x.shape)  # type: ignore[no-untyped-call]
    except RuntimeError:
        shape = None
    if shape != x.shape:
        raise ConfigError(
            f"the mask has shape {tuple(mask.shape)}, which does not broadcast to the images' "
            f"{tuple(x.shape)}; pass (H, W), or (B, 1, H, W) for a mask per image"
        )


def _check_is_tensor(x: object) -> None:
    if not isinstance(x, Tensor):
        raise DataError(f"the images are a {type(x).__name__}; pass torch.as_tensor(images)")


def value_range(x: Tensor) -> tuple[float, float] | None:
    """Return the smallest and largest value of a plain tensor on the CPU, otherwise None.

    Both are NaN if any value is NaN. The result is also None while a function is traced or
    transformed, and for empty tensors.
    """
    if torch.compiler.is_compiling():
        return None
    try:
        is_traced = (
            torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
            or torch._C._are_functorch_transforms_active()
            or torch._C._len_torch_dispatch_stack()
        )
    except AttributeError:  # a later PyTorch without one of the private names
        return None
    is_plain = type(x) in (Tensor, nn.Parameter) and x.device.type == "cpu"
    if is_traced or not is_plain or x.is_complex() or not x.numel():
        return None
    x = x.detach()
    low, high = (x if x.dtype == torch.float32 else x.double()).aminmax()
    return float(low), float(high)


def _is_dtype_allowed(x: Tensor, dtype: torch.dtype) -> bool:
    """Return whether operations with parameters of a dtype accept a tensor."""
    if x.dtype == dtype:
        return True
    kind = x.device.type
    return torch.is_autocast_enabled(kind) and x.dtype == torch.get_autocast_dtype(kind)


def _describe(x: Tensor, dtype: torch.dtype) -> str:
    """Return the message for images of a wrong dtype or range: what was given and how to fix it."""
    values = value_range(x)
    low, high = values or (0, 255 if x.dtype in INTEGERS else 1)
    given = f" and range {low:.4g} to {high:.4g}" if values else ""
    if math.isnan(low):
        return (
            f"the images have dtype {_name(x.dtype)} and contain NaN; they must be {_name(dtype)} "
            f"in [0, 1]: remove the images with NaN, or replace it with torch.nan_to_num"
        )
    convert = "float()" if dtype == torch.float32 else f"to({dtype})"
    fix = "images" if x.dtype == dtype else f"images.{convert}"
    if low >= -TOLERANCE and high <= 1 + TOLERANCE:
        fix = f"pass {fix}"
    elif low >= -1 - TOLERANCE and high <= 1 + TOLERANCE:
        fix = f"pass ({fix} + 1) / 2"
    elif low >= 0 and high <= 255:
        fix = f"pass {fix} / 255"
    else:
        fix = f"scale them to that range and pass {fix}"
    return (
        f"the images have dtype {_name(x.dtype)}{given}; they must be {_name(dtype)} in [0, 1]: "
        f"{fix}"
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
