import torch


def leaked_share(train, test):
    return torch.isin(test, train).float().mean()
