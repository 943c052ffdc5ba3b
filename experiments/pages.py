"""Generate every page that shows a result from the results.json of the published models.

    python experiments/pages.py

These are the tables of README.md and experiments/README.md, the model cards and the page of each
published experiment.
"""

import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from draw import zoo
from draw.commands import report
from draw.storage.files import read_json, write_atomic

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TABLE = ROOT / "experiments" / "README.md"
EXPERIMENTS: list[dict[str, str]] = tomllib.loads((TABLE.parent / "experiments.toml").read_text())[
    "experiment"
]
Results = dict[str, Any]
MADE_OF_MNIST = "digits5k binarized-mnist cluttered-100 cluttered-60 two-digits".split()
SOURCES = dict.fromkeys(MADE_OF_MNIST, "MNIST (LeCun, Cortes and Burges)") | {
    "cifar10": "CIFAR-10 (Krizhevsky 2009)",
    "omniglot": "Omniglot (Lake et al. 2015)",
    "svhn": "SVHN (Netzer et al. 2011)",
}
NEWLINE = "\n"  # f-strings cannot contain backslashes before Python 3.12

PAPER = "[DRAW](https://arxiv.org/abs/1502.04623) (Gregor et al. 2015)"
FRONT_MATTER = """\
---
library_name: draw
license: mit
pipeline_tag: {}
tags: [{}]
---
"""


class KindText(NamedTuple):
    """What model cards and pages say about one class of models."""

    front_matter: str
    summary: str
    usage: str
    definitions: str
    pictures: str


TEXTS = {
    "DRAW": KindText(
        FRONT_MATTER.format("unconditional-image-generation", "draw, vae, image-generation"),
        f"A generative model of images, {PAPER}: a recurrent variational auto-encoder that draws "
        f"an image glimpse by glimpse.",
        """\
```sh
draw sample {name}         # new images, and a film of how they are drawn
draw reconstruct {name}    # validation images; or name your own images
draw evaluate {name}       # the ELBO on the test images
```

```python
import draw

images = draw.load("{name}").generate(64).mean  # [64, C, H, W] in [0, 1]
```
""",
        "Values in nats are bounds on log p(x) per image; higher is better. ± is the standard "
        "error over images. The ELBO has the KL terms in closed form and is averaged over the "
        "given number of samples per image.",
        "![samples, each next to the nearest training image](samples.png)\n\n"
        "![images being drawn, one per row](stages.png)",
    ),
    "GlimpseClassifier": KindText(
        FRONT_MATTER.format("image-classification", "draw, attention, image-classification"),
        f"An image classifier that reads a few patches through the attention of {PAPER}.",
        """\
```sh
draw classify {name} digit.png --film glimpses.gif
draw figure 5 {name}       # where it looks
draw evaluate {name}       # the error on the test images
```

```python
import draw

logits = draw.load("{name}")(images).logits[-1]  # images: [B, 1, H, W] in [0, 1]
```
""",
        "The error has a 95% confidence interval (Wilson). The log likelihood of the labels is in "
        "nats per image; ± is the standard error over images.",
        "![where the network looks in validation images, and its predictions](glimpses.png)\n\n"
        "Errors are red, with the true label in brackets.",
    ),
}


def pages() -> dict[Path, str]:
    """Generate all pages, by path."""
    shown = [row["preset"] for row in EXPERIMENTS if row.get("preset") in zoo.names()]
    shown = [name for name in shown if _headline(zoo.results(name))]
    texts = {
        README: _replace_generated(README, _results_table(shown)),
        TABLE: _replace_generated(TABLE, _experiments_table(shown)),
    }
    for row in EXPERIMENTS:
        if (name := row.get("preset")) in shown:
            results = zoo.results(name)
            texts[zoo.BUNDLED / name / "model" / "README.md"] = card(row, results)
            texts[TABLE.parent / name / "README.md"] = experiment_page(row, results)
    return texts


def experiment_page(row: dict[str, str], results: Results) -> str:
    """Generate the page of an experiment: its pictures, and links to its results and log."""
    run = "the last run" if _run_count(results) > 1 else "the run"
    model = f"../../src/draw/assets/models/{results['name']}"
    log = f"[metrics.jsonl](metrics.jsonl) is the log of {run}, and "
    log += f"[run.json]({model}/run.json) its configuration."
    return f"""\
# {row["title"]}

{_wrapped(row["about"])}

{_wrapped(f"The [model card]({model}/model/README.md) contains all results and commands.")}

{TEXTS[results["kind"]].pictures}

![learning curve](curves.png)

{_wrapped(log)}
"""


def card(row: dict[str, str], results: Results) -> str:
    """Generate the model card: use, training, results, limitations and source."""
    name, text = results["name"], TEXTS[results["kind"]]
    rows = [
        f"| {one['split']} | {_image_count(one)} | {metric} | {value} |"
        for one in results["measured"]
        for metric, value in report.values(one)
    ]
    return f"""\
{text.front_matter}
# draw: {name}

{_wrapped(row["about"])}

{_wrapped(f"{text.summary} The model is part of the Python package `draw`.")}

## Use

{text.usage.format(name=name)}
## Training

```sh
{results["command"].replace(" && ", NEWLINE)}
```

{_training(results)}

## Results

{_wrapped(_definitions(results))}

| split | images | metric | value |
|---|---|---|---|
{NEWLINE.join(rows)}

```sh
{_commands(results["measured"])}
```

`results.json` contains these values in full precision, and by glimpse.

## Limitations

{_wrapped(f"{row.get('limits', '')} Training was not repeated with another seed.".strip())}

## Source

The model implements {PAPER}.
The training images are from {SOURCES[results["trained_on"]]}.
`run.json` is the configuration.
"""


def _training(results: Results) -> str:
    """List how the model was trained; after several runs, most facts are about the last one."""
    config = read_json(zoo.BUNDLED / results["name"] / "run.json")["config"]
    last = ""
    if _run_count(results) > 1:
        last = " of the last run"
    training = [one for one in results["measured"] if one["split"] == "train"]
    count = f", {training[0]['images_in_split']:,} training images" if training else ""
    chosen = "best validation result"
    if config.get("train_on", "train") != "train":
        chosen, count = "last weights of the run", f"{count} (including the validation images)"
    time = f"{_duration(results['training_seconds'])} of optimizer steps"
    if results.get("cpu_seconds") is not None:
        time = f"{_duration(results['cpu_seconds'])} of CPU time"
    facts = [
        f"Data: {results['trained_on']}{count}",
        f"Hardware: {results['hardware']}",
        f"Date: {results['date']}",
        f"Time: {time}; median speed{last} {results['images_per_second']:,} images per second",
        f"Seed{last}: {config['seed']}",
        f"Weights: exponential moving average (EMA) at step {results['step']:,} of "
        f"{results['steps']:,}{last}, with the {chosen}; "
        f"{results['parameters']:,} parameters, stored as {results['stored_as']}",
    ]
    if last:
        facts.append("Each run after the first starts from the float16 weights of the one before")
    for one in results["given_up"]:
        metric, value = report.values(one)[0]
        facts.append(f"Replaces weights with {metric}: {value} on the test images")
    return NEWLINE.join(_wrapped(f"- {fact}.", indent="  ") for fact in facts)


def _definitions(results: Results) -> str:
    """Define what the table of results contains."""
    measured = results["measured"]
    one = measured[0]
    setting = f"Measured with the stored weights on {one['data']}, seed {one['seed']}"
    if "likelihood" in one:
        setting += f"; likelihood: {one['likelihood']}"
    sentences = [f"{setting}.", TEXTS[results["kind"]].definitions]
    ks = [bound["k"] for one in measured for bound in one.get("iwae", [])]
    if ks:
        sentences.append(
            "IWAE is the importance-weighted bound with k samples per image (Burda et al. 2016); "
            "it is tighter than the ELBO by construction, so compare it with other IWAE bounds "
            "only."
        )
    if 1 in ks:
        sentences.append(
            "With k = 1 it is another estimate of the ELBO, averaged over the samples of the "
            "largest k in the same command."
        )
    if any(one["device"] != "CPU" for one in measured):
        sentences.append("With the same seed, a GPU draws other noise than a CPU.")
    if any(one["images"] < one["images_in_split"] for one in measured):
        sentences.append(
            "A subset may be easier or harder than the whole split: compare only the difference "
            "between its IWAE and its ELBO."
        )
    return " ".join(sentences)


def _commands(measured: list[Results]) -> str:
    """List the commands of the measurements, with device and date."""
    width = max(len(one["command"]) for one in measured)
    lines = (f"{one['command']:{width}}  # {one['device']}, {one['date']}" for one in measured)
    return NEWLINE.join(lines)


def _results_table(shown: list[str]) -> str:
    """Generate the table of README.md."""
    lines = ["| model | paper | ours | command |", "|---|---|---|---|"]
    for row in EXPERIMENTS:
        if (name := row.get("preset")) in shown:
            link = f"[`{name}`]({(zoo.BUNDLED / name).relative_to(ROOT)}/model/README.md)"
            result = _headline(zoo.results(name))
            cells = [f"{link}: {row['title']}", row.get("paper", ""), _result(result)]
            lines.append(f"| {' | '.join(cells)} | `{_short_command(result)}` |")
    return NEWLINE.join(lines)


def _experiments_table(shown: list[str]) -> str:
    """Generate the table of experiments/README.md."""
    lines = [
        "| experiment | paper | best published | ours | training command |",
        "|---|---|---|---|---|",
    ]
    for row in EXPERIMENTS:
        preset, title, ours = row.get("preset"), row["title"], "not run yet"
        command = f"`draw train {preset}`" if preset else "not implemented"
        if preset in shown:
            results = zoo.results(preset)
            result = _headline(results)
            title, ours = f"[{title}]({preset})", f"{_result(result)} ({result['split']})"
            command = f"`{results['command']}`"
        cells = [title, row.get("paper", ""), row.get("published", ""), ours, command]
        lines.append(f"| {' | '.join(cells)} |")
    return NEWLINE.join(lines)


def _headline(results: Results) -> Results:
    """Return the measurement that tables show, with the IWAE bounds of its split.

    It is the first one of all test images, or else of all validation images; empty if there is
    neither.
    """
    whole = [one for one in results["measured"] if one["images"] == one["images_in_split"]]
    tested = [one for one in whole if one["split"] == "test"]
    of_split = tested or [one for one in whole if one["split"] == "valid"]
    bounds = {"iwae": [bound for one in of_split for bound in one.get("iwae", [])]}
    return of_split[0] | bounds if of_split else {}


def _result(measured: Results) -> str:
    """Format the error, or the ELBO and the IWAE bound of the largest k."""
    if "errors" in measured:
        low, high = measured["error_interval"]
        return f"error **{measured['error']:.2%}** ({low:.2%} to {high:.2%})"
    elbo, *iwae = (value for _, value in report.bounds(measured))
    shown = f"ELBO **{elbo}**"
    if bits := report.bits_per_dim(measured):
        shown = f"**{bits}** bits per dimension (ELBO {elbo})"
    if iwae:
        shown += f"; IWAE (k = {measured['iwae'][-1]['k']:,}) **{iwae[-1]}**"
    return shown


def _short_command(measured: Results) -> str:
    """Return the command without default options and IWAE, which leave ELBO and error unchanged."""
    return re.sub(r" --split test| --importance-samples( \d+)+", "", measured["command"])


def _image_count(measured: Results) -> str:
    images, total = measured["images"], measured["images_in_split"]
    return f"{images:,}" if images == total else f"{images:,} of {total:,}"


def _run_count(results: Results) -> int:
    return int(results["command"].count(" && ")) + 1


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _replace_generated(page: Path, text: str) -> str:
    """Replace the generated part of a page."""
    pattern = r"(<!-- generated by experiments/pages\.py -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", page.read_text(), flags=re.DOTALL)


def write() -> None:
    """Write all pages."""
    for path, text in pages().items():
        write_atomic(path, text.encode())


if __name__ == "__main__":
    write()
