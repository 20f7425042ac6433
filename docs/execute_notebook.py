"""Executes VAE_Tutorial.py and writes VAE_Tutorial.ipynb: the same cells, and their outputs.

python docs/execute_notebook.py   # pip install -e ".[docs]"; three minutes with MNIST

The text is edited in VAE_Tutorial.py, where a change can be read line by line. jupytext reads it,
and nbclient executes it in this folder. What differs from run to run without a reason is left out:
times, the names of cells, the versions of the tools.
"""

import json
from pathlib import Path

import jupytext
from nbclient import NotebookClient

HERE = Path(__file__).parent
SCRIPT, NOTEBOOK = HERE / "VAE_Tutorial.py", HERE / "VAE_Tutorial.ipynb"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed():
    """The notebook with its outputs, as the dict that its file holds."""
    notebook = jupytext.reads(SCRIPT.read_text("utf-8"), fmt="py:percent")
    notebook.metadata = METADATA
    client = NotebookClient(
        notebook, timeout=900, record_timing=False, resources={"metadata": {"path": str(HERE)}}
    )
    client.execute()
    cells = [stripped(cell) for cell in notebook.cells]
    # Version 4.4 of the format: from 4.5 on every cell has a random name.
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 4}


def stripped(cell):
    kept = {"cell_type": cell.cell_type}
    if cell.cell_type == "code":
        kept |= {"execution_count": cell.execution_count, "outputs": joined(cell.outputs)}
    return kept | {"metadata": {}, "source": lines(cell.source)}


def joined(outputs):
    """Lines printed one after the other are one output, however they arrived."""
    result = []
    for output in map(dict, outputs):
        if "text" in output and result and result[-1].get("name") == output["name"]:
            result[-1]["text"] += output["text"]
        else:
            result.append(output)
    return [one | {"text": lines(one["text"])} if "text" in one else one for one in result]


def lines(text):
    return text.splitlines(keepends=True)


def main():
    text = json.dumps(executed(), indent=1, ensure_ascii=False, sort_keys=True)
    NOTEBOOK.write_text(text + "\n", "utf-8")
    print(f"{NOTEBOOK.name}: {NOTEBOOK.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
