import math


def seeds_needed(spread, gain):
    seeds = (1.96 * spread / gain) ** 2
    return max(2, math.ceil(seeds))
