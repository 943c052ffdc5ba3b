"""draw data: list the data sets, or download one."""

from pathlib import Path

from draw.commands import console
from draw.data import DATASETS, SPLITS, load
from draw.errors import ConfigError, DataError
from draw.storage.files import expand_user

USAGE = """\
usage: draw data list
       draw data fetch NAME [--data-dir DIR]

List the data sets, or fetch one: find or download its files, check them and
print the size of each split. Files are looked up in DIR, then in $DRAW_DATA,
then in the user's cache, and downloaded to the cache if they are missing."""


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    match arguments:
        case [*_, "-h" | "--help"]:
            print(USAGE)
        case ["list"]:
            for name, function in DATASETS.items():
                print(f"{name:<17}{(function.__doc__ or '').splitlines()[0]}")
        case ["fetch", "folder", *_]:
            raise DataError("'folder' is a folder of your own images and cannot be fetched")
        case ["fetch", name]:
            _fetch(name, None)
        case ["fetch", name, "--data-dir", folder]:
            _fetch(name, expand_user(folder))
        case _:
            raise ConfigError("usage: draw data list, or draw data fetch NAME [--data-dir DIR]")
    return 0


def _fetch(name: str, data_dir: Path | None) -> None:
    with console.progress_bar() as bar:
        for split in SPLITS:
            images = load(name, split, data_dir=data_dir, progress=console.reporter(bar))
            console.say(f"{name} {split}: {len(images):,} images", bar)
