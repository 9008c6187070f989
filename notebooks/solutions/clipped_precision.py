def clipped_precision(candidate, reference):
    words = candidate.unique()
    had = (candidate == words[:, None]).sum(1)
    wanted = (reference == words[:, None]).sum(1)
    return had.minimum(wanted).sum() / len(candidate)
