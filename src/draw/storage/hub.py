"""Models saved in a folder or on the Hugging Face Hub, as config.json and model.safetensors.

Loading is stricter than in huggingface_hub: by default, the files must hold exactly the expected
keys and tensors. Pickles are never read, and nothing is printed.
"""

import logging
import re
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from huggingface_hub import PyTorchModelHubMixin, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from draw.errors import ConfigError, DrawError, ModelError, one_line
from draw.storage import card
from draw.storage.files import dump_json, expand_user, read_json, write_atomic
from draw.storage.json_config import TYPE, from_dict, to_dict
from draw.storage.run_folder import RunFolder
from draw.storage.tensors import read_tensors

log = logging.getLogger("draw")

CONFIG, WEIGHTS = "config.json", "model.safetensors"
HUB_ID = re.compile(r"(?!\.{1,2}/)[^/]+/[^/]+")  # owner/name
CARD = {
    "library_name": "draw",
    "model_card_template": card.TEMPLATE,
}


class Pretrained(PyTorchModelHubMixin):
    """A mixin with `from_pretrained`, `save_pretrained` and `push_to_hub`.

    A subclass passes the dataclass of its configuration as `config_type`, takes an instance of it
    as its only argument and stores it as `self.config`.
    """

    _config_type: type

    def __init_subclass__(cls, *, config_type: type | None = None, **about: Any) -> None:
        super().__init_subclass__(**CARD | about)
        if config_type is not None:  # a subclass of a model inherits its config type
            cls._config_type = config_type

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        map_location: str | torch.device = "cpu",
        strict: bool = True,
    ) -> Self:
        """Load a saved model from a folder or from the Hugging Face Hub, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder, or the id of a model on the Hub (owner/name).
            revision: a branch, tag or commit of the Hub.
            token: an access token of the Hub; True uses the one saved on this machine.
            cache_dir: the folder for downloaded files.
            force_download: download the files even if they are cached.
            local_files_only: use only cached files, and do not access the network.
            map_location: the device of the loaded model.
            strict: require the file to hold exactly the model's tensors. With False, unknown
                tensors are ignored and missing ones keep their random initial values; both are
                logged. Shapes must agree in either case, as in `load_state_dict`.

        Raises:
            ModelError: if a file is missing or corrupt, or describes a different model.
            ConfigError: if the device is unknown or not available.
        """
        try:
            device = torch.empty(0, device=map_location).device
        except (RuntimeError, AssertionError, TypeError) as error:
            raise ConfigError(f"map_location is {map_location!r}: {one_line(error)}") from error
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
        weights = read_tensors(weights_file, model.state_dict(), strict=strict)
        if missing := model.state_dict().keys() - weights.keys():
            names = ", ".join(sorted(missing))
            log.warning("%s: missing tensors keep random values: %s", weights_file, names)
            model = cls(config)  # with random initial values
        model.load_state_dict(weights, assign=True, strict=strict)
        return model.to(device).eval()  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors atomically.

        `save_pretrained` does the same and adds a model card.
        """
        write_atomic(folder / CONFIG, dump_json(to_dict(self.config)).encode())  # type: ignore
        tensors = {k: v.contiguous() for k, v in self.state_dict().items()}  # type: ignore
        write_atomic(folder / WEIGHTS, safetensors.torch.save(tensors, {"format": "pt"}))

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        run: RunFolder | str | Path | None = None,
        **options: Any,
    ) -> str | None:
        """Write config.json, model.safetensors and a model card, unless there is one.

        The card states no licence; add the one that you choose.

        See `huggingface_hub.PyTorchModelHubMixin.save_pretrained` for the other options.

        Args:
            save_directory: the folder, which is created if necessary.
            run: the run that trained the model, or its folder; the card then describes its training
                and results.

        Raises:
            RunError: if `run` is not a run folder.
        """
        folder = expand_user(save_directory)
        options = self._with_card(options, options.get("repo_id"), run, folder.resolve().name)
        result: str | None = super().save_pretrained(folder, **options)
        return result

    def push_to_hub(
        self, repo_id: str, *, run: RunFolder | str | Path | None = None, **options: Any
    ) -> str:
        """Upload the model and its card to the Hugging Face Hub; return the address.

        Log in first with `hf auth login`, or pass `token`. See
        `huggingface_hub.PyTorchModelHubMixin.push_to_hub` for the other options, such as `private`.

        Args:
            repo_id: the id of the model on the Hub, owner/name.
            run: the run that trained the model, or its folder; the card then describes its training
                and results.

        Raises:
            RunError: if `run` is not a run folder.
            ModelError: if the Hub cannot be reached or refuses the upload.
        """
        options = self._with_card(options, repo_id, run, repo_id)
        try:
            return super().push_to_hub(repo_id, **options)
        except (DrawError, TypeError):
            raise
        except Exception as error:  # huggingface_hub raises many types
            raise ModelError(
                f"{repo_id} was not uploaded to the Hugging Face Hub: {one_line(error)}"
            ) from error

    def _with_card(
        self,
        options: dict[str, Any],
        repo_id: str | None,
        run: RunFolder | str | Path | None,
        title: str,
    ) -> dict[str, Any]:
        """Add the values of the model card, unless `options` has them."""
        run = RunFolder.open(run) if isinstance(run, str | Path) else run
        given = options.get("model_card_kwargs") or {}
        return options | {"model_card_kwargs": card.values(self, repo_id, run, title) | given}

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory)


def saved_type(name: str | Path) -> str | None:
    """Return the model type that config.json records, such as "DRAW", or None.

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
    elif folder.exists():
        raise ModelError(f"{name} is not a saved model: it holds no {CONFIG}")
    elif HUB_ID.fullmatch(str(folder)):
        files = _download(name, **options)
    else:
        raise ModelError(f"{name} does not exist and is not a Hugging Face Hub id (owner/name)")
    for file in files:
        if not file.is_file():
            raise ModelError(f"{name} is not a saved model: it holds no {file.name}")
    return files


def _download(
    name: str, *, revision: str | None = None, local_files_only: bool = False, **options: Any
) -> list[Path]:
    """Download the two files of a model from the Hub.

    If the Hub cannot be reached or reports an error such as status 429 or 503, use cached files.
    """
    reason = ""
    if not local_files_only:
        try:
            url = hf_hub_url(name, CONFIG, revision=revision)
            get_hf_file_metadata(url, token=options.get("token"))
        except GatedRepoError as error:
            raise ModelError(
                f"{name} is a gated model: accept its terms on the Hugging Face Hub, and log in "
                f"with hf auth login or pass token="
            ) from error
        except RevisionNotFoundError as error:
            raise ModelError(f"{name} has no revision {revision} on the Hub") from error
        except (RepositoryNotFoundError, EntryNotFoundError, HFValidationError) as error:
            raise ModelError(
                f"{name} is neither a local folder nor a model on the Hugging Face Hub"
            ) from error
        except Exception as error:  # use the cache immediately, without the client's retries
            local_files_only, reason = True, one_line(error)
    options["local_files_only"] = local_files_only
    try:
        return [
            Path(hf_hub_download(name, file, revision=revision, **options))
            for file in (CONFIG, WEIGHTS)
        ]
    except RemoteEntryNotFoundError as error:
        raise ModelError(f"{name} is not a saved model: it holds no {WEIGHTS}") from error
    except Exception as error:  # huggingface_hub raises many types if the connection breaks
        if local_files_only and not reason:
            raise ModelError(
                f"{name} is neither a local folder nor in the cache of the Hugging Face Hub"
            ) from error
        raise ModelError(
            f"{name} is neither a local folder nor cached, and the Hugging Face Hub cannot be "
            f"reached: {reason or one_line(error)}"
        ) from error
