"""Models saved in a folder or on the Hugging Face Hub, as config.json and model.safetensors.

Loading is stricter than in huggingface_hub: every key and every tensor must be known and present,
pickles are never read, and nothing is printed.
"""

from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from huggingface_hub import PyTorchModelHubMixin, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from draw.errors import ConfigError, ModelError
from draw.storage.files import dump_json, expand_user, read_json, write_atomic
from draw.storage.json_config import TYPE, from_dict, to_dict
from draw.storage.tensors import read_tensors

M = TypeVar("M", bound="Pretrained")

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CARD = {
    "library_name": "draw",
    "license": "mit",
    "paper_url": "https://arxiv.org/abs/1502.04623",
}


class Pretrained(PyTorchModelHubMixin):
    """Add `from_pretrained`, `save_pretrained` and `push_to_hub` to a module.

    A subclass names the dataclass of its configuration, takes an instance of it as its only
    argument and keeps it as `self.config`.
    """

    _config_type: type

    def __init_subclass__(cls, *, config_type: type | None = None, **card: Any) -> None:
        super().__init_subclass__(**CARD | card)
        if config_type is not None:  # a subclass of a model inherits its config type
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
        """Load a saved model from a folder or from the Hugging Face Hub, in evaluation mode.

        Raises:
            ModelError: if a file is missing, corrupt or describes another model.
        """
        config_file, weights_file = locate(
            str(pretrained_model_name_or_path),
            revision=revision,
            token=token,
            cache_dir=None if cache_dir is None else expand_user(cache_dir),
            force_download=force_download,
            local_files_only=local_files_only,
        )
        try:
            config: Any = from_dict(cls._config_type, read_json(config_file), CONFIG)
        except ConfigError as error:
            raise ModelError(
                f"{config_file} does not describe a {cls.__name__}: {error}"
            ) from error
        with torch.device("meta"):  # takes no memory, even for a huge configuration
            model: Any = cls(config)
        weights = read_tensors(weights_file, model.state_dict())
        model.load_state_dict(weights, assign=True)
        return model.eval()  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors atomically.

        `save_pretrained` does the same and adds a model card.
        """
        write_atomic(folder / CONFIG, dump_json(to_dict(self.config)).encode())  # type: ignore
        tensors = {k: v.contiguous() for k, v in self.state_dict().items()}  # type: ignore
        write_atomic(folder / WEIGHTS, safetensors.torch.save(tensors, {"format": "pt"}))

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write config.json, model.safetensors and a model card.

        See `huggingface_hub.PyTorchModelHubMixin.save_pretrained` for the options.
        """
        result: str | None = super().save_pretrained(expand_user(save_directory), **options)
        return result

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory)


def saved_type(name: str | Path) -> str | None:
    """Return the model type recorded in config.json, such as "DRAW", or None if there is none.

    Raises:
        ModelError: if there is no such model.
    """
    config_file, _ = locate(str(name))
    try:
        values = read_json(config_file)
    except ConfigError:
        return None
    kind = values.get(TYPE) if isinstance(values, dict) else None
    return kind if isinstance(kind, str) else None


def locate(name: str, **options: Any) -> list[Path]:
    """Find the two files of a model in a folder, or download them from the Hugging Face Hub.

    Raises:
        ModelError: if a file is missing, or if the Hub has no such model or cannot be reached.
    """
    folder = expand_user(name)
    if (folder / CONFIG).is_file() or (folder / WEIGHTS).is_file():
        files = [folder / CONFIG, folder / WEIGHTS]
    elif _is_hub_id(str(folder)):
        files = _download(name, **options)
    elif folder.exists():
        raise ModelError(f"{name} is not a saved model: it holds no {CONFIG}")
    else:
        raise ModelError(f"{name} does not exist and is not a Hugging Face Hub id (owner/name)")
    for file in files:
        if not file.is_file():
            raise ModelError(f"{name} is not a saved model: it holds no {file.name}")
    return files


def _is_hub_id(name: str) -> bool:
    """Return whether a name has the form owner/name and no such path exists here."""
    parts = Path(name).parts
    return len(parts) == 2 and parts[0] not in (".", "..", "/") and not Path(name).exists()


def _download(
    name: str, *, revision: str | None = None, local_files_only: bool = False, **options: Any
) -> list[Path]:
    """Download the two files of a model from the hub, or find them in its cache."""
    if not local_files_only:
        try:
            url = hf_hub_url(name, CONFIG, revision=revision)
            get_hf_file_metadata(url, token=options.get("token"))
        except (HfHubHTTPError, HFValidationError) as error:
            raise ModelError(
                f"{name} is neither a local folder nor a model on the Hugging Face Hub"
            ) from error
        except Exception:  # no network: look in the cache without retries
            local_files_only = True
    options["local_files_only"] = local_files_only
    try:
        return [
            Path(hf_hub_download(name, file, revision=revision, **options))
            for file in (CONFIG, WEIGHTS)
        ]
    except Exception as error:  # huggingface_hub raises many kinds when a connection breaks
        raise ModelError(
            f"{name} is not a local folder, and the Hub has no such model or cannot be reached"
        ) from error
