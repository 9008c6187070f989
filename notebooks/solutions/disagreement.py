def disagreement(logits):
    probs = logits.softmax(-1)

    def entropy(p):
        return -p.xlogy(p).sum(-1)

    return entropy(probs.mean(0)) - entropy(probs).mean(0)
