"""`onnxray explain` over texts: what is read, what is written, and what is said of bad input."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.texts import texts_in
from onnxray.cli.tasks.explain_texts import csv_of
from onnxray.cli.terminal.text_colours import coloured
from onnxray.engine.errors import TextError
from onnxray.tests.engine.text import small

Run = Callable[..., Result]
COUNT = len(dict.fromkeys([*small.SPECIAL, *small.WORDS]))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    return small.encoder(folder, small.wordpiece(), small.planted(), segments=True, labels=["negative", "positive"])


def test_texts_of_the_command_line_are_those_of_python(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("explain", model, "--text", "A wonderful film!", "--text", "bad", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    manifest = json.loads(result.stdout)
    e = onnxray.explain(model, "A wonderful film!")
    (found,) = manifest["images"][0]["maps"]
    assert found["text"] == e.manifest()["text"]
    assert [w["text"] for w in found["text"]["words"]] == ["A", "wonderful", "film", "!"]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "text-1" / "integrated-gradients.npy"), e.values)
    assert "wonderful" in (tmp_path / "out" / "text-1" / "integrated-gradients.svg").read_text()
    assert (tmp_path / "out" / "text-1" / "integrated-gradients.png").stat().st_size > 1000
    assert "integrated-gradients: positive (1)" in result.stderr
    assert "wonderful +" in result.stderr


def test_all_methods_say_what_is_left_out(run: Run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ("explain", model, "--text", "A bad film!", "-m", "gradient,grad-cam", "-o", out)
    assert run(*given).exit_code == 1  # by name
    done = run("explain", model, "--text", "A bad film!", "-m", "all", "-o", out, "--force")
    assert done.exit_code == 0, done.stderr
    assert "warning: grad-cam left out:" in done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert "grad-cam" in manifest["left_out"]
    assert "unit" not in manifest["options"]


def test_a_folder_of_texts_has_a_page_and_a_table_of_words(run: Run, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("A wonderful film\nThe plot was bad <b>\n")
    (folder / "b.txt").write_text("wonderful, wonderful!")
    out = tmp_path / "out"
    assert run("explain", model, folder, "--lines", "-t", "positive", "-o", out, "-q").exit_code == 0
    rows = list(csv.DictReader((out / "words.csv").read_text().splitlines()))
    assert (rows[0]["word"], rows[0]["count"]) == ("wonderful", "3")
    assert rows[0]["positions"] == "a.txt-1:0:2 b.txt:0:0 b.txt:0:11"
    page = (out / "index.html").read_text()
    assert "Words that move the model most" in page
    assert "<b>\n" not in page
    assert page.count("<article data-of=") == 3
    assert page.count("<style>") == 1


def test_pairs_units_and_methods(run: Run, model: Path, tmp_path: Path) -> None:
    asked = ("-m", "integrated-gradients,kernel-shap", "--unit", "sentence", "-t", "positive")
    out = tmp_path / "out"
    result = run("explain", model, "--text", "Bad. Good film!", "--pair", "the plot", *asked, "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    for found in json.loads(result.stdout)["images"][0]["maps"]:
        assert [(w["text"], w["side"]) for w in found["text"]["words"]] == [
            ("Bad.", 0),
            ("Good film!", 0),
            ("the plot", 1),
        ]
    result = run("explain", model, "--text", "the film was bad", "--spans", "4:12", "-o", tmp_path / "spans", "--json")
    assert [w["text"] for w in json.loads(result.stdout)["images"][0]["maps"][0]["text"]["words"]] == ["film was"]


@pytest.mark.parametrize(
    ("name", "content", "asked"),
    [
        ("t.csv", "review,stars\nA wonderful film,5\nbad,1\n", ("--column", "review")),
        ("t.tsv", "text\tstars\nA wonderful film\t5\nbad\t1\n", ()),
        ("t.jsonl", '{"text": "A wonderful film"}\n{"text": "bad"}\n', ()),
    ],
)
def test_tables(run: Run, model: Path, tmp_path: Path, name: str, content: str, asked: tuple[str, ...]) -> None:
    (tmp_path / name).write_text(content)
    result = run("explain", model, tmp_path / name, *asked, "-o", tmp_path / "out", "--json", "-q")
    words = [[w["text"] for w in i["maps"][0]["text"]["words"]] for i in json.loads(result.stdout)["images"]]
    assert words == [["A", "wonderful", "film"], ["bad"]]


def test_bad_input_is_one_line(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "empty.txt").write_text("\n")
    for given, said in (
        ((tmp_path / "latin.txt",), "is not UTF-8 (byte 3 is 0xe9)"),
        ((tmp_path / "large.txt",), "has more than 16 MB, too much for a text"),
        ((tmp_path / "empty.txt",), "the text is empty"),
        (("--text", " "), "the text is empty"),
        ((tmp_path / "none.txt",), "there is no file or folder"),
        (("--text", "a", "--spans", "x"), "is no list of spans"),
        (("--text", "a", "--pair", "b", "--pair", "c"), "one of each per pair"),
        (("--text", "a", "--max-failures", "1"), "--max-failures is about images"),
    ):
        result = run("explain", model, *given, "-o", tmp_path / "out", "--force", "-q")
        assert result.exit_code
        assert said in result.stderr
        assert "Traceback" not in result.stderr
    (tmp_path / "two.txt").write_text("a film\n \nbad\n")
    (tmp_path / "t.csv").write_text("review\nbad\n")
    with pytest.raises(TextError, match="no column 'x' but review"):
        list(texts_in(tmp_path / "t.csv", False, "x", None))


def test_one_bad_text_of_several_fails_alone(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("explain", model, "--text", "bad", "--text", " ", "-o", tmp_path / "out", "--json", "-q")
    assert result.exit_code == 1
    assert [image["status"] for image in json.loads(result.stdout)["images"]] == ["done", "failed"]


def test_the_tokenizer_is_named(run: Run, tmp_path: Path) -> None:
    path = small.encoder(tmp_path / "model", None, small.weights(COUNT))
    small.wordpiece().save(str(tmp_path / "tokenizer.json"))
    assert (
        "no tokenizer found" not in run("explain", path, "--text", "bad", "-o", tmp_path / "o1", "-q").stderr
    )  # above
    (tmp_path / "tokenizer.json").rename(tmp_path / "other.json")
    bare = run("explain", path, "--text", "bad", "-o", tmp_path / "o2", "-q")
    assert "looked for tokenizer.json and vocab.txt in" in bare.stderr
    found = run("explain", path, "--text", "bad", "--tokenizer", tmp_path / "other.json", "-o", tmp_path / "o3", "-q")
    assert found.exit_code == 0, found.stderr


def test_words_that_look_like_formulas_are_quoted() -> None:
    assert "'=1" in csv_of([{"word": "=1", "mean": 1.0}])


def test_colours_of_a_terminal_leave_the_text_as_it_is() -> None:
    import re

    shown = coloured("bad good film", [(0, 3, -1.0), (4, 8, 0.5), (9, 13, 0.0)])
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "bad good film"
    assert shown.count("\x1b[48") == 2


def test_what_a_language_model_says_is_a_matrix(run: Run, tmp_path: Path) -> None:
    path = small.copying(tmp_path / "lm", "red blue green cat dog bird sun moon star tree river stone".split())
    out = tmp_path / "out"
    result = run("explain", path, "--text", "cat sun moon cat", "--generate", "2", "-m", "ablation", "-o", out, "-q")
    assert result.exit_code == 0, result.stderr
    rows = list(csv.reader((out / "text-1" / "ablation-matrix.csv").read_text().splitlines()))
    assert rows[0] == ["word", "start", "side", "'sun' (1 of 2)", "'moon' (2 of 2)"]
    assert [row[0] for row in rows[1:]] == ["cat", "sun", "moon", "cat", "sun", "moon"]
    assert float(rows[6][4]) == float(rows[5][3]) == 0  # a token is not caused by itself
    assert (out / "text-1" / "ablation-token-2.svg").is_file()
    assert "<script>" in (out / "index.html").read_text()
    given = run(
        "explain",
        path,
        "--text",
        "cat sun moon cat",
        "--continue",
        " dog",
        "-t",
        "token:1 against sun",
        "-o",
        out,
        "--force",
        "-q",
    )
    assert given.exit_code == 0, given.stderr
    assert "exclude each other" in run("explain", path, "--text", "a", "--continue", "b", "--generate", "2").stderr


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"text": "a"}\n{"txt": "b"}\n', "row 2 of .* has no 'text'"),
        ("b.jsonl", '{}\n{"text": "b"}\n', "names no column"),
        ("c.csv", "\n\na film\n", "names no column"),
    ],
)
def test_rows_without_a_text_are_said(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TextError, match=said):
        list(texts_in(tmp_path / name, False, None, None))


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\n" + "a" * 200_000 + "\n")
    ((text, _),) = texts_in(tmp_path / "t.csv", False, None, None)
    assert len(text) == 200_000


def test_options_about_texts_without_effect_are_refused(run: Run, model: Path, tmp_path: Path) -> None:
    for name, *more in (["--unit", "token"], ["--spans", "0:1"], ["--lines"], ["--column", "a"], ["--choice", "a"]):
        done = run("explain", "builtin", name, *more, "-o", tmp_path / "out")
        assert (done.exit_code, f"{name} is about texts" in done.stderr) == (2, True), done.stderr
    for name, *more in (["--lines"], ["--column", "a"]):
        done = run("explain", model, "--text", "bad", name, *more, "-o", tmp_path / "out")
        assert (done.exit_code, f"{name} is about files" in done.stderr) == (2, True), done.stderr
    for more, said in (
        (["--unit", "slot", "--spans", "0:1"], "--unit and --spans both say"),
        (["--generate", "2", "--last", "3"], "--last 3 is more than --generate 2"),
    ):
        done = run("explain", model, "--text", "{{bad}}", *more, "-o", tmp_path / "out")
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    done = run("explain", model, "--text", "bad", "--continue", " film", "-o", tmp_path / "out")
    assert (done.exit_code, "says no next token" in done.stderr) == (1, True), done.stderr


def test_no_text_of_a_table_is_a_formula(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"word": "\t=1", "target": "=2", "positions": "@a.txt:0:0"}
    assert csv_of([row]).splitlines()[1] == "'\t=1,'=2,'@a.txt:0:0"
    monkeypatch.setattr("onnxray.cli.tasks.explain_texts._MOST_ON_PAGE", 1)
    assert run("explain", model, "--text", "bad", "--text", "film", "-o", tmp_path / "out", "-q").exit_code == 0
    assert "1 of 2 texts, integrated-gradients" in (tmp_path / "out" / "index.html").read_text()


def test_an_encoder_and_a_decoder(run: Run, tmp_path: Path) -> None:
    folder = small.translator(tmp_path / "translator", "the cat sat le chat est".split())
    given = ("--text", "the cat sat", "--continue", "le chat", "-m", "gradient", "--json")
    whole = run("explain", folder, *given, "-o", tmp_path / "a")
    assert whole.exit_code == 0, whole.stderr
    two = (folder / "encoder_model.onnx", "--decoder", folder / "decoder_model.onnx")
    parts = run("explain", *two, *given, "-o", tmp_path / "b")
    assert parts.exit_code == 0, parts.stderr
    maps = [json.loads(result.stdout)["images"][0]["maps"] for result in (whole, parts)]
    e = onnxray.explain(folder, onnxray.Text("the cat sat", continuation="le chat"), "gradient")
    assert maps[0] == maps[1]
    assert [found["text"] for found in maps[0]] == [one.manifest()["text"] for one in e]
    rows = list(csv.reader((tmp_path / "a" / "text-1" / "gradient-matrix.csv").read_text().splitlines()))
    assert [row[0] for row in rows[1:]] == ["the", "cat", "sat", "le", "chat"]
    assert float(rows[4][3]) == 0  # a token has no part in itself
    page = (tmp_path / "a" / "index.html").read_text()
    assert "<span class=w>sat</span></p><p><span class=w>le</span>" in page  # two texts, not one


def test_a_folder_is_gone_on_with(run: Run, model: Path, tmp_path: Path) -> None:
    reviews = tmp_path / "reviews"
    reviews.mkdir()
    for name, text in (("a", "A wonderful film"), ("b", "<b>bad</b> & terrible"), ("c", "the plot was old")):
        (reviews / f"{name}.txt").write_text(text)
    whole, out = tmp_path / "whole", tmp_path / "out"
    given = ("explain", model, reviews, "-m", "gradient,ablation", "-t", "1", "-t", "0")
    assert run(*given, "-o", whole).exit_code == 0
    (reviews / "c.txt").rename(tmp_path / "c.txt")
    assert run(*given, "-o", out).exit_code == 0
    (tmp_path / "c.txt").rename(reviews / "c.txt")
    (values,) = (out / "a.txt").glob("gradient-1*.npy")
    values.write_bytes(b"not made anew")
    again = run(*given, "-o", out, "--resume")
    assert again.exit_code == 0, again.stderr
    assert "2 of 3 texts were done already" in again.stderr
    assert values.read_bytes() == b"not made anew"
    for name in ("index.html", "words.csv", "manifest.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    (reviews / "a.txt").write_text("A terrible film")
    changed = run(*given, "-o", out, "--resume")
    assert "2 of 3 texts were done already" in changed.stderr
    assert np.load(values).ndim == 2
    (out / "index.html").unlink()
    assert "were done already" not in run(*given, "-o", out, "--resume").stderr
    assert run("explain", model, reviews, "-m", "gradient", "-o", out, "--resume").exit_code == 1


def test_a_manifest_that_was_changed_is_not_trusted(run: Run, model: Path, tmp_path: Path) -> None:
    given = ("explain", model, "--text", "A bad film!", "--text", "wonderful", "-m", "gradient", "-o", tmp_path / "out")
    assert run(*given).exit_code == 0
    manifest = tmp_path / "out" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["images"][0]["maps"][0]["text"]["words"][0]["side"]
    manifest.write_text(json.dumps(content))
    again = run(*given, "--resume")
    assert again.exit_code == 0, again.stderr
    assert "1 of 2 texts were done already" in again.stderr


def test_the_last_tokens_alone(run: Run, tmp_path: Path) -> None:
    model = small.copying(tmp_path / "lm", "alpha beta gamma delta".split())
    given = ("explain", model, "--text", "alpha beta alpha", "-m", "gradient", "--json")
    result = run(*given, "--continue", " beta gamma delta", "--last", "2", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    maps = json.loads(result.stdout)["images"][0]["maps"]
    assert [m["target"]["explained"] for m in maps] == ["token:2", "token:3"]
    refused = run(*given, "--last", "2", "-o", tmp_path / "no")
    assert refused.exit_code == 2
    assert "--last is about the tokens of --continue or --generate" in refused.stderr
