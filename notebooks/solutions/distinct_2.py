from itertools import pairwise


def distinct_2(texts):
    pairs = [pair for row in texts.tolist() for pair in pairwise(row)]
    return len(set(pairs)) / len(pairs)
