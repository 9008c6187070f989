def written_kl(student_logits, teacher_logits, written):
    log_q, log_p = student_logits.log_softmax(-1), teacher_logits.log_softmax(-1)
    each = (log_q.exp() * (log_q - log_p)).sum(-1)  # (n, time)
    return each[written].mean()
