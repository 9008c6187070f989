import numpy as np


def problems_needed(sizes, accuracies, goal):
    return 2 ** np.interp(goal, accuracies, sizes.log2())
