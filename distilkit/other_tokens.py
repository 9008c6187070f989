"""A teacher of another tokenizer: both sides are read as bytes, and what the teacher says is carried over.

How it is carried over
----------------------
The student stands after some of its tokens, h the last of them. The teacher's last token ended at the same byte, or
some bytes ago, within h: the rest of h, u, is *pending*. The teacher gave its next token w the probability p(w). Of the
w that begin with u and are longer, those count after which the student would have read h as it did; each says which
token s comes next for the student: the one that it reads after h in the bytes up to the end of w. Then

    P(s) = Σ p(w) of the w that say s / Σ p(w) of all that count

- If the student's merges are the first of the teacher's (a smaller vocabulary of the same kind, single bytes), each w
  says the true s: on text as the teacher writes it the mean of P over what may follow is the student's true
  distribution, exactly, though each single P has looked at where the teacher's token ended.
- Otherwise w can be too short to tell: after " func", is it " func" or " function"? P then takes the bytes of w as all
  there are. `OtherTokens.fit` counts on a text how often what w says is what the student's tokenizer did.

Universal logit distillation (`distilkit.uld_loss`) needs no such map: it asks where a token of both ends, and compares
sorted probabilities. Text needs none either: the teacher's is read with the student's tokenizer (`retold`).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from distilkit.divergences import IGNORED
from distilkit.errors import BadType, BadValue, choice, shown, whole
from distilkit.models import logits_of
from distilkit.tasks.text import END, Text, task_of
from distilkit.transfer import Examples

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PIECES = {"before": r"\s*\S+|\s+", "behind": r"\S+\s*|\s+"}  # where a word's spaces are


class OtherTokens(nn.Module):
    """A teacher as one that speaks the student's tokenizer: ``distill(student, OtherTokens(teacher, …), transfer)``.

    It takes the student's tokens, (n, time), and gives logits over the student's tokens, (n, time, words): the
    logarithm of the probability that was carried over, −inf where none was. So take a divergence that allows the
    teacher a 0: `forward_kl`, `jsd`, `skew_reverse_kl`. What is lost stands at the top of this module.

    Args:
        teacher: a causal language model that returns logits (n, time, words) of its own tokenizer.
        teacher_tokenizer, student_tokenizer: byte-level BPE tokenizers in Hugging Face's format (GPT-2, Llama 3, Qwen).
        translate: False gives the teacher's own logits, (n, time, teacher's words), sorted, where a token of both ends,
            and −inf for all elsewhere: for `uld_loss`.

    Raises:
        BadValue: a tokenizer that is not byte-level, that changes the text, or that has no end of a text.

    >>> import distilkit as dk
    >>> task = dk.tasks.docs()
    >>> tokenizer = dk.other_tokens.train_tokenizer(task, 640)
    >>> teacher = OtherTokens(task.teacher(), task.tokenizer, tokenizer)
    >>> own = dk.other_tokens.respoken(task, tokenizer)
    >>> teacher(own.test.inputs[:2]).shape
    torch.Size([2, 128, 640])
    """

    def __init__(
        self,
        teacher: nn.Module,
        teacher_tokenizer: PreTrainedTokenizerBase,
        student_tokenizer: PreTrainedTokenizerBase,
        *,
        translate: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(teacher, nn.Module):
            raise BadType(f"the teacher must be a torch.nn.Module, got {type(teacher).__name__}")
        self.teacher, self.translate = teacher, translate
        self.theirs, self.ours = Spelling(teacher_tokenizer), Spelling(student_tokenizer)
        self.said = cache(self._said)

    def forward(self, tokens: Tensor) -> Tensor:
        rows = [self._follow(row) for row in tokens.tolist()]
        longest = max(len(theirs) for theirs, _ in rows)
        end = self.theirs.end
        read = torch.tensor([theirs + [end] * (longest - len(theirs)) for theirs, _ in rows], device=tokens.device)
        logits = logits_of(self.teacher(read))
        if logits.shape[-1] != len(self.theirs.words):
            raise BadValue(
                f"the teacher gives {logits.shape[-1]:,} logits and its tokenizer has {len(self.theirs.words):,} "
                "tokens: is it the teacher's? dk.language_model(folder) gives both"
            )
        return self._carry(logits, rows) if self.translate else self._where_both_end(logits, rows)

    def fit(self, examples: Examples) -> Fit:
        """How well the two tokenizers go together on this text: see `Fit`. The teacher is not asked."""
        places = aligned = right = 0
        for inputs, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
            if min(labels) < 0:
                raise BadValue("a label is negative: give whole text, such as task.train or task.test")
            theirs, stands = self._follow([*inputs, labels[-1]])
            for stand, following in zip(stands[:-1], labels, strict=True):
                places += 1
                aligned += not stand.history
                right += (theirs[stand.place + 1], following) in self._pairs(stand.history, stand.offset)
        return Fit(aligned / places, right / places)

    def _follow(self, row: Sequence[int]) -> tuple[list[int], list[Stand]]:
        """The row in the teacher's tokens, after an end of text, and where it stands at each of the student's."""
        theirs, stands = [self.theirs.end], []
        for part in _parts(row, self.ours.end):
            if part == [self.ours.end]:
                theirs.append(self.theirs.end)
                stands.append(Stand(len(theirs) - 1, (), 0))
                continue
            read = self.theirs.read(self.ours.spell(part))
            our_ends, their_ends = self.ours.ends(part), self.theirs.ends(read)
            for number, end in enumerate(our_ends):
                ended = bisect_right(their_ends, end)  # of the teacher's tokens
                last = their_ends[ended - 1] if ended else 0
                first = bisect_right(our_ends, last)
                offset = last - (our_ends[first - 1] if first else 0)
                history = tuple(part[first : number + 1])
                stands.append(Stand(len(theirs) - 1 + ended, history, offset if history else 0))
            theirs += read
        return theirs, stands

    def _said(self, history: tuple[int, ...], offset: int) -> tuple[Tensor, Tensor]:
        """The teacher's tokens that count after this history, and the student's token that each of them says."""
        heard = self.ours.spell(history)
        before, pending = heard[:offset], heard[offset:]
        plain, matching = [], []
        for token in self.theirs.beginning_with(pending):
            word = self.theirs.words[token]
            plain.append((token, self.ours.read(word[len(pending) :])[0]))
            read = tuple(self.ours.read(before + word))
            if read[: len(history)] == history:
                matching.append((token, read[len(history)]))
        pairs = matching or plain
        if not history:
            pairs.append((self.theirs.end, self.ours.end))
        both = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def _pairs(self, history: tuple[int, ...], offset: int) -> set[tuple[int, int]]:
        return set(zip(*(side.tolist() for side in self.said(history, offset)), strict=True))

    def _carry(self, logits: Tensor, rows: Sequence[tuple[list[int], list[Stand]]]) -> Tensor:
        probs = logits.double().softmax(-1)
        mass = probs.new_zeros(len(rows), len(rows[0][1]), len(self.ours.words))
        alike: dict[tuple[tuple[int, ...], int], list[tuple[int, int, int]]] = {}
        for row, (_, stands) in enumerate(rows):
            for time, stand in enumerate(stands):
                alike.setdefault((stand.history, stand.offset), []).append((row, time, stand.place))
        for key, where in alike.items():
            tokens, says = self.said(*key)
            row, time, place = torch.tensor(where).T
            part = probs[row, place][:, tokens]
            mass[row, time] = mass.new_zeros(len(where), mass.shape[-1]).index_add_(1, says, part)
        return mass.log().to(logits.dtype)

    def _where_both_end(self, logits: Tensor, rows: Sequence[tuple[list[int], list[Stand]]]) -> Tensor:
        result = logits.new_full((len(rows), len(rows[0][1]), logits.shape[-1]), -torch.inf)
        for row, (_, stands) in enumerate(rows):
            times, places = zip(*((time, at.place) for time, at in enumerate(stands) if not at.history), strict=True)
            result[row, list(times)] = logits[row, list(places)].sort(-1, descending=True).values
        return result


class Fit(NamedTuple):
    """Two tokenizers on a text: the share of the student's places at which a token of both ends (`aligned`), and at
    which the teacher's actual next token says the student's actual next one (`right`)."""

    aligned: float
    right: float


class Stand(NamedTuple):
    """Where the teacher stands when the student has read a token: its own last token that has ended (`place`), the
    student's tokens that reach further (`history`), and how many bytes of them it has heard (`offset`)."""

    place: int
    history: tuple[int, ...]
    offset: int


class Spelling:
    """A byte-level tokenizer, seen as bytes: what each token spells, and as which tokens bytes are read.

    >>> import distilkit as dk
    >>> spelling = Spelling(dk.tasks.docs().tokenizer)
    >>> tokens = spelling.read("The naïve list".encode() + b"\\xff")
    >>> [spelling.words[token] for token in tokens]
    [b'The', b' n', b'a', b'\\xc3', b'\\xaf', b've', b' list', b'\\xff']
    >>> spelling.ends(tokens)
    [3, 5, 6, 7, 8, 10, 15, 16]
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        from tokenizers import Tokenizer, decoders

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or not isinstance(backend.decoder, decoders.ByteLevel):
            raise BadValue(
                f"{shown(type(tokenizer).__name__)} is not a byte-level tokenizer (as GPT-2, Llama 3 and Qwen have): "
                "its tokens have no bytes to compare. Distil on text: dk.other_tokens.retold reads it anew"
            )
        if tokenizer.eos_token_id is None:
            raise BadValue("the tokenizer has no token for the end of a text: set its eos_token")
        self.end = int(tokenizer.eos_token_id)
        self._reader = Tokenizer.from_str(backend.to_str())
        self._reader.encode_special_tokens = True  # "<|endoftext|>" in a text is text
        self.words = [b""] * len(tokenizer)  # of a special token nothing
        for word, token in tokenizer.get_vocab().items():
            if token not in tokenizer.all_special_ids:
                self.words[token] = bytes(BYTES[letter] for letter in word)
        self._sorted = sorted((word, token) for token, word in enumerate(self.words) if word)

    def read(self, data: bytes) -> list[int]:
        """The tokens of these bytes. Half a letter, which is no text, is read by itself."""
        tokens: list[int] = []
        for part in re.split("([\udc80-\udcff]+)", data.decode("utf-8", "surrogateescape")):
            if "\udc80" <= part[:1] <= "\udcff":
                letters = "".join(LETTERS[byte] for byte in part.encode("utf-8", "surrogateescape"))
                tokens += [piece.id for piece in self._reader.model.tokenize(letters)]
            elif part:
                tokens += self._reader.encode(part, add_special_tokens=False).ids
        if self.spell(tokens) != data:
            raise BadValue(
                f"the tokenizer reads {shown(data)} as {shown(self.spell(tokens))}: one that changes the text (a "
                "normalizer, a space put before it) cannot be compared byte by byte"
            )
        return tokens

    def spell(self, tokens: Iterable[int]) -> bytes:
        """The bytes of these tokens; a special token has none."""
        return b"".join(self.words[token] for token in tokens)

    def ends(self, tokens: Iterable[int]) -> list[int]:
        """The number of bytes up to the end of each token."""
        return list(accumulate(len(self.words[token]) for token in tokens))

    def beginning_with(self, start: bytes) -> Iterator[int]:
        """The tokens that begin with these bytes and are longer."""
        for word, token in self._sorted[bisect_left(self._sorted, (start, 0)) :]:
            if not word.startswith(start):
                return
            if len(word) > len(start):
                yield token


def shared_ends(first: Iterable[bytes], second: Iterable[bytes]) -> list[tuple[int, int]]:
    """Where a word of both ends: how many words of each have been read there, for two spellings of the same bytes.

    >>> shared_ends([b"the", b" li", b"st"], [b"th", b"e", b" list"])
    [(1, 2), (3, 3)]
    """
    ends, others = (dict(_counted(words)) for words in (first, second))
    return [(count, others[end]) for end, count in ends.items() if end in others]


def train_tokenizer(task: Text, vocabulary: int = 640, *, spaces: str = "before") -> PreTrainedTokenizerBase:
    """Another tokenizer for this text: a byte-level BPE of `vocabulary` tokens, from an eighth of what is not held out.

    Args:
        spaces: where a word's spaces are, "before" it (as in nearly all tokenizers) or "behind" it.

    >>> import distilkit as dk
    >>> tokenizer = train_tokenizer(dk.tasks.docs(), spaces="behind")
    >>> [tokenizer.decode([token]) for token in tokenizer("return the list")["input_ids"]]
    ['return ', 'the ', 'li', 'st']
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    choice("spaces", spaces, list(PIECES))
    whole("vocabulary", vocabulary, 257, 1 << 20, "256 bytes, the end of a text, and one token a merge")
    bpe, spelling = Tokenizer(models.BPE()), Spelling(task.tokenizer)
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES[spaces]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [part for part in _parts(task.pool.tolist(), spelling.end) if part != [spelling.end]]
    bpe.train_from_iterator((spelling.spell(text).decode("utf-8", "replace") for text in texts[::8]), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, bos_token=END)


def respoken(task: Text, tokenizer: PreTrainedTokenizerBase) -> Text:
    """The same task in another tokenizer's tokens, with as much text to learn from.

    Its `score` has bits a byte, which can be compared with the other task's; the perplexity of a token cannot.

    >>> import distilkit as dk
    >>> task = dk.tasks.docs(tokens=20_000)
    >>> own = respoken(task, train_tokenizer(task, 640))
    >>> task.labelled, own.labelled      # of the student's tokens it takes more
    (20000, 25090)
    """
    theirs, ours = Spelling(task.tokenizer), Spelling(tokenizer)
    pool, held_out = (_reread(part.tolist(), theirs, ours) for part in (task.pool, task.held_out))
    said = len(theirs.spell(task.held_out.tolist()))
    tokens = round(task.labelled * len(pool) / len(task.pool))
    context = task.train.inputs.shape[1]
    return task_of(
        torch.tensor(pool),
        torch.tensor(held_out),
        said,
        tokenizer,
        task.folder,
        tokens=tokens,
        seed=task.seed,
        context=context,
    )


def retold(
    examples: Examples, teacher_tokenizer: PreTrainedTokenizerBase, student_tokenizer: PreTrainedTokenizerBase
) -> Examples:
    """Text in the teacher's tokens (`teacher_text`) in the student's, as long as it was: labels −100 where they were.

    A token is learnt if none of its bytes was to be ignored. What does not fit in `time` tokens is left out; what is
    shorter is filled up, with labels −100.

    Returns:
        `Examples` of (n, time) tokens.
    """
    theirs, ours = Spelling(teacher_tokenizer), Spelling(student_tokenizer)
    time = examples.inputs.shape[1]
    inputs, learnt = [], []
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        whole_row = [*row, labels[-1]] if labels[-1] >= 0 else row
        counts = [False, *(label >= 0 for label in labels)][: len(whole_row)]
        tokens, known, start = [], [], 0
        for part in _parts(whole_row, theirs.end):
            marks = counts[start : start + len(part)]
            start += len(part)
            if part == [theirs.end]:
                tokens.append(ours.end)
                known += marks
                continue
            bytes_known = [mark for token, mark in zip(part, marks, strict=True) for _ in theirs.words[token]]
            read = ours.read(theirs.spell(part))
            ends = ours.ends(read)
            known += [all(bytes_known[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
            tokens += read
        room = max(0, time + 1 - len(tokens))
        inputs.append((tokens + [ours.end] * room)[: time + 1])
        learnt.append((known + [False] * room)[: time + 1])
    both = torch.tensor(inputs)
    return Examples(both[:, :-1].contiguous(), both[:, 1:].where(torch.tensor(learnt)[:, 1:], IGNORED))


def _counted(words: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Where each word ends, and how many have been read there."""
    return ((end, count) for count, end in enumerate(accumulate(map(len, words)), 1))


def _parts(tokens: Sequence[int], end: int) -> Iterator[list[int]]:
    """The tokens cut at each end of a text, which is a part of its own."""
    start = 0
    for place, token in enumerate(tokens):
        if token == end:
            if place > start:
                yield list(tokens[start:place])
            yield [end]
            start = place + 1
    if start < len(tokens):
        yield list(tokens[start:])


def _reread(tokens: Sequence[int], theirs: Spelling, ours: Spelling) -> list[int]:
    """The same text in the other's tokens."""
    return [
        token
        for part in _parts(tokens, theirs.end)
        for token in ([ours.end] if part == [theirs.end] else ours.read(theirs.spell(part)))
    ]


def _letters() -> dict[str, int]:
    """Which byte a letter of a byte-level tokenizer stands for: those that print stand for themselves (GPT-2)."""
    themselves = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in themselves]
    return {chr(byte): byte for byte in themselves} | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTES = _letters()
LETTERS = {byte: letter for letter, byte in BYTES.items()}
