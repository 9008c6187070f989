"""Translation, English to French: few translated sentences, many English ones, and a teacher that translates them.

Sentences come from a synchronous grammar (see `tasks.grammar`), so that every reference is right, or from files of your
own. The models are small ones of transformers, which read the sentence and write the translation word by word.

python -m distilkit.tasks translation      train teacher, student and twin, into data/translation
"""

from __future__ import annotations

import functools
import gzip
import inspect
import io
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distilkit.divergences import IGNORED
from distilkit.errors import BadFile, BadType, BadValue, shown, whole
from distilkit.models import Inputs, data_path, device_of, evaluating, read, read_checked
from distilkit.origin import remembered
from distilkit.pretrained import find_tokenizer, seq2seq_model
from distilkit.tasks.grammar import PHENOMENA, WORD, Sentence, sentences
from distilkit.tasks.lexicon import CITIES, NAMES, couples
from distilkit.transfer import Examples

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FOLDER = "translation"
PAD, END, UNKNOWN = 0, 1, 2
SPECIAL = ("<pad>", "</s>", "<unk>")
LONGEST = 12  # tokens of a sentence that is learnt, its end among them
WRITTEN = 24  # tokens of a translation, at most
READ = 63  # words and signs of a sentence that a model can be asked to translate
ENGLISH = 50_000  # sentences without a translation
TESTS = 500  # sentences that models are judged on
TEACHER_SHAPE: dict[str, Any] = {"layers": (6, 8), "width": 128}
LABELLED = 500  # translated sentences, of the shipped student and its twin
CHOICES = 5  # words that might have stood at a place
AT_ONCE = 64  # sentences that are translated side by side
MOST_PAIRS = 200_000  # of files of one's own
MOST_WORDS = 8_000  # that a tokenizer of files of one's own knows

NAMED = {  # the words of the generated sentences that have a capital
    name.lower(): name for name in (*NAMES["m"], *NAMES["f"], *(city for both in couples(CITIES) for city in both))
}

Pair = tuple[str, str]  # English, French


@dataclass(frozen=True)
class Translation:
    """What a model made of a sentence.

    Attributes:
        source, text: the sentence, its translation.
        source_tokens, tokens: their words, as the model has them.
        probs: of each word of the translation, the model's probability.
        choices: at each, the likeliest words there with their probabilities.
        n_best: the candidates of the beam, the best first, with their log-probability a word; greedy has one.
        alignment: of each word, the shares of the source's words in the last layer's cross-attention, mean of heads.
        unknown: words of the source that the model does not know.
    """

    source: str
    text: str
    source_tokens: tuple[str, ...]
    tokens: tuple[str, ...]
    probs: tuple[float, ...]
    choices: tuple[tuple[tuple[str, float], ...], ...]
    n_best: tuple[tuple[str, float], ...]
    alignment: tuple[tuple[float, ...], ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Bilingual:
    """The task: `translation()` makes it.

    Attributes:
        pairs: the translated sentences, (English, French).
        english: sentences that have no translation.
        held_out: pairs to be judged on, which nobody learns from.
        said: the shipped teacher's translations of `english`, if there are any.
        tokenizer: one for both languages; a token is a word.
    """

    pairs: tuple[Pair, ...]
    english: tuple[str, ...]
    held_out: tuple[Pair, ...]
    said: tuple[str, ...]
    tokenizer: PreTrainedTokenizerBase
    labelled: int
    seed: int
    path: Any = None

    @functools.cached_property
    def train(self) -> Examples:
        """The translated sentences."""
        return self.examples(self.pairs)

    @functools.cached_property
    def transfer(self) -> Examples:
        """The translated sentences, and the others along the shipped teacher's translation, unlabelled (−1)."""
        more = self.examples(list(zip(self.english, self.said, strict=False))).unlabelled if self.said else None
        return self.train if more is None else self.train + more

    @property
    def test(self) -> Examples:
        """The held-out sentences."""
        return self.examples(self.held_out)

    @remembered
    def teacher(self) -> PreTrainedModel:
        """The shipped teacher, in eval mode."""
        return self._shipped("teacher")

    @remembered
    def distilled(self) -> PreTrainedModel:
        """The shipped student."""
        return self._shipped("distilled")

    @remembered
    def twin(self) -> PreTrainedModel:
        """The shipped twin: the student's shape and steps, the translated sentences alone."""
        return self._shipped("twin")

    def _shipped(self, name: str) -> PreTrainedModel:
        if self.path is not None:
            raise BadValue(
                f"there is no shipped {name} of files of one's own: train one, "
                "distill(task.student(layers=(6, 8), width=128), None, task.train)"
            )
        return seq2seq_model(data_path(f"{FOLDER}/{name}"), tokenizer=self.tokenizer)[0]

    @remembered
    def student(self, seed: int = 0, *, layers: tuple[int, int] = (2, 1), width: int = 88) -> PreTrainedModel:
        """An untrained Pegasus: so many layers that read, and that write."""
        return pegasus(len(self.tokenizer), layers=layers, width=width, seed=seed)

    @remembered
    def relabelled(self, labelled: int, seed: int) -> Bilingual:
        """The same task with other translated sentences."""
        if self.path is not None:
            return read_pairs(self.path, labelled, seed)
        return replace(self, pairs=_labelled(labelled, seed), labelled=labelled, seed=seed)

    def examples(self, pairs: Sequence[Pair]) -> Examples:
        """What a model learns from: those of at most 12 tokens a side, the target led by its start."""
        rows = [(self._ids(english), self._ids(french)) for english, french in pairs]
        rows = [(source, target) for source, target in rows if max(len(source), len(target)) <= LONGEST]
        if not rows:
            raise BadValue(f"none of the {len(pairs)} sentences has at most {LONGEST - 1} words on either side")
        source, target = (_padded([row[side] for row in rows], LONGEST) for side in (0, 1))
        led = torch.cat([torch.full((len(rows), 1), PAD), target[:, :-1]], 1)
        inputs = Inputs(input_ids=source, attention_mask=(source != PAD).long(), decoder_input_ids=led)
        return Examples(inputs, target.masked_fill(target == PAD, IGNORED))

    @remembered
    def sequences(self, model: nn.Module, english: Sequence[str], *, beams: int = 4) -> Examples:
        """What a model writes for these sentences, as labels: sequence-level distillation.

        Source: Kim & Rush 2016, arXiv:1606.07947. With its `unlabelled`, only the teacher's words along it are learnt.
        """
        return self.examples(list(zip(english, self.write(model, english, beams=beams), strict=True)))

    def write(self, model: nn.Module, english: Sequence[str], *, beams: int = 1) -> list[str]:
        """The translations alone, of many sentences."""
        texts: list[str] = []
        for start in range(0, len(english), AT_ONCE):
            found = search(model, self._source(english[start : start + AT_ONCE]), beams=beams)
            texts += [self.decode(candidates[0][0]) for candidates in found]
        return texts

    @torch.no_grad()
    def translate(self, model: nn.Module, texts: Sequence[str], *, beams: int = 1) -> list[Translation]:
        """Each sentence's translation, and how the model came to it; `beams` 1 takes the likeliest word each time."""
        if isinstance(texts, str):
            raise BadType(f'translate takes several sentences, ["…"], got {shown(texts)}')
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise BadValue(f"a sentence is a text with a word in it, got {shown(text)}")
        return [self._translation(model, text, beams) for text in texts]

    def _translation(self, model: Any, text: str, beams: int) -> Translation:
        source = self._source([text])
        candidates = search(model, source, beams=beams)[0]
        written = candidates[0][0]
        led = torch.tensor([[PAD, *written]])
        kind = getattr(model.config, "_attn_implementation", "eager")
        with evaluating(model):
            model.set_attn_implementation("eager")  # another keeps its attention to itself
            try:
                output = model(**source, decoder_input_ids=led, output_attentions=True)
            finally:
                model.set_attn_implementation(kind)
        soft = output.logits[0, : len(written)].softmax(-1)
        looked = output.cross_attentions[-1][0].mean(0)[: len(written), : source["input_ids"].shape[1] - 1]
        likeliest = soft.topk(min(CHOICES, soft.shape[-1]))
        names = self.tokenizer.convert_ids_to_tokens
        words = _words(text)
        return Translation(
            text,
            self.decode(written),
            tuple(words),
            tuple(names(written)),
            tuple(soft[torch.arange(len(written)), torch.tensor(written, dtype=torch.long)].tolist()),
            tuple(
                tuple(zip(names(row), shares, strict=True))
                for row, shares in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
            ),
            tuple((self.decode(tokens), score) for tokens, score in candidates),
            tuple(map(tuple, (looked / looked.sum(-1, keepdim=True).clamp(min=1e-9)).tolist())),
            tuple(dict.fromkeys(word for word in words if self._id(word) == UNKNOWN)),
        )

    def score(
        self, model: nn.Module, *, beams: int = 1, limit: int | None = None, pairs: Sequence[Pair] | None = None
    ) -> dict[str, float]:
        """BLEU and chrF (sacrebleu, 0 to 100), and the share of held-out sentences that are exactly the reference."""
        try:
            import sacrebleu
        except ImportError:
            raise BadValue("sacrebleu is missing: pip install 'distilkit[apps]' first") from None
        asked = list(self.held_out if pairs is None else pairs)[:limit]
        written = self.write(model, [english for english, _ in asked], beams=beams)
        wanted = [french for _, french in asked]
        same = sum(self._ids(one) == self._ids(other) for one, other in zip(written, wanted, strict=True))
        return {
            "bleu": sacrebleu.corpus_bleu(written, [wanted]).score,
            "chrf": sacrebleu.corpus_chrf(written, [wanted]).score,
            "exact": same / len(asked),
        }

    def by_phenomenon(self, model: nn.Module, *, limit: int | None = None) -> pd.DataFrame:
        """What of grammar the held-out sentences take: phenomenon, sentences with it, the share that is exact."""
        import pandas as pd

        if self.path is not None:
            raise BadValue("what occurs in sentences of one's own is not known: by_phenomenon is of generated ones")
        some = _held_out()[:limit]
        written = self.write(model, [one.english for one in some])
        right = [self._ids(one.french) == self._ids(text) for one, text in zip(some, written, strict=True)]
        rows = []
        for name in PHENOMENA:
            found = [same for one, same in zip(some, right, strict=True) if name in one.phenomena]
            rows.append({"phenomenon": name, "sentences": len(found), "exact": sum(found) / max(len(found), 1)})
        return pd.DataFrame(rows)

    def speed(self, model: nn.Module, *, beams: int = 1, limit: int = 30) -> float:
        """Sentences a second, one at a time, on this machine."""
        asked = [english for english, _ in self.held_out[:limit]]
        self.write(model, asked[:1], beams=beams)
        began = time.perf_counter()
        for english in asked:
            self.write(model, [english], beams=beams)
        return len(asked) / (time.perf_counter() - began)

    def encode(self, text: str) -> Tensor:
        """The tokens of a text, without an end."""
        return torch.tensor(self._ids(text)[:-1])

    def decode(self, tokens: Sequence[int] | Tensor) -> str:
        """The text of these tokens, as one writes it: l'école, a capital, a point without a space."""
        names = self.tokenizer.convert_ids_to_tokens([int(token) for token in tokens if int(token) not in (PAD, END)])
        text = re.sub(r"' ", "'", " ".join(names))
        text = re.sub(r" ('s\b|[.,)])", r"\1", text)
        text = re.sub(r"\w[\w-]*", lambda found: NAMED.get(found[0], found[0]), text)
        return text[:1].upper() + text[1:]

    def _source(self, texts: Sequence[str]) -> Inputs:
        rows = [self._ids(text) for text in texts]
        longest = max(rows, key=len)
        if len(longest) > READ + 1:
            text = texts[rows.index(longest)]
            raise BadValue(
                f"{shown(text)} has {len(longest) - 1} words and signs; a model reads at most {READ} at once"
            )
        tokens = _padded(rows, len(longest))
        return Inputs(input_ids=tokens, attention_mask=(tokens != PAD).long())

    def _ids(self, text: str) -> list[int]:
        return [*map(self._id, _words(text)), END]

    def _id(self, word: str) -> int:
        found: int = self.tokenizer.convert_tokens_to_ids(word)  # type: ignore[assignment]
        return found if found not in (PAD, END) else UNKNOWN


@remembered
def translation(labelled: int = LABELLED, seed: int = 0, *, path: Any = None) -> Bilingual:
    """English to French, `labelled` translated sentences for a student to learn from, and 50,000 English ones.

    Args:
        labelled: how many sentences have a translation.
        seed: which.
        path: sentences of one's own: two text files, (English, French), line by line, also .gz; or one of two columns,
            English, a tab, French. Every tenth is held out. The tokenizer is then theirs, and there is no teacher yet.

    Raises:
        BadFile: a file is missing or no text, or the two are not equally long.
    """
    if path is not None:
        return read_pairs(path, labelled, seed)
    pairs, tokenizer = _labelled(labelled, seed), find_tokenizer(data_path(f"{FOLDER}/teacher"))
    return replace(task_of_grammar(pairs, tokenizer), english=_answered()[0], said=_answered()[1], seed=seed)


def task_of_grammar(pairs: tuple[Pair, ...], tokenizer: PreTrainedTokenizerBase) -> Bilingual:
    """The task of these generated sentences, before there is a teacher that could translate others."""
    held_out = tuple((one.english, one.french) for one in _held_out())
    return Bilingual(pairs, (), held_out, (), tokenizer, len(pairs), 0)


def pegasus(
    words: int, *, layers: tuple[int, int], width: int, seed: int = 0, longest: int = READ + 1, end: int = END
) -> PreTrainedModel:
    """An untrained Pegasus: so many layers that read, and that write; the embeddings serve both and the output.

    Marian with the norm before each block, not after it: so it bears a learning rate at which it learns four times
    as fast here.
    """
    from transformers import PegasusConfig, PegasusForConditionalGeneration

    config = PegasusConfig(
        vocab_size=words,
        d_model=width,
        encoder_layers=layers[0],
        decoder_layers=layers[1],
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        pad_token_id=PAD,
        eos_token_id=end,
        decoder_start_token_id=PAD,
        forced_eos_token_id=None,
        max_position_embeddings=longest,
        scale_embedding=True,
        activation_function="relu",
        init_std=0.06,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole("seed", seed, 0, 2**63 - 1, "of the first weights"))
        return PegasusForConditionalGeneration(config).eval()


@torch.no_grad()
def search(model: Any, source: Inputs, *, beams: int = 1) -> list[list[tuple[list[int], float]]]:
    """The likeliest translations of each sentence, tokens and log-probability a token, the best first.

    At each word the `beams` best candidates go on; one that has ended keeps its score. 1 is greedy.
    """
    from transformers import DynamicCache, EncoderDecoderCache

    beams = whole("beams", beams, 1, 16, "1 takes the likeliest word each time")
    count, device = len(source), device_of(model)
    tokens, mask = (source[name].to(device).repeat_interleave(beams, 0) for name in ("input_ids", "attention_mask"))
    written = torch.full((count, beams, 1), PAD, device=device)
    scores = torch.full((count, beams), -torch.inf, device=device)
    scores[:, 0] = 0.0  # at first all candidates are the same
    ended = torch.zeros(count, beams, dtype=torch.bool, device=device)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"  # as it is called
    with evaluating(model):
        read = model.get_encoder()(input_ids=tokens, attention_mask=mask)
        for _ in range(WRITTEN):
            last = written[..., -1].reshape(-1, 1)
            output = model(
                encoder_outputs=read, attention_mask=mask, decoder_input_ids=last, use_cache=True, **{name: cache}
            )
            nexts = output.logits[:, -1].log_softmax(-1).view(count, beams, -1)
            nexts[..., PAD] = -torch.inf
            nexts[ended] = -torch.inf
            nexts[..., PAD].masked_fill_(ended, 0.0)
            words = nexts.shape[-1]
            scores, best = (scores[..., None] + nexts).flatten(1).topk(beams)
            come, word = best // words, best % words
            written = torch.cat([written.gather(1, come[..., None].expand_as(written)), word[..., None]], -1)
            ended = ended.gather(1, come) | (word == END)
            if ended.all():
                break
            if beams > 1:
                cache.reorder_cache((come + beams * torch.arange(count, device=device)[:, None]).flatten())
    found = []
    for rows, row_scores in zip(written.tolist(), scores.tolist(), strict=True):
        candidates = [[token for token in row if token not in (PAD, END)] for row in rows]
        means = [score / sum(token != PAD for token in row) for row, score in zip(rows, row_scores, strict=True)]
        ordered = sorted(zip(candidates, means, strict=True), key=lambda each: -each[1])
        found.append(ordered)
    return found


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _words(text: str) -> list[str]:
    """The words of a sentence, in small letters; don't is do not, can't is ca not."""
    text = text.lower().replace("\u2019", "'").replace("won't", "will not").replace("n't", " not")
    return re.findall(WORD, text)


def word_tokenizer(pairs: Sequence[Pair], *, most: int = MOST_WORDS) -> PreTrainedTokenizerBase:
    """A tokenizer of the words of these sentences, of both languages: a token a word, the most frequent ones."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    counts = Counter(word for pair in pairs for side in pair for word in _words(side))
    known = [word for word, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[: most - len(SPECIAL)]]
    vocabulary = {word: place for place, word in enumerate((*SPECIAL, *known))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def _padded(rows: Sequence[Sequence[int]], time: int) -> Tensor:
    return torch.tensor([[*row, *[PAD] * (time - len(row))] for row in rows])


# ── sentences ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _labelled(labelled: int, seed: int) -> tuple[Pair, ...]:
    labelled = whole("labelled", labelled, 1, 100_000, "sentences that have a translation")
    seed = whole("seed", seed, 0, 2**63 - 1, "which sentences have one")
    return tuple((one.english, one.french) for one in sentences(labelled, f"labelled {seed}"))


def _short(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if max(len(_words(side)) for side in pair) < LONGEST]


@functools.lru_cache(maxsize=1)
def _held_out() -> list[Sentence]:
    return sentences(TESTS, "test", held_out=True)


@functools.lru_cache(maxsize=1)
def _answered() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """English sentences, and what the shipped teacher made of them."""
    lines = gzip.decompress(read_checked(data_path(f"{FOLDER}/answered.tsv.gz"))).decode().splitlines()
    english, said = zip(*(line.split("\t") for line in lines), strict=True)
    return english, said


def read_pairs(path: Any, labelled: int, seed: int) -> Bilingual:
    """The task of one's own sentences: see `translation`."""
    if isinstance(path, str | Path):
        rows = [line.split("\t") for line in _lines(path)]
        wrong = next((place for place, row in enumerate(rows, 1) if len(row) < 2), None)
        if wrong:
            raise BadFile(
                f"{shown(str(path), 120)}, line {wrong}: no tab in {shown(rows[wrong - 1][0])}; a line is "
                "English, a tab, French (or give two files: path=(english, french))"
            )
        both_sides = [(row[0], row[1]) for row in rows]
    elif isinstance(path, tuple | list) and len(path) == 2:
        english, french = map(_lines, path)
        if len(english) != len(french):
            raise BadFile(
                f"{shown(str(path), 200)}: the files must have equally many lines, "
                f"got {len(english):,} and {len(french):,}"
            )
        both_sides = list(zip(english, french, strict=True))
    else:
        raise BadType(f"path is a file of two columns, or a pair of files (English, French), got {shown(path)}")
    both_sides = [(one.strip(), other.strip()) for one, other in both_sides if one.strip() and other.strip()]
    kept = _short(list(dict.fromkeys(both_sides)))
    if len(kept) < 20:
        raise BadFile(
            f"{shown(str(path), 120)}: {len(kept)} sentences of fewer than {LONGEST} words on both sides; 20 are needed"
        )
    held_out, rest = kept[::10][:TESTS], [pair for place, pair in enumerate(kept) if place % 10]
    labelled = whole("labelled", labelled, 1, len(rest), "sentences that have a translation; the files have so many")
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed)).tolist()
    labelled_pairs = tuple(rest[place] for place in order[:labelled])
    english_only = tuple(rest[place][0] for place in order[labelled:])
    return Bilingual(labelled_pairs, english_only, tuple(held_out), (), word_tokenizer(rest), labelled, seed, path)


def _lines(path: str | Path) -> list[str]:
    """The lines of a text file in UTF-8, also .gz."""
    data = read(path)
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                data = file.read(2**28)
        except (OSError, EOFError) as error:
            raise BadFile(f"{shown(str(path), 200)} is a damaged .gz file: {error}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(f"{shown(str(path), 200)} is no text in UTF-8 (byte {error.start}): save it as UTF-8") from None
    if "\0" in text:
        raise BadFile(f"{shown(str(path), 200)} is no text: it holds zero bytes")
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if len(lines) > MOST_PAIRS:
        raise BadFile(f"{shown(str(path), 200)} has {len(lines):,} lines, more than {MOST_PAIRS:,}: give a part of it")
    return lines
