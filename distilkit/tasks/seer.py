"""A model that looks at a picture for its next word: the answer to a question, or how a caption goes on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distilkit.errors import whole
from distilkit.tasks.drawing import MODALITIES, SIDE
from distilkit.tasks.questions import WORDS

CELLS = SIDE // 4  # the picture is seen in 8 × 8 cells
HEADS = 4


class Seer(nn.Module):
    """Convolutions see the picture in 8 × 8 cells; words are read and look at the cells, twice: a GRU, then attention.

    So a noun finds its thing, and the second reading takes where it stands to the end of the question.

    ``words (n, texts, time), pictures (n, channels, 32, 32) as bytes → logits (n, texts, time, WORDS)``, at each word
    those of the next; all texts of a row are about one picture. It takes pictures of several modalities by name, and
    looks at that which it `sees`. Beside the cells there is one to look at where nothing fits: so it can count.
    """

    def __init__(self, sees: str, width: int, blocks: int, looks: int = 2) -> None:
        super().__init__()
        self.sees = sees
        half = width // 2
        self.stem = nn.Sequential(
            nn.Conv2d(MODALITIES[sees], half, 3, 2, 1), nn.BatchNorm2d(half), nn.ReLU(),
            nn.Conv2d(half, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.places = nn.Parameter(0.3 * torch.randn(CELLS**2, width))
        self.nothing = nn.Parameter(0.3 * torch.randn(1, 1, width))
        self.embedding = nn.Embedding(len(WORDS), width)
        self.readers = nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(looks))
        self.looks = nn.ModuleList(Look(width) for _ in range(looks))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(WORDS)))

    def forward(self, words: Tensor, **pictures: Tensor) -> Tensor:
        return self.look(words, **pictures)[0]

    def look(self, words: Tensor, **pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and where each word looked last, (n, texts, time, 8, 8): what is missing to 1 is at nothing."""
        return self.read(words, self.see(**pictures))

    def see(self, **pictures: Tensor) -> Tensor:
        """The cells of the pictures, and nothing: (n, 65, width)."""
        seen = self.stem(pictures[self.sees].float() / 255)
        for block in self.blocks:
            seen = seen + block(seen)
        cells = self.norm(seen.flatten(2).transpose(1, 2)) + self.places
        return torch.cat([cells, self.nothing.expand(len(cells), -1, -1)], 1)

    def read(self, words: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """As `look`, of pictures that were seen already."""
        n, texts, time = words.shape
        read = self.embedding(words)
        for reader, look in zip(self.readers, self.looks, strict=True):
            heard = read + reader(read.reshape(n * texts, time, -1))[0].reshape(read.shape)
            looked, where = look(heard.flatten(1, 2), cells)
            read = looked.view(read.shape)
        return self.head(read), where[..., :-1].reshape(n, texts, time, CELLS, CELLS)


class Look(nn.Module):
    """Words look at cells: attention, then two layers on what each word has seen, both added to what it was."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.keys, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, words: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        query = self.query(self.before(words)).unflatten(-1, (HEADS, -1)).transpose(1, 2)  # (n, heads, words, width/4)
        keys, values = self.keys(cells).unflatten(-1, (2, HEADS, -1)).permute(2, 0, 3, 1, 4)
        where = (query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)  # (n, heads, words, cells)
        words = words + self.out((where @ values).transpose(1, 2).flatten(2))
        return words + self.think(self.between(words)), where.mean(1)


def seer(sees: str, width: int, blocks: int, looks: int = 2, *, seed: int) -> Seer:
    """A fresh one, initialised from `seed` alone.

    >>> sum(each.numel() for each in seer("sketch", 28, 1, seed=0).parameters())
    38663
    """
    seed = whole("seed", seed, 0, 2**63 - 1, "the same seed gives the same model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Seer(sees, width, blocks, looks)
