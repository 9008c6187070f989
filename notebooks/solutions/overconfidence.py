def overconfidence(logits, labels):
    sure = logits.softmax(-1).amax(-1)
    right = (logits.argmax(-1) == labels).double()
    return sure.mean() - right.mean()
