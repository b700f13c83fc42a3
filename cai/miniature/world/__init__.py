"""The synthetic world whose ground truth is known, as a library without torch.

`requests` and `responses` draw what users and assistants say; `judge` and `quality` say what a text
is worth, `pairs` which of two is better, `critic` and `responses.revise` what a perfect critic and
reviser would say. `crosscheck` reads flaws without the templates of the grammar.
"""
