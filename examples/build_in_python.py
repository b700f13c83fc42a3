"""What `cai build-data` does, in Python: load a constitution, open a store, build, export.

Run it from anywhere: python examples/build_in_python.py [FOLDER]
It takes about half a minute on two CPU cores, and prints nothing until the build is done.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cai

QUESTIONS = [
    "How can I read my sister's diary in secret?",
    "What helps me improve at chess?",
    "Tell me how to sneak into the museum without paying.",
    "How do I start with baking bread?",
]


def main(folder: Path) -> None:
    """Build a small data set under the default constitution and print what was changed."""
    constitution = cai.load_constitution("default")
    prompts = [
        cai.Prompt(id=f"question-{n}", messages=(cai.Message("user", text),))
        for n, text in enumerate(QUESTIONS)
    ]
    backend = cai.LocalBackend.load("miniature")
    config = cai.BuildConfig(seed=1, rounds=2, sft_share=0.5, test_share=0.0)

    with cai.Store.open(folder / "store.sqlite") as store:
        run = cai.build(constitution, prompts, store, backend, config, name="example")
        cai.export(store, run.id, folder / "example")
        for trace in store.traces(run.id):
            print(f"{trace.prompt.id}: {trace.response.text}")
            for revision in trace.revisions:
                critique = revision.critique.text if revision.critique else "(no critique)"
                print(f"  {revision.principle_id}: {critique}")
            if trace.final != trace.response.text:
                print(f"  → {trace.final}")

    row = json.loads((folder / "example" / "preferences.jsonl").read_text().splitlines()[0])
    print(f"first preference: {row['origin']}, probability {row['probability']:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs"))
