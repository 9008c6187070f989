def length_normalised(log_probs, exponent):
    return log_probs.sum() / len(log_probs) ** exponent
