"""Data sets of the Hugging Face hub, or already loaded by the `datasets` library, as streams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distilkit.errors import BadFile, BadValue, shown
from distilkit.sources.tables import Table, of_items

NAME = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?(?:@([\w.-]+))?")


def of_name(name: str) -> tuple[Table, Table | None]:
    """The data set ``org/name``, ``org/name:config`` or ``org/name@split``, streamed; no code of it is run."""
    found = NAME.fullmatch(name)
    assert found is not None
    path, config, split = found.groups()
    try:
        import datasets
    except ImportError:
        raise BadValue("data sets of the hub need the library datasets: pip install 'distilkit[own]' first") from None
    try:
        loaded = datasets.load_dataset(path, config, split=split, streaming=True)
    except Exception as error:  # the hub's, the network's and the library's, of many kinds
        raise BadFile(_refusal(name, error)) from None
    return of_datasets(loaded, name)


def of_folder(folder: Path) -> tuple[Table, Table | None]:
    """A data set that `save_to_disk` wrote."""
    import datasets

    try:
        return of_datasets(datasets.load_from_disk(str(folder)), shown(str(folder), 200))
    except BadFile:
        raise
    except Exception as error:
        raise BadFile(
            f"{shown(str(folder), 200)} is no data set that datasets reads: {shown(str(error), 120)}"
        ) from None


def of_datasets(loaded: Any, where: str) -> tuple[Table, Table | None]:
    """Its training data and, of several splits, its test or validation data."""
    if not isinstance(loaded, dict):
        return _table(loaded, where), None
    train = loaded.get("train", next(iter(loaded.values())))
    test = next((loaded[name] for name in ("test", "validation", "valid", "dev") if name in loaded), None)
    return _table(train, where), None if test is None or test is train else _table(test, where)


def _table(dataset: Any, where: str) -> Table:
    features = dict(dataset.features or {})
    for name, feature in features.items():
        if type(feature).__name__ in ("Audio", "Image"):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    classes = {name: feature.names for name, feature in features.items() if type(feature).__name__ == "ClassLabel"}

    def items() -> Iterator[Any]:
        try:
            for row in dataset:
                for name, names in classes.items():
                    number = row[name]
                    row[name] = names[number] if isinstance(number, int) and 0 <= number < len(names) else None
                yield row
        except Exception as error:
            raise BadFile(_refusal(where, error)) from None

    return of_items(items, where, count=len(dataset) if hasattr(dataset, "__len__") else None)


def _refusal(name: str, error: Exception) -> str:
    text = re.sub(r"hf_\w+", "hf_…", f"{type(error).__name__}: {error}")
    return (
        f"there is no file or folder {shown(name, 120)} here, and it cannot be read as a data set of the hub "
        f"({shown(text, 160)}). Check the name (org/name, org/name:config, org/name@split) and the network, or give a "
        "folder with its files"
    )
