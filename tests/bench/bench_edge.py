"""What a distilled student saves in each form: the shop's teacher and student in PyTorch, compiled, as ONNX, as GGUF.

Ratios within one run, each form in a process of its own on one core. Run: python -m tests.bench edge
"""

import tempfile
from pathlib import Path

import distilkit as dk

COMMAND = "python -m tests.bench edge"
JUDGED = 20  # held-out conversations
GGUF = ("F16", "Q8_0")


def figures():
    """Rows of (what, value, command)."""
    task = dk.tasks.shop(labelled=20)
    models = {"teacher": task.teacher(), "student": task.distilled()}
    table = dk.edge.forms(models, task.test[:10], score=lambda model: task.score(model, limit=JUDGED)["exact"])
    print(table.round(3).to_string())
    left_out = table.attrs["left_out"]
    rows = []
    for kind in dk.edge.KINDS:
        what = f"student against teacher, {kind}"
        if missing := [left_out[form] for form in (f"teacher, {kind}", f"student, {kind}") if form in left_out]:
            rows.append((what, f"not measured: {missing[0]}", COMMAND))
            continue
        teacher, student = table.loc[f"teacher, {kind}"], table.loc[f"student, {kind}"]
        quicker, smaller = teacher["p50_ms"] / student["p50_ms"], teacher["mb"] / student["mb"]
        value = f"{quicker:.1f}x as fast, 1/{smaller:.1f} the bytes ({student['mb']:.2f} MB)"
        value += f", peak {student['peak_mb']:.0f} MB, the teacher's next token {student['agreement']:.1%}"
        if kind != "compiled":
            value += f", exact {student['quality']:.1%} of {teacher['quality']:.1%}"
        rows.append((what, value, COMMAND))
    if {"student, ONNX", "student, float32"} <= set(table.index):
        quicker = table["p50_ms"]["student, float32"] / table["p50_ms"]["student, ONNX"]
        rows.append(("student in ONNX Runtime against PyTorch", f"{quicker:.1f}x as fast", COMMAND))
    with tempfile.TemporaryDirectory() as folder:
        for kind in GGUF:
            file = dk.edge.to_gguf(models["student"], task.tokenizer, Path(folder) / f"{kind}.gguf", kind=kind)
            rows.append((f"student as GGUF, {kind}", f"{file.stat().st_size / 1e6:.2f} MB", COMMAND))
    return rows


def main():
    """Print them."""
    for what, value, command in figures():
        print(f"{what:42} {value}   ({command})")


if __name__ == "__main__":
    main()
