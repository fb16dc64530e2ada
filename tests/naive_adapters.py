"""Slow and obvious float64 twins of how adapters change a matrix W [outputs, inputs].

They are written as layers compute, y = W x + …, and not as the server merges.
"""

import numpy as np


def matrix_of(layer, inputs):
    """The matrix that a linear layer is: its outputs for the unit vectors."""
    return np.stack([layer(x) for x in np.eye(inputs)], axis=1)


def lora(weight, a, b, alpha):
    return matrix_of(lambda x: weight @ x + alpha / len(a) * (b @ (a @ x)), weight.shape[1])


def pissa(weight, a, b, initial_a, initial_b):
    return matrix_of(lambda x: (weight - initial_b @ initial_a) @ x + b @ (a @ x), weight.shape[1])


def bone(weight, shared):
    """shared [r, outputs] sees the sum of the input's pieces of r, the last one padded."""
    rank = len(shared)

    def layer(x):
        padded = np.concatenate([x, np.zeros(-len(x) % rank)])
        return weight @ x + padded.reshape(-1, rank).sum(0) @ shared

    return matrix_of(layer, weight.shape[1])


def mini(weight, shared):
    """As bone, of [r, mini_r], the outputs being repeated."""
    return bone(weight, np.tile(shared, (1, len(weight) // shared.shape[1])))


def bat(weight, blocks, by):
    """Each r × r block at (a, b) becomes W + W D + D, of D number b (column) or a (row)."""
    rank, result = blocks.shape[1], weight.copy()
    for a in range(weight.shape[0] // rank):
        for b in range(weight.shape[1] // rank):
            place = np.s_[a * rank : (a + 1) * rank, b * rank : (b + 1) * rank]
            block = blocks[a if by == "row" else b]
            result[place] += weight[place] @ block + block
    return result
