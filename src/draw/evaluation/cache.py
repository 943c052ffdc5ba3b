"""Store the results of each batch, so that an interrupted evaluation can be resumed."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from draw.distributed import World
from draw.errors import ConfigError, ModelError, RunError
from draw.storage.files import dump_json, expand_user, is_vacant, read_json, write_atomic
from draw.storage.tensors import read_tensors

SETTINGS = "evaluation.json"


class EvalCache:
    """A folder with the results of an evaluation, one file per batch.

    Args:
        settings: everything that determines the results, as JSON values.
        shapes: the shape of each quantity per image, by name.

    Raises:
        RunError: if the folder holds other files or a different evaluation.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        shapes: dict[str, tuple[int, ...]],
        world: World,
    ) -> None:
        self.folder = folder = expand_user(folder)
        self.shapes = shapes
        with world.local_main_first():
            was_vacant = is_vacant(folder)
            if not (folder / SETTINGS).exists():  # another machine may have just written it
                if not was_vacant:
                    raise RunError(
                        f"{folder} exists and is not empty; choose another folder with --out"
                    )
                write_atomic(folder / SETTINGS, dump_json(settings).encode())
            try:
                before = read_json(folder / SETTINGS)
            except ConfigError as error:
                raise RunError(f"{error}; choose another folder with --out") from error
            if before != json.loads(dump_json(settings)):
                known = before if isinstance(before, dict) else {}
                changed = ", ".join(key for key in settings if known.get(key) != settings[key])
                reason = f"different {changed}" if changed else "of another version"
                raise RunError(
                    f"{folder} holds a different evaluation ({reason}); choose another folder with "
                    f"--out"
                )

    def read(self, batch: int, images: int) -> dict[str, Tensor] | None:
        """Read the results of a batch, each [..., B], or return None if it is not evaluated yet.

        Raises:
            RunError: if the file is damaged.
        """
        path = self._path(batch)
        if not path.exists():
            return None
        expected = {
            name: torch.empty(*shape, images, device="meta") for name, shape in self.shapes.items()
        }
        try:
            return read_tensors(path, expected)
        except ModelError as error:
            raise RunError(f"{error}; delete it to evaluate its images again") from error

    def write(self, batch: int, values: dict[str, Tensor]) -> None:
        """Write the results of a batch."""
        contiguous = {name: value.contiguous() for name, value in values.items()}
        write_atomic(self._path(batch), safetensors.torch.save(contiguous))

    def _path(self, batch: int) -> Path:
        return self.folder / f"part-{batch:05d}.safetensors"
