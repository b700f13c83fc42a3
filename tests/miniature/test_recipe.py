"""The recipe: its digest, the loss on known values, and a run that is interrupted and goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bundled.recipe import comparing
from bundled.recipe import recipe as recipe_module
from bundled.recipe.batches import PROBES, Batch
from bundled.recipe.checkpoints import CHECKPOINT, stamp, stamped
from bundled.recipe.pretrain import rate_factor, train, weighted_loss
from bundled.recipe.recipe import Recipe, bare, recipe_digest
from bundled.recipe.tokenizer import train_tokenizer
from cai.miniature.world import phrases, slots

WEIGHTS = Path(__file__).parents[2] / "cai" / "miniature" / "weights"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
TINY = Recipe(steps=5, processes=1, batch_tokens=512, hidden=32, layers=1, heads=2, intermediate=64)

# Two processes, 150 steps, few documents at a time, so that their batches soon differ in number.
TWO_PROCESSES = """
import sys
from pathlib import Path
import torch
from torch.multiprocessing import spawn
from bundled.recipe.pretrain import train
from bundled.recipe.ranks import as_rank
from bundled.recipe.recipe import Recipe
recipe = Recipe(steps=150, batch_tokens=1024, pool_documents=8, hidden=32, layers=1, heads=2,
                intermediate=64)
if __name__ == "__main__":
    out, resume = Path(sys.argv[1]), "resume" in sys.argv
    (out / "rendezvous").unlink(missing_ok=True)
    work = (recipe, out, torch.device("cpu"), resume, None, False, 1)
    spawn(as_rank, args=(train, work), nprocs=2)
"""


@pytest.mark.slow
def test_the_card_carries_the_digest_of_this_recipe() -> None:
    """A changed word of the world, number or line of the training code wants new weights."""
    assert f"`{recipe_digest()}`" in (WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert stamped(WEIGHTS) == recipe_digest()
    assert recipe_digest(replace(Recipe(), seed=7)) != recipe_digest()


def test_one_digest_makes_one_file(tmp_path: Path) -> None:
    """safetensors alone would write one of two orders, by chance: eight alike are 1 in 128."""
    contents = set()
    for _ in range(8):
        shutil.copy(WEIGHTS / "model.safetensors", tmp_path)
        stamp(tmp_path, "abc")
        contents.add((tmp_path / "model.safetensors").read_bytes())
    assert len(contents) == 1 and stamped(tmp_path) == "abc"
    one, two = (load_file(folder / "model.safetensors") for folder in (WEIGHTS, tmp_path))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_digest_follows_what_the_world_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few documents: what changes here are the tables, and they are read whole."""
    monkeypatch.setattr(recipe_module, "SAMPLED", 10)
    before = recipe_digest()
    assert recipe_digest() == before
    with monkeypatch.context() as changed:
        changed.setattr(phrases, "AGREEMENTS", ("Quite so.", *phrases.AGREEMENTS[1:]))
        assert recipe_digest() != before
    with monkeypatch.context() as changed:
        changed.setattr(comparing, "UNDERSTOOD", 0.41)
        assert recipe_digest() != before
    # One of many values of a slot, which the sampled documents need not hold.
    details = tuple(v.replace("shoe size", "shoe colour") for v in slots.SLOTS["detail"])
    assert details != slots.SLOTS["detail"]
    monkeypatch.setattr(slots, "SLOTS", {**slots.SLOTS, "detail": details})
    assert recipe_digest() != before


def test_the_digest_reads_code_without_its_dress() -> None:
    """Comments, docstrings, imports, `main` and white space do not count; a number does."""
    code = "RATE = 2\n\n\ndef step(x):\n    return f\"{x['a']:.3f} # {RATE}\"\n"
    dressed = (
        '"""A page."""\n\nimport json\nfrom cai.text import (\n    seeds,\n)\n\n'
        'RATE = 2  # per step\n\n\ndef step(x):\n    """One."""\n    import torch\n'
        "    return f\"{x['a']:.3f} # {RATE}\"\n\n\ndef main():\n    print(1)\n"
    )
    assert bare(dressed) == bare(code)
    assert bare(dressed.replace("RATE = 2", "RATE = 3")) != bare(code)


def test_the_rate_warms_up_stays_and_decays() -> None:
    """100 steps, 10 of warm-up, flat until 40: step 4 is 5/10, step 70 is 30/60, the end 0.02."""
    recipe = replace(Recipe(), steps=100, warmup=10, flat_until=0.4)
    assert rate_factor(4, recipe) == pytest.approx(0.5)
    assert rate_factor(30, recipe) == 1.0
    assert rate_factor(70, recipe) == pytest.approx(0.5)
    assert rate_factor(99, recipe) == pytest.approx(0.02)


def test_the_loss_is_the_weighted_mean_of_both_parts() -> None:
    """Uniform over 4 tokens: every token costs ln 4. A probe of zeros: every label costs ln 2.

    Token weights 1 and 3, label weights 0.5 and 1.5: (4 ln 4 + 2 ln 2) / (4 + 2).
    """
    hidden = torch.zeros(1, 3, 2)
    inner = lambda input_ids: SimpleNamespace(last_hidden_state=hidden)  # noqa: E731
    head = torch.nn.Linear(2, 4, bias=False)
    probe = torch.nn.Linear(2, PROBES)
    torch.nn.init.zeros_(probe.bias)
    trainee = SimpleNamespace(language=SimpleNamespace(model=inner, lm_head=head), probe=probe)
    batch = Batch(
        ids=torch.zeros(1, 3, dtype=torch.long),
        learned=torch.tensor([0, 1]),
        targets=torch.tensor([2, 3]),
        weights=torch.tensor([1.0, 3.0]),
        label_rows=torch.tensor([0, 0]),
        label_positions=torch.tensor([2, 2]),
        label_outputs=torch.tensor([0, 1]),
        label_present=torch.tensor([1.0, 0.0]),
        label_weights=torch.tensor([0.5, 1.5]),
        tokens=3,
    )
    loss = weighted_loss(trainee, batch, bf16=True)  # type: ignore[arg-type]
    ln2 = 0.693147
    assert loss.item() == pytest.approx((4 * 2 * ln2 + 2 * ln2) / 6, abs=1e-4)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    with safe_open(folder / CHECKPOINT, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize(
    ("device", "compiled"),
    [
        pytest.param(CPU, False, marks=pytest.mark.slow),
        pytest.param(CPU, True, marks=pytest.mark.slow),
        pytest.param(CUDA, False, marks=ON_A_GPU),
        pytest.param(CUDA, True, marks=[ON_A_GPU, pytest.mark.slow]),
    ],
    ids=str,
)
def test_an_interrupted_run_goes_on_bit_for_bit(
    tmp_path: Path, device: torch.device, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five steps at once, and one step (no minutes left) and four more: equal weights and state.

    With one thread, as each of the recipe's two processes has: several add up in any order.
    """
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    threads = torch.get_num_threads()
    try:
        for folder in (straight, broken):
            folder.mkdir()
            train_tokenizer(0, documents=300).save_pretrained(folder)
        run = partial(train, 0, TINY, device=device, compiled=compiled, save_every=9)
        run(straight, resume=False, minutes=None)
        run(broken, resume=False, minutes=0.0)
        first = tensors(broken)
        run(broken, resume=True, minutes=None)
    finally:
        torch.set_num_threads(threads)
    one, two = tensors(straight), tensors(broken)
    assert one.keys() == two.keys() and any(name.startswith("optimizer/0") for name in one)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(first[name], two[name]) for name in one)


@pytest.mark.slow
def test_a_run_that_was_killed_after_its_last_save_is_finished(tmp_path: Path) -> None:
    """No step is left, the weights for use were not written: --resume writes them."""
    threads = torch.get_num_threads()
    train_tokenizer(0, documents=300).save_pretrained(tmp_path)
    try:
        train(0, TINY, tmp_path, CPU, resume=False, minutes=None, compiled=False, save_every=9)
        (tmp_path / "model.safetensors").unlink()
        train(0, TINY, tmp_path, CPU, resume=True, minutes=None, compiled=False, save_every=9)
    finally:
        torch.set_num_threads(threads)
    name = "model.embed_tokens.weight"
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        weight = tensors(tmp_path)[f"weights/language.{name}"]
        assert torch.equal(file.get_tensor(name), weight.to(torch.bfloat16))


def apart(folder: Path) -> bool:
    """Whether the last save holds two different places."""
    if not (folder / CHECKPOINT).is_file():
        return False
    with safe_open(folder / CHECKPOINT, "pt") as file:
        first, second = json.loads(file.metadata()["progress"])["streams"]
    return bool(first != second)


@pytest.mark.slow
def test_two_killed_processes_go_on_bit_for_bit(tmp_path: Path) -> None:
    """Each from its own place in its own batches, which by then are not the same."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    for folder in (straight, broken):
        folder.mkdir()
        train_tokenizer(0, documents=300).save_pretrained(folder)
    command = [sys.executable, "-c", TWO_PROCESSES]
    subprocess.run([*command, str(straight)], check=True)
    going = subprocess.Popen([*command, str(broken)])
    while not apart(broken):
        assert going.poll() is None, "ended, and the two were never apart"
        time.sleep(0.005)
    going.kill()
    going.wait()
    assert apart(broken)
    subprocess.run([*command, str(broken), "resume"], check=True)
    one, two = tensors(straight), tensors(broken)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_world_is_a_library_without_torch() -> None:
    modules = "requests responses prose judge quality pairs critic crosscheck facts lexicon"
    names = ["prompts", "measure", "known", *(f"world.{module}" for module in modules.split())]
    code = "import sys\n" + "".join(f"import cai.miniature.{name}\n" for name in names)
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
