def soft_gradient(student_logits, teacher_logits, temperature):
    q = (student_logits / temperature).softmax(-1)
    p = (teacher_logits / temperature).softmax(-1)
    return (q - p) / temperature
