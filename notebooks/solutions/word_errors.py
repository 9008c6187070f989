def word_errors(said, heard):
    cost = [[i + j for j in range(len(heard) + 1)] for i in range(len(said) + 1)]
    for i in range(1, len(said) + 1):
        for j in range(1, len(heard) + 1):
            exchanged = cost[i - 1][j - 1] + int(said[i - 1] != heard[j - 1])
            cost[i][j] = min(cost[i - 1][j] + 1, cost[i][j - 1] + 1, exchanged)
    return cost[-1][-1] / len(said)
