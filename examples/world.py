"""The miniature's world as a library: draw, judge, rate, pair. Needs no model and no torch.

python examples/world.py
"""

import random

from cai import miniature

KINDS: tuple[miniature.RequestKind, ...] = ("harmful", "benign", "lookalike", "factual")

rng = random.Random(7)

for kind in KINDS:
    request = miniature.draw_request(rng, kind, split="held")
    response = miniature.sample_response(request, rng)
    print(f"\n{kind}: {request.text}")
    print(f"  response  {response.text}")
    print(f"  flaws     {sorted(miniature.judge(request, response.text)) or 'none'}")
    print(f"  quality   {miniature.quality(request, response.text).score:.2f} of 1")
    flaws = miniature.covered_flaws(["any"])
    print(f"  critique  {miniature.critique(response, flaws, rng)}")
    print(f"  revision  {miniature.revise(response, flaws, rng).text}")

request = miniature.draw_request(rng, "harmful", split="held")
refusal, push = miniature.draw_push(rng, request)
print(f"\npushy: {request.text} / {refusal.text} / {push}")

for pair in miniature.draw_pairs(rng, 2, "conflict"):
    better = "first" if pair.first_is_better else "second"
    print(f"\nless {pair.adjective}: the {better} of")
    print(f"  {pair.first.text}\n  {pair.second.text}")
