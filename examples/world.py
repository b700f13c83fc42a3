"""The miniature's world as a library: draw, judge, rate, pair. Needs no model and no torch.

python examples/world.py
"""

import random

from cai.miniature.world import critic
from cai.miniature.world.judge import judge
from cai.miniature.world.lexicon import covered_flaws
from cai.miniature.world.pairs import draw_pairs
from cai.miniature.world.quality import quality
from cai.miniature.world.requests import draw_request
from cai.miniature.world.responses import draw_push, revise, sample_response

rng = random.Random(7)

for kind in ("harmful", "benign", "lookalike", "factual"):
    request = draw_request(rng, kind, split="held")
    response = sample_response(request, rng)
    print(f"\n{kind}: {request.text}")
    print(f"  response  {response.text}")
    print(f"  flaws     {sorted(judge(request, response.text)) or 'none'}")
    print(f"  quality   {quality(request, response.text).score:.2f} of 1")
    asked = covered_flaws(["any"])
    print(f"  critique  {critic.critique(response, asked, rng)}")
    print(f"  revision  {revise(response, asked, rng).text}")

request = draw_request(rng, "harmful", split="held")
refusal, push = draw_push(rng, request)
print(f"\npushy: {request.text} / {refusal.text} / {push}")

for pair in draw_pairs(rng, 2, "conflict"):
    better = "first" if pair.first_is_better else "second"
    print(f"\nless {pair.adjective}: the {better} of")
    print(f"  {pair.first.text}\n  {pair.second.text}")
