def smoothed_shares(sizes, exponent):
    weights = sizes**exponent
    return weights / weights.sum()
