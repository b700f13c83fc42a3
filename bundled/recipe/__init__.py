"""The training recipe of the bundled weights: `python -m bundled.recipe.pretrain --out DIR`.

`dialogues`, `comparing` and `turns` write training documents, `tokenizer` and `batches` encode
them, `pretrain` trains (`ranks`: its processes, `checkpoints`: its files). `recipe` holds the
hyperparameters and the digest that the weights carry.
"""
