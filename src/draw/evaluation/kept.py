"""What was measured, image by image, on disk: a stopped evaluation goes on from there."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from draw.errors import ConfigError, ModelError, RunError
from draw.files import is_vacant, read_json, write_atomic
from draw.processes import Group
from draw.weights import read_tensors

ABOUT = "evaluation.json"


class Kept:
    """A folder with a file for each part of the images, and one that tells what is measured.

    Args:
        folder: this evaluation's own; made if it is not there.
        about: all that decides the values, as plain JSON.
        shapes: of one image's values, by name.
        group: the processes that share the folder.

    Raises:
        RunError: the folder holds something else.
    """

    def __init__(
        self, folder: Path, about: dict[str, Any], shapes: dict[str, tuple[int, ...]], group: Group
    ) -> None:
        self.folder, self.shapes = folder, shapes
        with group.one_first():
            was_vacant = is_vacant(folder)
            if not (folder / ABOUT).exists():  # nor made by another machine in the meantime
                if not was_vacant:
                    raise RunError(
                        f"{folder} exists and is not empty; choose another folder with --out"
                    )
                write_atomic(folder / ABOUT, (json.dumps(about, indent=2) + "\n").encode())
            before = self._read_about()
            if before != about:
                known = before if isinstance(before, dict) else {}
                changed = ", ".join(key for key in about if known.get(key) != about[key])
                raise RunError(
                    f"{folder} keeps another evaluation ({changed or 'of another version'}); "
                    f"choose another folder with --out"
                )

    def _read_about(self) -> Any:
        try:
            return read_json(self.folder / ABOUT)
        except ConfigError as error:
            raise RunError(f"{error}; choose another folder with --out") from error

    def read(self, part: int, images: int) -> dict[str, Tensor] | None:
        """The values of a part of so many images, [..., B] each; None if not measured yet.

        Raises:
            RunError: its file is damaged.
        """
        path = self._path(part)
        if not path.exists():
            return None
        expected = {
            name: torch.empty(*shape, images, device="meta") for name, shape in self.shapes.items()
        }
        try:
            return read_tensors(path, expected)
        except ModelError as error:
            raise RunError(f"{error}; delete it to measure those images again") from error

    def write(self, part: int, values: dict[str, Tensor]) -> None:
        """Keep the values of a part."""
        whole = {name: value.contiguous() for name, value in values.items()}
        write_atomic(self._path(part), safetensors.torch.save(whole))

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.safetensors"
