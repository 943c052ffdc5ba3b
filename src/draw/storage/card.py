"""The model card (README.md) of a saved model, with facts about its run."""

from typing import Any

from draw.storage.files import dump_json
from draw.storage.json_config import to_dict
from draw.storage.run_folder import METRICS, RunFolder, saved_validation

DRAW_TEXT = (
    "A generative model of images, [DRAW](https://arxiv.org/abs/1502.04623) (Gregor et al. 2015): "
    "a recurrent variational auto-encoder that draws an image glimpse by glimpse."
)
CLASSIFIER_TEXT = (
    "A classifier that reads a small patch of the image at each glimpse, section 4.1 of "
    "[DRAW](https://arxiv.org/abs/1502.04623) (Gregor et al. 2015)."
)
DRAW_USE = """\
images = model.generate(64).mean  # [64, C, H, W] in [0, 1]
"""
CLASSIFIER_USE = """\
output = model(images)  # images [B, C, H, W] in [0, 1]
labels = output.logits[-1].argmax(-1)  # [B]
"""
NETWORKS = {"DRAW": (DRAW_TEXT, DRAW_USE), "GlimpseClassifier": (CLASSIFIER_TEXT, CLASSIFIER_USE)}

# Jinja; huggingface_hub requires the front matter that `card_data` fills.
TEMPLATE = """\
---
{{ card_data }}
---

# {{ title }}

{{ text }} The model has {{ parameters }} parameters and belongs to the Python package `draw`.

## Use

```python
import draw

model = draw.load("{{ source }}")
{{ use }}```

## Configuration

```json
{{ config }}```
{% if training %}
## Training

{{ training }}
{% endif %}{% if results %}
## Results

{{ results }}
{% endif %}"""


def values(model: Any, repo_id: str | None, run: RunFolder | None, title: str) -> dict[str, str]:
    """Return the values of the template for a model, its id on the Hub and its run."""
    config = model.config
    text, use = NETWORKS[config.network]
    return {
        "title": title,
        "source": repo_id or "path/to/this/folder",
        "text": text,
        "use": use,
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "config": dump_json(to_dict(config)),
        "training": "" if run is None else _training(run),
        "results": "" if run is None else _results(run, config.metric),
    }


def _training(run: RunFolder) -> str:
    config = run.read()["config"]
    config.pop("data_dir", None)  # a path of this machine
    config.pop("model", None)
    data = "a folder of images" if config["data"] == "folder" else f"`{config['data']}`"
    return (
        f"The weights are the exponential moving average of a run on {data}:\n\n"
        f"```json\n{dump_json(config)}```"
    )


def _results(run: RunFolder, metric: str) -> str:
    held_out = run.read()["config"].get("train_on", "train") == "train"
    record = saved_validation(run.records(), metric, held_out=held_out)
    if record is None:
        return ""
    stderr = record.get(f"valid_{metric}_stderr")
    nats = f"{record[f'valid_{metric}_nats']:.2f}" + ("" if stderr is None else f" ± {stderr:.2f}")
    about = "" if stderr is None else " ± is the standard error over images."
    images = f"{record['valid_images']:,} " if "valid_images" in record else ""
    note = "" if held_out else ", on which the run also trained"
    return (
        f"{METRICS[metric]} of {nats} nats per image on {images}validation images{note}, at step "
        f"{record['step']:,}.{about}"
    )
