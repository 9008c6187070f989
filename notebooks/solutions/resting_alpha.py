def resting_alpha(soft, hard, temperature):
    return hard / (temperature**2 * soft + hard)
