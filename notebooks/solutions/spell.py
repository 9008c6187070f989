def spell(path):
    merged = path.unique_consecutive()
    return merged[merged > 0]
