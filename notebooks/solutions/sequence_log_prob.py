def sequence_log_prob(logits, tokens):
    log_probs = logits[:, :-1].log_softmax(-1)
    return log_probs.gather(-1, tokens[:, 1:, None]).squeeze(-1).sum(-1)
