"""The losses of the four trainers: pure functions, tensors in and tensors out, torch alone.

Letters in shapes: B rows, T tokens of a row, N tokens counted, P pairs. A mask's True means
"counts". A loss over tokens is a sum divided by `total`, the tokens of the whole batch, so that the
parts of an accumulated batch add up to the loss, and the gradient, of the batch in one piece.
"""
