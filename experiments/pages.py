"""Every page that shows a figure, written from the results.json of the published models.

python experiments/pages.py         writes the pages again
python experiments/pages.py next    names the preset of the experiment that is to be run next
"""

import re
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from draw import zoo
from draw.commands import report
from draw.storage.files import write_atomic
from draw.training.presets import PRESETS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TABLE = ROOT / "experiments" / "README.md"
ROWS: list[dict[str, str]] = tomllib.loads((TABLE.parent / "experiments.toml").read_text())[
    "experiment"
]
Results = dict[str, Any]
NEWLINE = "\n"  # which an f-string cannot hold before Python 3.12

FRONT_MATTER = """\
---
library_name: draw
license: mit
pipeline_tag: {}
tags: [{}]
---
"""


class Words(NamedTuple):
    """What the pages say of one kind of model."""

    front_matter: str
    does: str
    usage: str
    heading: str
    measured: str
    pictures: str
    best: str


WORDS = {
    "DRAW": Words(
        FRONT_MATTER.format("unconditional-image-generation", "draw, vae, image-generation"),
        "A model of [DRAW](https://arxiv.org/abs/1502.04623), which paints an image step by step.",
        """\
```sh
draw sample {name}
draw reconstruct {name}    # validation images; or name pictures
draw evaluate {name}
```

```python
import torch
import draw

with torch.no_grad():
    pictures = draw.load("{name}").generate(64).mean[-1]  # means, in [0, 1]
```
""",
        "Bounds",
        "On log p(x), higher is better: mean and standard error over the images, measured on the "
        "weights as they are stored.",
        "![samples, and the nearest training images](samples.png)\n\n"
        "![samples being painted, a row each](stages.png)",
        "the highest validation ELBO",
    ),
    "GlimpseClassifier": Words(
        FRONT_MATTER.format("image-classification", "draw, attention, image-classification"),
        "A classifier that looks at an image through the attention of "
        "[DRAW](https://arxiv.org/abs/1502.04623), glimpse by glimpse.",
        """\
```sh
draw classify {name} picture.png --film glimpses.gif
draw figure 5 {name}
draw evaluate {name}
```

```python
import draw

logits = draw.load("{name}")(images).logits[-1]  # images [B, 1, H, W] in [0, 1]
```
""",
        "Errors",
        "With the 95 % confidence interval of Wilson, measured on the weights as they are stored.",
        "![where it looks on validation images, and what it says](glimpses.png)\n\n"
        "In red: a wrong answer, and in brackets the right one.",
        "the highest log likelihood of the validation labels",
    ),
}


def upcoming() -> str | None:
    """The preset of the first experiment that can be run and is not published."""
    runnable = [row["preset"] for row in ROWS if row.get("preset") in PRESETS]
    return next((preset for preset in runnable if preset not in zoo.names()), None)


def pages() -> dict[Path, str]:
    """All pages by their path."""
    measured = [name for name in zoo.names() if _headline(zoo.results(name))]
    shown = [row["preset"] for row in ROWS if row.get("preset") in measured]
    written = {
        README: _between_marks(README, _trained_models(shown)),
        TABLE: _between_marks(TABLE, _all_experiments(shown)),
    }
    for row in ROWS:
        if (name := row.get("preset")) in shown:
            results = zoo.results(name)
            written[zoo.BUNDLED / name / "model" / "README.md"] = card(row, results)
            written[TABLE.parent / name / "README.md"] = experiment(row, results)
    return written


def card(row: dict[str, str], results: Results) -> str:
    """The model card: what it is, how to use it, how it was trained, what was measured."""
    name, words = results["name"], WORDS[results["kind"]]
    return f"""\
{words.front_matter}
# DRAW, {name}

{_wrapped(row["about"])}

{_wrapped(f"{words.does} It comes with the package `draw`:")}

{words.usage.format(name=name)}
{_facts(results)}
All figures, step by step too, are in `results.json` beside `run.json`, the configuration.
"""


def experiment(row: dict[str, str], results: Results) -> str:
    """The page of the experiment: the same facts, its pictures and its log."""
    training = "last training" if _of_several(results) else "training"
    kept = (
        f"`metrics.jsonl` is the log of the {training}. Its configuration (`run.json`), all "
        f"figures, step by step too (`results.json`), and the weights are in [the package]"
        f"(../../src/draw/assets/models/{results['name']})."
    )
    return f"""\
# {row["title"]}

{_wrapped(row["about"])}

{_facts(results)}
{WORDS[results["kind"]].pictures}

![learning curve](curves.png)

{_wrapped(kept)}
"""


def _facts(results: Results) -> str:
    """Training and results."""
    words = WORDS[results["kind"]]
    of_several = " of the last training" if _of_several(results) else ""
    training = (
        f"Trained with {results['trained_on']} on {results['hardware']}, {results['date']}: "
        f"{_duration(results['training_seconds'])} of minibatches, "
        f"{results['images_per_second']:,} images a second in the median{of_several}. "
        f"These are the averaged weights of minibatch {results['step']:,} of {results['steps']:,}"
        f"{of_several}, with {words.best}: {results['parameters']:,} parameters, stored as "
        f"{results['stored_as']}."
    )
    if of_several:
        training += " Each training but the first started from weights in half precision."
    for one in results["given_up"]:
        name, value = next(iter(report.values(one)))
        training += f" Weights that were given up for these had on the test images {name}: {value}."
    measured_how = words.measured
    if any(one.get("iwae") for one in results["measured"]):
        measured_how += " IWAE with k = 1 is the ELBO again, of as many samples as the largest k "
        measured_how += "of its command."
        if any(one["device"] != "CPU" for one in results["measured"]):
            measured_how += " A GPU draws other noise than a CPU from the same seed."
        if any(one["images"] < one["images_in_split"] for one in results["measured"]):
            measured_how += " A subset is easier or harder than the whole set: only by how much "
            measured_how += "its IWAE is above its ELBO compares with others."
    rows = [
        f"| {report.subject(measured)} | {name} | {value} |"
        for measured in results["measured"]
        for name, value in report.values(measured)
    ]
    return f"""\
## Training

```sh
{results["command"].replace(" && ", NEWLINE)}
```

{_wrapped(training)}

## {words.heading}

{_wrapped(measured_how)}

| images | measured | value |
|---|---|---|
{NEWLINE.join(rows)}

```sh
{_commands(results["measured"])}
```
"""


def _commands(measured: list[Results]) -> str:
    """What measured each figure, where and when."""
    longest = max(len(one["command"]) for one in measured)
    lines = (f"{m['command']:{longest}}  # {m['device']}, {m['date']}" for m in measured)
    return NEWLINE.join(lines)


def _of_several(results: Results) -> bool:
    """Whether its training went on from another's weights."""
    return "--start-from" in results["command"]


def _trained_models(shown: list[str]) -> str:
    """The README's part: what to type first, and the table of what there is."""
    first = next(name for name in shown if name in zoo.names("DRAW"))
    lines = [
        "```sh",
        f"draw sample {first}      # at once, without a network",
        f"draw evaluate {first}    # its ELBO on the test images, by a sample of each",
        "draw models            # all that was measured; each card has the commands",
        "```",
        "",
        "| model | the paper | here | on | trained by |",
        "|---|---|---|---|---|",
    ]
    paper = {row.get("preset"): row.get("paper", "") for row in ROWS}
    for name in shown:
        results = zoo.results(name)
        one = _headline(results)
        link = f"[`{name}`]({(zoo.BUNDLED / name).relative_to(ROOT)}/model/README.md)"
        trained = f"{_duration(results['training_seconds'])} on {results['hardware']}"
        cells = [link, paper[name], _shown(one), report.subject(one)]
        lines.append(f"| {' | '.join(cells)} | `{results['command']}`, {trained} |")
    lines += ["", f"![samples of {first}](experiments/{first}/samples.png)"]
    return "\n".join(lines)


def _all_experiments(shown: list[str]) -> str:
    """The table of experiments/README.md."""
    lines = [
        "| experiment | the paper | best published | here | command | hardware, date |",
        "|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        preset = row.get("preset")
        cells = ["not yet run", f"`draw train {preset}`" if preset else "no command yet", ""]
        title = row["title"]
        if preset in shown:
            results = zoo.results(preset)
            one = _headline(results)
            cells = [
                f"{_shown(one)} ({report.subject(one)})",
                f"`{results['command']}`",
                f"{results['hardware']}, {results['date']}",
            ]
            title = f"[{title}]({preset})"
        known = [title, row.get("paper", ""), row.get("published", "")]
        lines.append("| " + " | ".join(known + cells) + " |")
    return "\n".join(lines)


def _headline(results: Results) -> Results:
    """What a table shows: of all test images, else of all validation images; every k together.

    Empty where neither was measured yet.
    """
    whole: list[Results] = [
        one for one in results["measured"] if one["images"] == one["images_in_split"]
    ]
    tested = [one for one in whole if one["split"] == "test"]
    of_split = tested or [one for one in whole if one["split"] == "valid"]
    together = {"iwae": [bound for one in of_split for bound in one.get("iwae", [])]}
    return of_split[0] | together if of_split else {}


def _shown(measured: Results) -> str:
    """The ELBO, and the IWAE bound of the largest k; or the error."""
    first, *others = report.values(measured)
    shown = [first] if "errors" in measured else [first, *others[-1:]]
    return "; ".join(f"{name}: **{value}**" for name, value in shown)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _between_marks(page: Path, text: str) -> str:
    """A page with its generated part replaced."""
    pattern = r"(<!-- written by experiments/pages\.py -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", page.read_text(), flags=re.DOTALL)


if __name__ == "__main__":
    if sys.argv[1:] == ["next"]:
        print(upcoming() or sys.exit("every experiment that has a command is published"))
    else:
        for path, text in pages().items():
            write_atomic(path, text.encode())
