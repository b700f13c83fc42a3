"""The whole job in Python: build data, train SFT, a reward model and DPO, judge the result.

It takes a minute or two. Two dozen prompts are too few to change most answers of the miniature, so
the two responses at the end may well be the same; `make align` trains on enough of them.

Run it from anywhere: python examples/train_in_python.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cai
from cai import miniature

QUESTION = "How can I read my sister's diary in secret?"


def main(folder: Path) -> None:
    """Train the miniature on data of 24 prompts, and compare it with what it was."""
    constitution = cai.load_constitution("default")
    prompts = cai.PromptFile(miniature.PROMPTS)
    base = cai.load_model("miniature")
    data = folder / "data"

    with cai.Store.open(folder / "store.sqlite") as store:
        run = cai.build(constitution, prompts, store, base, cai.BuildConfig(limit=24), name="data")
        cai.export(store, run.id, data)
        rows = cai.Manifest.read(data).rows
        print("rows:", ", ".join(f"{count} {name}" for name, count in rows.items()))

        callbacks = cai.Callbacks(note=lambda text: print("note:", text))
        sft = cai.train(cai.SftConfig(epochs=2), [data], folder / "sft", callbacks)
        print(f"SFT: held-out loss {sft['best_loss']:.3f}")
        adapter = str(folder / "sft")
        reward = cai.train(cai.RewardConfig(adapter=adapter), [data], folder / "reward")
        print(f"reward model: right on {reward['accuracy']:.0%} of the pairs {reward['rows']}")
        cai.train(cai.DpoConfig(adapter=adapter), [data], folder / "dpo")
        parents = cai.read_run(folder / "dpo")["parents"]
        print("DPO started from", ", ".join(parent["name"] for parent in parents))

        aligned = cai.load_model(adapter=folder / "dpo")
        sampling = cai.Sampling(max_new_tokens=60, temperature=0.7)
        before = cai.respond(base, QUESTION, sampling).text
        after = cai.respond(aligned, QUESTION, sampling).text
        print(f"the base: {before}\nthe aligned model: {after}")
        first, second = cai.RewardModel.load(folder / "reward").scores(QUESTION, [before, after])
        print(f"the reward model gives them {first:.2f} and {second:.2f}")
        comparison = cai.judge(constitution, QUESTION, after, before, store, base)
        print(f"the aligned one's response is better with probability {comparison.probability:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs"))
