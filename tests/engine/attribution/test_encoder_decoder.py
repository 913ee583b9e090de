"""Encoders and decoders in two files: which words of the text and which words said before cause a token."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import onnxray
from onnxray.engine.errors import MethodError, ModelError, TextError
from onnxray.engine.text.reading import notes_of, read
from onnxray.tests.engine.text import small

WORDS = "the cat sat on a mat le chat est sur un tapis".split()
TEXT, SAID = "the cat sat", "le chat est"
ROWS = 3 + len(WORDS)


def ids_of(text: str) -> list[int]:
    return [3 + WORDS.index(word) for word in text.split()]


SOURCE, BEFORE = [*ids_of(TEXT), 2], [0, *ids_of(SAID)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.translator(tmp_path_factory.mktemp("translator"), WORDS)


def score(source: np.ndarray, said: np.ndarray, w: dict[str, np.ndarray], place: int) -> float:
    logits = small.translated(w, source, said)[place]
    return float(logits[BEFORE[place + 1]] - logits.mean())


def differences(place: int) -> np.ndarray:
    """The gradient of a token's score by all embeddings, (S + T, D), by central differences in float64."""
    w = {name: array.astype(np.float64) for name, array in small.translator_weights(ROWS, 6, 0).items()}
    both = np.concatenate([w["table"][SOURCE], w["said_table"][BEFORE]])
    found = np.empty_like(both)
    for at in np.ndindex(both.shape):
        step = np.zeros_like(both)
        step[at] = 1e-5
        up, down = (score(*np.split(both + sign * step, [len(SOURCE)]), w, place) for sign in (1, -1))
        found[at] = (up - down) / 2e-5
    return found


@pytest.mark.parametrize("merged", [False, True])
def test_gradients_of_every_token_are_those_of_differences(tmp_path: Path, merged: bool) -> None:
    folder = small.translator(tmp_path, WORDS, merged=merged)
    parts = onnxray.explain(folder, onnxray.Text(TEXT, continuation=SAID), "gradient")
    assert [e.label for e in parts] == [f"{word!r} ({n} of 3)" for n, word in enumerate(SAID.split(), 1)]
    for place, e in enumerate(parts):
        assert e.values == pytest.approx(differences(place), abs=2e-5)
        assert not e.values[len(SOURCE) + place + 1 :].any()  # what is said later has no part in it
    words = [(w.text, w.side) for w in parts[-1].words]
    assert words == [*((word, 0) for word in TEXT.split()), *((word, 1) for word in SAID.split())]


def test_two_files_are_the_folder(folder: Path) -> None:
    text = onnxray.Text(TEXT, continuation=SAID)
    one = onnxray.explain(folder, text, target="token:2")
    other = onnxray.explain(
        folder / "encoder_model.onnx", text, target="token:2", decoder=folder / "decoder_model.onnx"
    )
    assert np.array_equal(one.values, other.values)


def test_a_card_names_the_decoder(tmp_path: Path) -> None:
    folder = small.translator(tmp_path, WORDS)
    (folder / "decoder_model.onnx").rename(folder / "behind.onnx")
    (folder / "encoder_model.json").write_text(json.dumps({"decoder": "behind.onnx"}))
    model = onnxray.load(folder / "encoder_model.onnx")
    assert [v.name for v in model.inputs] == ["input_ids", "attention_mask", "decoder_input_ids"]


def test_completeness_and_ablation(folder: Path) -> None:
    w = {name: array.astype(np.float64) for name, array in small.translator_weights(ROWS, 6, 0).items()}
    text = onnxray.Text(TEXT, continuation=SAID)
    e = onnxray.explain(folder, text, "integrated-gradients", "token:3", baseline="zero", steps=200)
    zero = score(np.zeros((4, 6)), np.zeros((4, 6)), w, 2)
    assert e.values.sum() == pytest.approx(e.score - zero, abs=1e-3)
    e = onnxray.explain(folder, text, "ablation", "token:3")
    clean = score(w["table"][SOURCE], w["said_table"][BEFORE], w, 2)
    assert e.score == pytest.approx(clean, abs=1e-5)
    for word in e.words:
        ids = [0 if n in word.tokens else code for n, code in enumerate([*SOURCE, *BEFORE])]
        hidden = score(w["table"][ids[:4]], w["said_table"][ids[4:]], w, 2)
        assert word.value == pytest.approx(clean - hidden, abs=1e-5)


def test_generated_tokens_are_those_of_the_two_files(folder: Path) -> None:
    e = onnxray.explain(folder, onnxray.Text(TEXT, generate=4), "input-x-gradient")
    encoder, decoder = (onnxray.engine.inference.session.session(onnxray.load(folder / f"{name}_model.onnx"))
                        for name in ("encoder", "decoder"))  # fmt: skip
    mask = np.ones((1, len(SOURCE)), np.int64)
    hidden = encoder.run({"input_ids": np.array([SOURCE]), "attention_mask": mask})["last_hidden_state"]
    said = [0]
    for _ in range(4):
        feeds = {"input_ids": np.array([said]), "encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        said.append(int(decoder.run(feeds)["logits"][0, -1].argmax()))
        if said[-1] == 2:
            break
    parts = [e] if isinstance(e, onnxray.Explanation) else list(e)
    assert [t.id for t in parts[0].tokens][len(SOURCE) :] == said
    assert len(parts) == len(said) - 1


def test_the_first_token_alone(folder: Path) -> None:
    e = onnxray.explain(folder, TEXT, "gradient")
    assert "behind the prompt" in e.label
    assert [w.text for w in e.words] == TEXT.split()


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TextError, match="give that as continuation"):
        onnxray.explain(folder, onnxray.Text(TEXT, SAID))
    with pytest.raises(TextError, match="the model is a decoder.*give the folder of both"):
        onnxray.explain(folder / "decoder_model.onnx", TEXT)
    with pytest.raises(ModelError, match="is a folder: give the .onnx file in it"):
        onnxray.load(tmp_path)
    with pytest.raises(ModelError, match="no input for the encoder's answer"):
        onnxray.load(folder / "encoder_model.onnx", decoder=folder / "encoder_model.onnx")
    with pytest.raises(ModelError, match="a decoder was given as int"):
        onnxray.load(folder / "encoder_model.onnx", decoder=3)
    alone = onnx.load(folder / "encoder_model.onnx")
    alone.graph.input[1].name = "attention"
    alone.graph.node[1].input[0] = "attention"
    with pytest.raises(ModelError, match="the encoder has none"):
        onnxray.load(alone, decoder=folder / "decoder_model.onnx")


def test_words_of_both_texts_are_hidden(folder: Path) -> None:
    text = onnxray.Text(TEXT, continuation=SAID)
    one, other = (onnxray.explain(folder, text, method, "token:3") for method in ("ablation", "occlusion"))
    assert [w.value for w in other.words] == pytest.approx([w.value for w in one.words], abs=1e-5)
    assert sum(w.value for w in onnxray.explain(folder, text, "kernel-shap", "token:1").words[3:]) == pytest.approx(
        0, abs=1e-5
    )
    with pytest.raises(MethodError, match="is a float map of the image"):
        onnxray.explain(folder, text, "grad-cam", "token:1")


@pytest.mark.parametrize("words", ["on a mat", "on", "on a mat on a mat"])
def test_another_text_is_the_encoders(folder: Path, words: str) -> None:
    for text in (onnxray.Text(TEXT), onnxray.Text(TEXT, continuation="le chat")):
        reading = read(onnxray.load(folder), text)
        ids = [*ids_of(words)[:3], 2] + [0] * (3 - len(ids_of(words)[:3]))
        kept = reading.ids()[0, 4:]
        np.testing.assert_array_equal(reading.filled(f"text:{words}"), [[*ids, *kept]])
        onnxray.explain(folder, text, "ablation", "token:1", fill=f"text:{words}")


def test_the_first_tokens_are_those_of_the_configurations(folder: Path, tmp_path: Path) -> None:
    small.translator(tmp_path, WORDS)
    (tmp_path / "config.json").write_text(json.dumps({"pad_token": "<pad>", "eos_token": "</s>"}))
    guessed = read(onnxray.load(tmp_path), onnxray.Text(TEXT, continuation="le chat"))
    assert notes_of(guessed)[0].startswith("nothing says which token the decoder begins with: the padding token, 0,")
    assert notes_of(replace(guessed, short=1))[0].endswith("reads no more than 3")
    said = {"decoder_start_token_id": 3, "forced_bos_token_id": 4}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    given = read(onnxray.load(tmp_path), onnxray.Text(TEXT, continuation=SAID))
    assert (given.rows[1].tokens[0].id, notes_of(given)) == (3, ())
    e = onnxray.explain(tmp_path, onnxray.Text(TEXT, generate=1), "gradient", "token:1")
    tokens = e.tokens[len(SOURCE) :]
    assert [(t.id, t.special) for t in tokens[:2]] == [(3, True), (4, True)]
    assert [t.special for t in tokens[2:]] == [False]


def of_its_own(folder: Path, **inputs: str) -> np.ndarray:
    """The decoder with a mask, positions (which are returned) and a style of its own, by these names."""
    proto = onnx.load(folder / "decoder_model.onnx")
    graph, table = proto.graph, np.random.default_rng(3).normal(size=(8, 6)).astype(np.float32)
    nodes = list(graph.node)
    nodes[0].output[0] = "rows"
    more = [
        helper.make_node("Gather", ["place_table", inputs["positions"]], ["placed"]),
        helper.make_node("Add", ["rows", "placed"], ["summed"]),
        helper.make_node("Cast", [inputs["mask"]], ["own_mask"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["own_mask", "last_axis"], ["own_mask_3"]),
        helper.make_node("Mul", ["summed", "own_mask_3"], ["masked_words" if "style" in inputs else "words"]),
    ]
    if "style" in inputs:
        more.append(helper.make_node("Add", ["masked_words", inputs["style"]], ["words"]))
        graph.input.append(helper.make_tensor_value_info(inputs["style"], onnx.TensorProto.FLOAT, [1, 1, 6]))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (nodes[0], *more, *nodes[1:])]
    del graph.node[:]
    graph.node.extend(nodes)
    stored = {"place_table": table, "last_axis": np.array([2])}
    graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in stored.items())
    for name in (inputs["mask"], inputs["positions"]):
        graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["n", "t"]))
    onnx.save(proto, folder / "decoder_model.onnx")
    return table


@pytest.mark.parametrize("prefix", ["", "decoder_"])
def test_a_decoder_with_a_mask_and_positions_of_its_own(tmp_path: Path, prefix: str) -> None:
    folder = small.translator(tmp_path, WORDS)
    places = of_its_own(folder, mask=f"{prefix}attention_mask", positions=f"{prefix}position_ids")
    w = {name: array.astype(np.float64) for name, array in small.translator_weights(ROWS, 6, 0).items()}
    e = onnxray.explain(folder, onnxray.Text(TEXT, continuation=SAID), "gradient", "token:3")
    said = w["said_table"][BEFORE] + places[: len(BEFORE)]
    assert e.score == pytest.approx(score(w["table"][SOURCE], said, w, 2), abs=1e-5)


def test_another_input_of_a_decoder_is_refused_by_name(tmp_path: Path) -> None:
    folder = small.translator(tmp_path, WORDS)
    of_its_own(folder, mask="attention_mask", positions="position_ids", style="style")
    with pytest.raises(ModelError, match="reads 'style', which neither .*without a cache"):
        onnxray.load(folder)


def test_values_inside(folder: Path) -> None:
    found = onnxray.activations(folder, onnxray.Text(TEXT, continuation=SAID), ["last_hidden_state", "logits"])
    w = small.translator_weights(ROWS, 6, 0)
    assert found["last_hidden_state"].shape == (1, len(SOURCE), 6)
    logits = small.translated(w, w["table"][SOURCE], w["said_table"][BEFORE])
    assert found["logits"][0] == pytest.approx(logits, abs=1e-4)
