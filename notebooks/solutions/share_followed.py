def share_followed(answers, believed):
    return (answers == believed).double().mean()
