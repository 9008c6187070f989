import torch


def jsd(student_logits, teacher_logits):
    log_q, log_p = student_logits.log_softmax(-1), teacher_logits.log_softmax(-1)
    log_m = torch.logaddexp(log_q, log_p) - torch.tensor(2.0).log()
    to_teacher = (log_p.exp() * (log_p - log_m)).sum(-1)
    to_student = (log_q.exp() * (log_q - log_m)).sum(-1)
    return ((to_teacher + to_student) / 2).mean()
