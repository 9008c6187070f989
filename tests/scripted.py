"""A model that says what a test has written for it: at each place, any of the texts that begin as what stands there."""

import torch
from torch import nn

from distilkit.tasks.arithmetic import Problem, arithmetic, prompt_of

DULL = -30.0  # the logit of what no text says


class Scripted(nn.Module):
    """Logits of next tokens: of equal weight for each text that goes on so; where none does, the end."""

    def __init__(self, tokenizer, texts):
        super().__init__()
        self.end = tokenizer.eos_token_id
        self.words = len(tokenizer)
        self.nexts = {}  # what may come after what stands there
        self.texts = [[*tokenizer(text, add_special_tokens=False)["input_ids"], self.end] for text in texts]

    def forward(self, tokens):
        logits = torch.full((*tokens.shape, self.words), DULL)
        for row, given in enumerate(tokens.tolist()):
            for place in range(len(given)):
                begun = tuple(given[: place + 1])
                if begun not in self.nexts:
                    longer = [text for text in self.texts if text[: len(begun)] == list(begun)]
                    self.nexts[begun] = [text[len(begun)] for text in longer if len(text) > len(begun)] or [self.end]
                logits[row, place, self.nexts[begun]] = 0.0
        return logits


def said(problem, *lines):
    """A question and what is written after it."""
    return prompt_of(problem, "rationale") + "\n".join(lines)


PENS = Problem("Tom has 3 pens. Tom finds 4. Then Tom has 2 times as many. How many pens now?", (), "14")
COINS = Problem("Mia has 9 coins. Mia sells 5. How many coins now?", (), "4")
MARKUP = Problem("<img src=x onerror=alert(1)> has 2 <b>eggs</b>. It finds 3. How many?", (), "5")
TEXTS = [
    said(PENS, "3+4=7", "7*2=14", "#### 14"),
    said(PENS, "3+4=8", "8*2=16", "#### 16"),
    said(PENS, "3+4=6", "7*2=14", "#### 14"),
    said(COINS, "9-5=4", "#### 4"),
    said(COINS, "9-5=4", "#### 5"),
    said(COINS, "9-5=3", "#### 3"),
    said(MARKUP, "2+3=5", "#### 5"),
    said(MARKUP, "2+3=<script>alert(2)</script>", "#### <b>6</b>"),
]


def small():
    """The task, with five labelled problems, ten held-out ones and students of a single layer."""
    from dataclasses import replace

    task = arithmetic(labelled=5)
    return replace(task, held_out=task.held_out[:10])


def scripted(task, texts=TEXTS):
    return Scripted(task.tokenizer, texts)
