"""Small pictures of things, and the same scene in other modalities: in colour, in grey, as a sketch, as depth."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distilkit.errors import choice

SIDE = 32  # pixels
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (0.89, 0.22, 0.2),
    "green": (0.22, 0.7, 0.32),
    "blue": (0.2, 0.4, 0.9),
    "yellow": (0.95, 0.83, 0.2),
    "white": (0.95, 0.95, 0.95),
}
SIZES = {"small": 0.12, "large": 0.2}  # half a width, in parts of the picture
TEXTURES = ("plain", "striped")
MOST = 4  # things
MODALITIES = {"rgb": 3, "grey": 1, "sketch": 1, "depth": 1}  # channels
GROUND, NOISE = 0.13, 0.04
TRIES = 60


@dataclass(frozen=True)
class Thing:
    """One thing of a scene; `x`, `y` is its middle, from the left and from the top, in parts of the picture."""

    shape: str
    colour: str
    size: str
    texture: str
    x: float
    y: float


@dataclass(frozen=True)
class Scene:
    """Things, from the furthest to the nearest: a later one hides what it covers. `noise` is the seed of its noise."""

    things: tuple[Thing, ...]
    noise: int = 0


def draw_thing(rng: random.Random) -> Thing:
    """Any thing, wholly in the picture."""
    size = rng.choice(tuple(SIZES))
    x, y = (round(rng.uniform(0.9 * SIZES[size], 1 - 0.9 * SIZES[size]), 3) for _ in range(2))
    return Thing(rng.choice(SHAPES), rng.choice(tuple(COLOURS)), size, rng.choice(TEXTURES), x, y)


def draw_scene(rng: random.Random) -> Scene:
    """A scene of two to MOST things, none of them hidden by more than about a third.

    >>> len(draw_scene(random.Random(0)).things)
    3
    """
    things: list[Thing] = []
    wanted = rng.randint(2, MOST)
    for _ in range(TRIES):
        new = draw_thing(rng)
        near = (
            (new.x - old.x) ** 2 + (new.y - old.y) ** 2 < (0.72 * (SIZES[new.size] + SIZES[old.size])) ** 2
            for old in things
        )
        if not any(near):
            things.append(new)
        if len(things) == wanted:
            break
    return Scene(tuple(things), rng.getrandbits(31))


def render(scenes: Sequence[Scene], modality: str = "rgb") -> Tensor:
    """The scenes as pictures, (n, channels, 32, 32), 0 to 1, with noise.

    Colours; grey, their mean; a sketch, where the shade changes, of the same ink for every colour; depth, near is
    bright, which has no texture either.

    >>> render([draw_scene(random.Random(0))], "depth").shape
    torch.Size([1, 1, 32, 32])
    """
    modality = choice("modality", modality, MODALITIES)
    place = (torch.arange(SIDE) + 0.5) / SIDE
    y, x = place[None, :, None], place[None, None, :]
    stripes = (torch.arange(SIDE) // 2 % 2 == 0).float()[None, :, None]
    picture = torch.full((len(scenes), MODALITIES[modality], SIDE, SIDE), 0.0 if modality == "depth" else GROUND)
    for layer in range(max((len(scene.things) for scene in scenes), default=0)):
        rows = [row for row, scene in enumerate(scenes) if layer < len(scene.things)]
        things = [scenes[row].things[layer] for row in rows]
        radius, left, top = (
            torch.tensor(values)[:, None, None]
            for values in zip(*((SIZES[each.size], each.x, each.y) for each in things), strict=True)
        )
        mask = _covers([each.shape for each in things], (x - left) / radius, (y - top) / radius)
        striped = torch.tensor([each.texture == "striped" for each in things])[:, None, None] * stripes
        if modality == "depth":
            ink = torch.full_like(picture[rows], 0.4 + 0.15 * layer)
        else:
            shade = torch.tensor([_ink(each.colour, modality) for each in things])[:, :, None, None]
            ink = shade * (1 - 0.6 * striped)[:, None]
        picture[rows] = torch.where(mask[:, None], ink, picture[rows])
    if modality == "sketch":
        steps = (picture.diff(dim=dim, append=picture.narrow(dim, SIDE - 1, 1)).abs() for dim in (2, 3))
        picture = (2 * sum(steps, torch.zeros_like(picture))).clamp(0, 1)
    noise = [np.random.default_rng(each.noise).standard_normal((3, SIDE, SIDE), np.float32) for each in scenes]
    if noise:
        picture = picture + NOISE * torch.from_numpy(np.stack(noise))[:, : MODALITIES[modality]]
    return picture.clamp(0, 1)


def _ink(colour: str, modality: str) -> tuple[float, ...]:
    if modality == "rgb":
        return COLOURS[colour]
    return (sum(COLOURS[colour]) / 3 if modality == "grey" else 0.8,)


def _covers(shapes: Sequence[str], x: Tensor, y: Tensor) -> Tensor:
    """Which pixels each thing covers, (n, 32, 32); x and y from its middle, in half widths."""
    drawn = {
        "circle": x**2 + y**2 < 1,
        "square": (x.abs() < 0.86) & (y.abs() < 0.86),
        "triangle": (y < 0.85) & (y > 2 * x.abs() - 1),
        "cross": ((x.abs() < 0.34) | (y.abs() < 0.34)) & (x.abs() < 1) & (y.abs() < 1),
    }
    return torch.stack([drawn[shape][row] for row, shape in enumerate(shapes)])
