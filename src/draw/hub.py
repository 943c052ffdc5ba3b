"""Models saved in a folder or on the Hugging Face hub: config.json and model.safetensors.

Stricter than the library's mixin: every key and every tensor must be known and present, pickles
are never read, and nothing is printed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from huggingface_hub import PyTorchModelHubMixin, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from draw.errors import ConfigError, ModelError
from draw.files import from_dict, knows_keys, read_json, write_atomic
from draw.weights import read_tensors

M = TypeVar("M", bound="Pretrained")

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CARD = {
    "library_name": "draw",
    "license": "mit",
    "paper_url": "https://arxiv.org/abs/1502.04623",
}


class Pretrained(PyTorchModelHubMixin):
    """`from_pretrained`, `save_pretrained` and `push_to_hub` for a module made from a config.

    A subclass names the dataclass of its configuration, keeps one as `self.config`, and takes it
    as the only argument.
    """

    _config_type: type

    def __init_subclass__(cls, *, config_type: type | None = None, **card: Any) -> None:
        super().__init_subclass__(**CARD | card)
        if config_type is not None:  # a subclass of a model keeps the model's
            cls._config_type = config_type

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls: type[M],
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> M:
        """Load a saved model from a folder or from the Hugging Face hub, in evaluation mode.

        Raises:
            ModelError: a file is missing, corrupt or does not fit.
        """
        config_file, weights_file = _locate(
            str(pretrained_model_name_or_path),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        try:
            config: Any = from_dict(cls._config_type, read_json(config_file), CONFIG)
        except ConfigError as error:
            raise ModelError(f"{config_file} does not describe a model: {error}") from error
        with torch.device("meta"):  # whatever size it claims, it takes no memory
            model: Any = cls(config)
        weights = read_tensors(weights_file, model.state_dict())
        model.load_state_dict(weights, assign=True)
        return model.eval()  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors, each whole or not at all.

        `save_pretrained` does the same and adds a model card.
        """
        config = json.dumps(asdict(self.config), indent=2) + "\n"  # type: ignore
        write_atomic(folder / CONFIG, config.encode())
        tensors = {k: v.contiguous() for k, v in self.state_dict().items()}  # type: ignore
        write_atomic(folder / WEIGHTS, safetensors.torch.save(tensors, {"format": "pt"}))

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory)


def load_fitting(networks: Sequence[type[M]], name: str | Path) -> M:
    """A saved model, as that one of several classes whose configuration has its keys.

    Raises:
        ModelError: see `from_pretrained`.
    """
    config_file, _ = _locate(str(name))
    try:
        values = read_json(config_file)
    except ConfigError:
        values = None  # what is wrong with it, whoever loads it will say
    fitting = [network for network in networks if knows_keys(network._config_type, values)]
    return (*fitting, networks[0])[0].from_pretrained(config_file.parent)


def _locate(name: str, **options: Any) -> list[Path]:
    """The two files of a model, from a folder or fetched from the hub."""
    folder = Path(name)
    if folder.is_dir():
        files = [folder / CONFIG, folder / WEIGHTS]
    elif folder.exists() or folder.parent.is_dir():
        raise ModelError(f"{name} is not a run folder or a saved model's folder")
    else:
        files = _fetch(name, **options)
    for file in files:
        if not file.is_file():
            raise ModelError(f"{name} is not a saved model: it holds no {file.name}")
    return files


def _fetch(
    name: str, *, revision: str | None = None, local_files_only: bool = False, **options: Any
) -> list[Path]:
    """The same from the hub, or as it was fetched before."""
    if not local_files_only:
        try:
            url = hf_hub_url(name, CONFIG, revision=revision)
            get_hf_file_metadata(url, token=options.get("token"))
        except (HfHubHTTPError, HFValidationError) as error:
            raise ModelError(f"{name} is no folder here, and the hub has no such model") from error
        except Exception:  # no network: without retries, see whether it was fetched before
            local_files_only = True
    options["local_files_only"] = local_files_only
    try:
        return [
            Path(hf_hub_download(name, file, revision=revision, **options))
            for file in (CONFIG, WEIGHTS)
        ]
    except Exception as error:  # whatever the hub's client raises where a connection breaks
        raise ModelError(
            f"{name} is no folder here, and the hub gives no such model or cannot be reached"
        ) from error
