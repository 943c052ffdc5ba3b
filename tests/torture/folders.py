"""What lies in a run folder, and whether it is what lies in another."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

MEANS = ("train_elbo_nats", "gradient_norm", "images_per_second")  # over the last steps of a life


def newest(run: Path) -> Path | None:
    """The newest checkpoint of a run; None if it has none."""
    return max(run.glob("checkpoints/[0-9]*.safetensors"), default=None)


def step(checkpoint: Path | None) -> int:
    """That of a checkpoint; 0 for none."""
    return int(checkpoint.stem) if checkpoint else 0


def is_whole(checkpoint: Path) -> bool:
    """Whether all of its tensors are there."""
    try:
        with safe_open(checkpoint, framework="numpy") as file:
            return bool(file.keys())
    except SafetensorError:
        return False


def records(run: Path) -> list[dict[str, Any]]:
    """The whole lines of the log, without the means that begin anew with every life."""
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [{k: v for k, v in record.items() if k not in MEANS} for record in found]


def differences(run: Path, right: Path) -> list[str]:
    """The files of a finished run that are not those of another, bit for bit.

    Of the checkpoints the newest counts, and of the log what `records` gives; the curves show all.
    """

    def files(folder: Path) -> dict[str, bytes]:
        last = newest(folder)
        content = {}
        for path in folder.rglob("*"):
            if path.is_file() and (path.suffix != ".safetensors" or path.parent.name == "model"):
                content[str(path.relative_to(folder))] = path.read_bytes()
        content["the newest checkpoint"] = last.name.encode() + last.read_bytes() if last else b""
        content["metrics.jsonl"] = json.dumps(records(folder)).encode()
        content["curves.png"] = content.get("curves.png", b"")[:8]
        return content

    one, other = files(run), files(right)
    return sorted(name for name in one | other if one.get(name) != other.get(name))
