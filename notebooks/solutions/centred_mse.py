def centred_mse(student_logits, teacher_logits):
    difference = student_logits - teacher_logits
    centred = difference - difference.mean(-1, keepdim=True)
    return centred.square().mean(-1) / 2
