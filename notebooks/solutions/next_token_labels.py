def next_token_labels(tokens, prompt):
    labels = tokens[:, 1:].clone()
    labels[:, : prompt - 1] = -100
    return labels
