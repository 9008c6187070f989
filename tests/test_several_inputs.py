"""Models that take more than one tensor: inputs by name, and encoders with a decoder from a folder."""

import re

import pytest
import torch
import transformers
from torch import nn

import distilkit as dk
from distilkit.errors import BadFile

from .faults import refused
from .test_language_model import WORDS, edit, saved, small_llama


class Sum(nn.Module):
    """Logits of two inputs by name."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Embedding(5, 3)

    def forward(self, left, right):
        return self.left(left) + self.right(right)


def marian(words=WORDS):
    config = transformers.MarianConfig(
        vocab_size=words,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        pad_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
        max_position_embeddings=64,
    )
    return transformers.MarianMTModel(config)


def t5(words=WORDS):
    config = transformers.T5Config(
        vocab_size=words, d_model=32, d_kv=16, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config)


def some_pairs(rows=12):
    draw = torch.Generator().manual_seed(0)
    source, target = (torch.randint(WORDS, (rows, time), generator=draw) for time in (7, 5))
    labels = target.roll(-1, 1)
    labels[0, 3:] = -100
    inputs = dk.Inputs(input_ids=source, attention_mask=torch.ones_like(source), decoder_input_ids=target)
    return dk.Examples(inputs, labels)


def both(rows=9):
    return dk.Inputs(left=torch.randn(rows, 4), right=torch.arange(rows) % 5)


def test_a_model_is_called_by_name():
    model, inputs = Sum(), both()
    expected = model(inputs["left"], inputs["right"])
    torch.testing.assert_close(dk.predict(model, inputs), expected)
    torch.testing.assert_close(dk.predict(model, inputs, batch_size=2), expected)
    assert dk.cost.latency(model, inputs[:1], runs=2) > 0


def test_rows_of_each_and_parts():
    inputs = both()
    assert inputs[torch.tensor([3, 1])]["right"].tolist() == [3, 1]
    assert [len(part) for part in inputs.split(4)] == [4, 4, 1]
    assert repr(inputs[:2]) == "Inputs(left=(2, 4), right=(2,))"


def test_unequal_rows_and_other_things_are_refused():
    refused(lambda: dk.Inputs(left=torch.zeros(3, 1), right=torch.zeros(2)), ValueError, "left 3", "right 2")
    refused(lambda: dk.Inputs(), ValueError, "got none")
    refused(lambda: dk.Inputs(left=[1, 2]), TypeError, "left", "[1, 2]")
    refused(lambda: dk.Examples(both(), torch.zeros(8).long()), ValueError, "one row an example", "left=(9, 4)")


def test_distilled_as_any_other(tmp_path):
    """The same histories from the teacher itself and from its answers on file, and hints where there are names."""
    torch.manual_seed(0)
    teacher, start, inputs = Sum(), Sum(), both(64)
    examples = dk.Examples(inputs, dk.predict(teacher, inputs).argmax(-1))
    losses = []
    for source in (teacher, dk.cache_teacher(teacher, examples, tmp_path, top=3, temperature=4.0)):
        student = Sum()
        student.load_state_dict(start.state_dict())
        losses.append([step.loss for step in dk.distill(student, source, examples, steps=20)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]
    hinted = dk.distill(Sum(), teacher, examples, steps=2, hints=dk.Hints(states={"left": "left"}))
    assert all(step.hint > 0 for step in hinted)


@pytest.mark.parametrize("make", [marian, t5])
def test_an_encoder_and_decoder_from_its_folder_teaches(make, tmp_path):
    torch.manual_seed(1)
    (teacher, words), (student, _) = (dk.seq2seq_model(saved(tmp_path / name, make())) for name in ("one", "other"))
    examples = some_pairs()
    assert dk.predict(teacher, examples.inputs).shape == (12, 5, WORDS)
    assert len(words) == WORDS

    def apart():
        return dk.metrics.mean_kl(*(dk.predict(model, examples.inputs) for model in (student, teacher)))

    torch.manual_seed(2)
    torch.nn.init.normal_(student.get_output_embeddings().weight, std=0.2)
    before = apart()
    dk.distill(student, teacher, examples, knobs=dk.Knobs(1.0, 1.0, 0.01), steps=60, batch_size=6).result()
    assert apart() < 0.5 * before


def test_a_padded_target_counts_nowhere(tmp_path):
    torch.manual_seed(0)
    folder = saved(tmp_path / "teacher", marian())
    teacher, _ = dk.seq2seq_model(folder)
    examples = some_pairs(1)
    steps = []
    for target in (examples.inputs["decoder_input_ids"], examples.inputs["decoder_input_ids"].clone()):
        if steps:
            target[0, 3:] = 7  # what stands where nothing is learnt
        inputs = dk.Inputs(**{**dict(examples.inputs), "decoder_input_ids": target})
        student, _ = dk.seq2seq_model(saved(tmp_path / f"student{len(steps)}", marian()))
        student.load_state_dict(teacher.state_dict())
        with torch.no_grad():
            student.get_output_embeddings().weight.mul_(1.5)
        steps.append(next(dk.distill(student, teacher, dk.Examples(inputs, examples.labels), steps=1)))
    assert steps[0].soft == pytest.approx(steps[1].soft, rel=1e-5)
    assert steps[0].hard == pytest.approx(steps[1].hard, rel=1e-5)


def test_each_loader_knows_the_others_models(tmp_path):
    translator, writer = saved(tmp_path / "marian", marian()), saved(tmp_path / "llama", small_llama())
    with pytest.raises(BadFile, match=re.escape("is an encoder and decoder: give a causal language model")):
        dk.language_model(translator)
    with pytest.raises(BadFile, match=re.escape("is a causal language model: give an encoder and decoder")):
        dk.seq2seq_model(writer)


@pytest.mark.parametrize("change", [{"d_model": 10**6}, {"decoder_layers": 10**9}, {"max_position_embeddings": 10**9}])
def test_f48_a_configuration_too_large_for_its_weights(change, tmp_path):
    folder = saved(tmp_path / "marian", marian())
    edit(folder, **change)
    with pytest.raises(BadFile, match="do not belong together"):
        dk.seq2seq_model(folder)
