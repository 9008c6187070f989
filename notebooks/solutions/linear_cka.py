def linear_cka(first, second):
    x, y = first - first.mean(0), second - second.mean(0)
    return (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
