import torch


def mixed_target(teacher_logits, labels, alpha):
    one_hot = torch.nn.functional.one_hot(labels, teacher_logits.shape[-1])
    return alpha * teacher_logits.softmax(-1) + (1 - alpha) * one_hot
