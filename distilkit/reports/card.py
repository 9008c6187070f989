"""The student in Hugging Face's format with its model card: all of it, or what was there before."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilkit.errors import BadFile, shown
from distilkit.reports.claims import Claims, called, group_of
from distilkit.reports.templates import as_text, card, code_block

HEADS = {  # of a student, by the name of transformers' list: how it is loaded, and what the hub calls what it does
    "SEQUENCE_CLASSIFICATION": ("AutoModelForSequenceClassification", "text-classification"),
    "SPEECH_SEQ_2_SEQ": ("AutoModelForSpeechSeq2Seq", "automatic-speech-recognition"),
    "SEQ_TO_SEQ_CAUSAL_LM": ("AutoModelForSeq2SeqLM", "text2text-generation"),
    "CAUSAL_LM": ("AutoModelForCausalLM", "text-generation"),
    "CTC": ("AutoModelForCTC", "automatic-speech-recognition"),
    "IMAGE_CLASSIFICATION": ("AutoModelForImageClassification", "image-classification"),
}
LABEL = "print(model.config.id2label[model(**inputs).logits.argmax().item()])"
WRITTEN = "print(processor.batch_decode(model.generate(**inputs, max_new_tokens=64), skip_special_tokens=True)[0])"
TEXT = 'inputs = processor("a text of your own", return_tensors="pt")'
SOUND = 'inputs = processor(sound, sampling_rate=16_000, return_tensors="pt")  # sound: mono, an array of float32'
ASK = {  # a student, by its head: what it is given, and what is made of its answer
    "AutoModelForSequenceClassification": (TEXT, LABEL),
    "AutoModelForSpeechSeq2Seq": (SOUND, WRITTEN),
    "AutoModelForSeq2SeqLM": (TEXT, WRITTEN),
    "AutoModelForCausalLM": (TEXT, WRITTEN),
    "AutoModelForCTC": (SOUND, "print(processor.batch_decode(model(**inputs).logits.argmax(-1))[0])"),
    "AutoModelForImageClassification": (
        'inputs = processor(picture, return_tensors="pt")  # picture: PIL.Image.open("a.png").convert("RGB")',
        LABEL,
    ),
}


def head_of(student: Any) -> tuple[str, str]:
    """With which Auto class a student is loaded, and what the hub calls what it does."""
    from transformers.models.auto import modeling_auto

    for name, head in HEADS.items():
        classes = getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES").get(student.config.model_type, ())
        if type(student).__name__ in ((classes,) if isinstance(classes, str) else classes):
            return head
    return "AutoModel", ""


def how_to_use(student: Any, processor: Any) -> str:
    """Code that loads the student from a folder ``student``, and asks it something."""
    head, _ = head_of(student)
    lines = [f"from transformers import {head}", "", f'model = {head}.from_pretrained("student").eval()']
    if processor is not None:
        auto = "AutoTokenizer" if hasattr(processor, "get_vocab") else "AutoProcessor"
        lines[0] += f", {auto}"
        lines += [f'processor = {auto}.from_pretrained("student")', *ASK.get(head, ())]
    return "\n".join(lines)


def model_card(found: Mapping[str, Any], claims: Claims, student: Any) -> str:
    """README.md: what the hub reads, in YAML, then what people read."""
    import yaml  # type: ignore[import-untyped]
    from markupsafe import Markup

    def line(value: object) -> str:
        return " ".join(as_text(value, 200).split())

    settings, (_, tag) = found["settings"], head_of(student)
    metrics = [
        {"type": line(measure), "name": line(called(measure)), "value": float(f"{mean:.6g}")}
        for measure in claims.measures
        if group_of(measure) not in ("size", "speed") and math.isfinite(mean := claims.mean("distilled", measure))
    ]
    dataset = {"name": line(settings.get("data") or "data of one’s own"), "type": "own"}
    result: dict[str, Any] = {"task": {"type": tag or "other"}, "dataset": dataset, "metrics": metrics}
    front = {"library_name": "transformers", "pipeline_tag": tag, "license": line(settings.get("license") or "")}
    front = {name: value for name, value in front.items() if value}
    about = {
        **front,
        "tags": ["distillation", "distilkit"],
        "model-index": [{"name": line(found["title"]), "results": [result]}],
    }
    blocks = {name: Markup(code_block(found[name])) for name in ("code", "command")}
    body = card({**found, **blocks, "head": type(student).__name__, "columns": Markup(" | ".join(claims.sides))})
    return f"---\n{yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=1000)}---\n\n{body}"


def save_student(student: Any, processor: Any, readme: str, folder: Path) -> None:
    """The student, its processor and its card in `folder`: after a crash the old or the new one is there, whole."""
    import safetensors
    from transformers.utils import logging

    bars, new = logging.is_progress_bar_enabled(), None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        logging.disable_progress_bar()
        student.save_pretrained(new)
        if processor is not None:
            processor.save_pretrained(new)
        (new / "README.md").write_text(readme, encoding="utf-8")
        for path in filter(Path.is_file, new.rglob("*")):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        new.chmod(0o755)
        _replace(folder, new)
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadFile(
            f"cannot write {shown(str(folder), 200)}: {shown(reason, 120)}. Free some space or give another path; "
            "what was there before is untouched"
        ) from None
    finally:
        if bars:
            logging.enable_progress_bar()
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)  # where the two have changed places, the old one


def _replace(folder: Path, new: Path) -> None:
    """Move `new` to where `folder` is: in one step where the system can exchange two folders, as Linux can."""
    if not folder.exists():
        new.rename(folder)
        return
    exchange = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if exchange and exchange(here, os.fsencode(new), here, os.fsencode(folder), swap) == 0:
        return
    aside = new.with_name(f"{new.name}.old")
    folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
