def on_frontier(times, qualities):
    better = (times[None] <= times[:, None]) & (qualities[None] > qualities[:, None])
    return ~better.any(1)
