import torch


def precision_recall(kept, right):
    both = (kept & right).sum()
    return torch.stack([both / kept.sum(), both / right.sum()])
