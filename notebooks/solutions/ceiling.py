def ceiling(seen, labels):
    right = sum(labels[seen == value].bincount().max() for value in seen.unique())
    return right / len(labels)
