def attention_weights(query, keys):
    return (keys @ query / len(query) ** 0.5).softmax(-1)
