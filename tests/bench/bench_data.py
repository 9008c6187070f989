"""Rows a second, and how much memory, to read a table of a million rows: `read_data` beside pandas and datasets.

`read_data` and datasets give row after row, as a stream; pandas has the whole table in memory at the end. Each reading
is a process of its own, which imports its library first: seconds are the processor's, memory is what reading added to
the process's peak. Run: python tests/bench/bench_data.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS = 1_000_000
COMMAND = "python tests/bench/bench_data.py"
READERS = {
    "read_data": "for row in dk.read_data(path).rows(): rows += 1",
    "pandas": "rows = len({'csv': pd.read_csv, 'parquet': pd.read_parquet}.get(form, lines)(path))",
    "datasets": "for row in datasets.load_dataset(loader, data_files=path, split='train', streaming=True): rows += 1",
}
CODE = """
import sys, time
from pathlib import Path
def peak():  # of this program alone, as Linux counts it: resource's maxrss begins at its parent's
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
path, form, name = sys.argv[1:]
loader, rows = {{"jsonl": "json"}}.get(form, form), 0
if name == "read_data":
    import distilkit as dk
    dk.read_data
    if form == "parquet":
        import pyarrow.parquet
elif name == "pandas":
    import pandas as pd, pyarrow.parquet
    lines = lambda path: pd.read_json(path, lines=True)
else:
    import datasets
before, start = peak(), time.process_time()
{read}
seconds = time.process_time() - start
print(rows, seconds, peak() - before)
"""


def figures(rows=ROWS):
    """(what was measured, the figure as text, the command), a tuple a form of table."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for form in ("csv", "jsonl", "parquet"):
            path = _write(Path(folder, f"data.{form}"), rows)
            speed, memory = {}, {}
            for name in READERS:
                speed[name], memory[name] = _measured(path, form, name, rows)
            size = path.stat().st_size / 1e6
            path.unlink()
            others = [name for name in READERS if name != "read_data"]
            text = f"{speed['read_data']:,.0f} rows a second, {memory['read_data']:.0f} MB; " + "; ".join(
                f"{speed['read_data'] / speed[name]:.2f} times the speed of {name}, which takes {memory[name]:.0f} MB"
                for name in others
            )
            found.append((f"reading {rows:,} rows of {form}, {size:.0f} MB", text, COMMAND))
    return found


def _write(path, rows):
    """A table of a text, of about a hundred characters, and a label."""
    texts = (
        f"review number {number} says: {'it was good and I would go again, ' * 2}thank you" for number in range(rows)
    )
    if path.suffix == ".parquet":
        import pandas as pd

        pd.DataFrame({"text": list(texts), "label": [number % 5 for number in range(rows)]}).to_parquet(path)
        return path
    with path.open("w", encoding="utf-8") as file:
        if path.suffix == ".csv":
            file.write("text,label\n")
            file.writelines(f'"{text}",{number % 5}\n' for number, text in enumerate(texts))
        else:
            file.writelines(json.dumps({"text": text, "label": number % 5}) + "\n" for number, text in enumerate(texts))
    return path


def _measured(path, form, name, rows):
    """Rows a second of the processor, and MB."""
    code = CODE.format(read=READERS[name])
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), form, name], capture_output=True, text=True, check=True
    )
    counted, seconds, mb = map(float, done.stdout.split())
    assert counted == rows, f"{name} counted {counted:.0f} of {rows}"
    return rows / seconds, mb


def main():
    for what, figure, _ in figures():
        print(f"{what}: {figure}")


if __name__ == "__main__":
    main()
