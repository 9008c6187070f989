def head_share(student_logits, teacher_logits):
    teacher, order = teacher_logits.softmax(-1).sort(descending=True)
    gaps = (teacher - student_logits.softmax(-1)[order]).abs()
    head = teacher.cumsum(-1) - teacher < 0.5
    return gaps[head].sum() / gaps.sum()
