import torch

import distilkit as dk


def kd_loss(student_logits, teacher_logits, labels, alpha, temperature):
    soft = dk.forward_kl(student_logits / temperature, teacher_logits / temperature)
    hard = torch.nn.functional.cross_entropy(student_logits, labels)
    return alpha * temperature**2 * soft + (1 - alpha) * hard
