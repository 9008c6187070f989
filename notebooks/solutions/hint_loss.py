def hint_loss(student_states, teacher_states, weights):
    error = (student_states @ weights.T - teacher_states).square().mean()
    return error / teacher_states.var(correction=0)
