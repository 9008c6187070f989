import math


def machines_needed(requests, seconds, utilisation):
    return max(1, math.ceil(requests * seconds / (86_400 * utilisation)))
