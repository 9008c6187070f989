"""What the configurations of a model may say: they are data, and name no code, no kernel, no address, no other path."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distilkit.errors import BadFile, shown
from distilkit.models import read, read_checked, write

_CODE = re.compile(
    r"auto_map|custom_(code|pipelines|generate|objects)|trust_remote_code|(use|hub)_kernels|kernel_config"
)
_KERNEL = re.compile(r"_?(attn|experts)_implementation(_internal)?")
_PLAIN = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", "grouped_mm", "batched_mm")
# The data's own words, and where a file once lay, which nobody reads: these may look like a path or an address.
_WORDS = re.compile(
    r"id2label|label2id|added_tokens_decoder|chat_template|\w*_tokens?|\w*name_or_path|task_specific_params"
    r"|special_tokens_map_file|tokenizer_file"
)
_PLACE = re.compile(r"[\w+.-]*://|[/\\~]|[A-Za-z]:[/\\]|(.*[/\\])?\.\.([/\\]|$)")
MOST_LABELS = 10**6
SUMS = "SHA256SUMS"  # as sha256sum writes it; of a shipped folder's small files. The weights have a note of their own
_SUM = re.compile(r"([0-9a-f]{64})  ([\w.-]+\.json)", re.ASCII)


def check_configs(folder: Path) -> None:
    """Refuse a folder whose configurations name code, a kernel to be fetched, an address, or a path outside it.

    Where it holds SHA256SUMS, the files named there must have their sha256.
    """
    _check_sums(folder / SUMS)
    if not (folder / "config.json").exists() and (folder / "adapter_config.json").exists():
        raise BadFile(f"{folder} is an adapter, not a model: merge it into its model first (merge_and_unload in peft)")
    for path in sorted({*folder.glob("config.json"), *folder.glob("*_config.json")}):
        for key, value in _entries(read_json(path)):
            _check_entry(path, key, value)


def write_sums(folder: Path) -> None:
    """Note the sha256 of a folder's configurations and of its tokenizer, as `check_configs` reads it."""
    sums = (f"{hashlib.sha256(read(path)).hexdigest()}  {path.name}\n" for path in sorted(folder.glob("*.json")))
    write(folder / SUMS, "".join(sums).encode())


def _check_sums(sums: Path) -> None:
    if not sums.is_file():
        return
    *lines, last = read(sums).decode("ascii", "replace").split("\n")
    for line in lines + [last] * bool(last):
        found = _SUM.fullmatch(line)
        if found is None:
            raise BadFile(f"{sums} is damaged: {shown(line)} is no sha256 and name of a file. Fetch the folder anew")
        read_checked(sums.with_name(found[2]), found[1])


def _check_entry(path: Path, key: str, value: object) -> None:
    if _CODE.fullmatch(key) and value not in (None, False):
        raise BadFile(f"{path.parent} wants code of its own to be run ({key} in {path.name}): distilkit runs none")
    if _KERNEL.fullmatch(key) and value not in (None, *_PLAIN):
        raise BadFile(
            f"{path} asks for a kernel from elsewhere ({key}: {shown(value)}): distilkit fetches none. Allowed are "
            f"{', '.join(_PLAIN)}"
        )
    if key == "quantization_config" and value:
        raise BadFile(
            f"{path} says that the weights are quantised (quantization_config), and distilkit takes them as they were "
            "trained: use the model's unquantised form"
        )
    if isinstance(value, str) and _PLACE.match(value):
        raise BadFile(
            f"{path} points outside its folder ({shown(key)}: {shown(value)}), and distilkit does not go there: if you "
            "trust the model, copy its folder, take that entry out, and give the copy"
        )
    if key == "num_labels" and not (isinstance(value, int) and 0 <= value <= MOST_LABELS):
        raise BadFile(f"{path} asks for {shown(value)} labels: a number up to {MOST_LABELS:,} is allowed")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        value = json.loads(read(path))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON: {shown(str(error), 120)}") from None
    if not isinstance(value, dict):
        raise BadFile(f"{path} is not a configuration: it must be a JSON object")
    return value


def _entries(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Every entry of a configuration and of those inside it."""
    for name, inner in value.items() if isinstance(value, dict) else ((key, one) for one in value):  # type: ignore
        if not _WORDS.fullmatch(name):
            yield name, inner
            if isinstance(inner, dict | list):
                yield from _entries(inner, name)
