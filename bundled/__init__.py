"""How the bundled model was made and measured: in the checkout and the sdist, not in the wheel.

`recipe` trains the weights in `cai/miniature/weights` on documents of the world, `evaluation`
measures them. Both use the world, `cai.miniature.world`, and nothing in `cai` imports them.
See docs/miniature.md.
"""
