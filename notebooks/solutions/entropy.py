def entropy(logits):
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)
