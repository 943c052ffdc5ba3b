"""Run the tutorial notebook from top to bottom and store its output.

python docs/site/run_notebook.py
"""

import nbformat
from nbclient import NotebookClient
from sources import ROOT

NOTEBOOK = ROOT / "docs" / "draw-from-scratch.ipynb"


def run(notebook: nbformat.NotebookNode) -> None:
    """Run a notebook in the folder of the tutorial, without recording the times."""
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=None,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    ).execute()


if __name__ == "__main__":
    tutorial = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    run(tutorial)
    nbformat.write(tutorial, NOTEBOOK)  # type: ignore[no-untyped-call]
