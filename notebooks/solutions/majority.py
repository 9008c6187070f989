from collections import Counter


def majority(answers):
    votes = Counter(answers.tolist())
    return min(votes, key=lambda answer: (-votes[answer], answer))
