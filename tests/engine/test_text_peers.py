"""Words against PyTorch: Captum's LayerIntegratedGradients and its kin on the same weights, four architectures."""

from __future__ import annotations

import os
import re
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.tests.engine.text import small

torch = pytest.importorskip("torch", reason="PyTorch is not installed: it is the judge here")
attr = pytest.importorskip("captum.attr", reason="Captum is not installed: it is the judge here")

COUNT = len(dict.fromkeys([*small.SPECIAL, *small.WORDS]))
TEXT = "The film was unforgettable, not bad!"


class Layer(torch.nn.Module):
    """Of a transformer, written out: PyTorch's own attention is exported for one length only."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16)
        self.up, self.down = torch.nn.Linear(16, 32), torch.nn.Linear(32, 16)
        self.first, self.second = torch.nn.LayerNorm(16), torch.nn.LayerNorm(16)

    def forward(self, x: Any) -> Any:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        weights = torch.softmax(q @ k.transpose(1, 2) / 4, dim=-1)
        x = self.first(x + self.out(weights @ v))
        return self.second(x + self.down(torch.nn.functional.gelu(self.up(x))))


class Net(torch.nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.table = torch.nn.Embedding(COUNT, 16)
        if kind == "transformer":
            self.body = torch.nn.ModuleList([Layer(), Layer()])
        elif kind == "cnn":
            self.body = torch.nn.Conv1d(16, 16, 3, padding=1)
        else:
            self.body = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](16, 16, batch_first=True)
        self.head = torch.nn.Linear(16, 3)

    def forward(self, ids: Any) -> Any:
        x = self.table(ids)
        if self.kind == "cnn":
            x = torch.tanh(self.body(x.transpose(1, 2))).transpose(1, 2)
        elif self.kind == "transformer":
            for layer in self.body:
                x = layer(x)
        else:
            x, _ = self.body(x)
        return self.head(x.mean(dim=1))


@pytest.fixture(params=["transformer", "lstm", "gru", "cnn"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, onnxray.Model]:
    torch.manual_seed(0)
    net = Net(request.param).eval()
    ids = torch.arange(5, 14)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (ids,), tmp_path / "model.onnx", input_names=["input_ids"], output_names=["logits"],
            dynamic_axes={"input_ids": {0: "n", 1: "t"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
    small.wordpiece().save(str(tmp_path / "tokenizer.json"))
    return net, onnxray.load(os.fspath(tmp_path / "model.onnx"))


def close(found: np.ndarray, expected: Any) -> None:
    due = expected.detach().numpy()[0]
    assert np.abs(found - due).max() <= 1e-5 * np.abs(due).max()


def test_words_are_captums(pair: tuple[Any, onnxray.Model]) -> None:
    net, model = pair
    e = onnxray.explain(model, TEXT, target=1)
    ids = torch.tensor(e.reading.ids())
    pads = ids.clone()
    pads[0, 1:-1] = 0
    close(
        e.values,
        attr.LayerIntegratedGradients(net, net.table).attribute(
            ids, pads, target=1, n_steps=50, method="gausslegendre"
        ),
    )
    close(
        onnxray.explain(model, TEXT, "input-x-gradient", 1).values,
        attr.LayerGradientXActivation(net, net.table).attribute(ids, target=1),
    )
    x = net.table(ids).detach().requires_grad_()
    net.table.forward = lambda _: x
    net(ids)[0, 1].backward()
    close(onnxray.explain(model, TEXT, "gradient", 1).values, x.grad)


class Causal(torch.nn.Module):
    """A GPT of two layers, its vocabulary's product with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.position = torch.nn.Embedding(COUNT, 16), torch.nn.Embedding(32, 16)
        self.qkv = torch.nn.ModuleList(torch.nn.Linear(16, 48) for _ in range(2))
        self.norm = torch.nn.ModuleList(torch.nn.LayerNorm(16) for _ in range(2))
        self.head = torch.nn.Linear(16, COUNT, bias=False)

    def forward(self, ids: Any) -> Any:
        steps = torch.arange(ids.shape[1])
        x = self.table(ids) + self.position(steps)
        later = torch.where(steps[None] > steps[:, None], -1e9, 0.0)
        for qkv, norm in zip(self.qkv, self.norm, strict=True):
            q, k, v = qkv(norm(x)).chunk(3, dim=-1)
            x = x + torch.softmax(q @ k.transpose(1, 2) / 4 + later, dim=-1) @ v
        return self.head(x)


def test_tokens_that_a_language_model_says_are_pytorchs(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Causal().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.arange(5, 14)[None],), tmp_path / "model.onnx", input_names=["input_ids"],
            output_names=["logits"], dynamic_axes={"input_ids": {0: "n", 1: "t"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
    small.wordpiece().save(str(tmp_path / "tokenizer.json"))
    text = onnxray.Text("The film was", continuation=" unforgettable, not bad")
    for target, log in (("token:all", False), ("token-log:all", True)):
        for k, e in enumerate(onnxray.explain(tmp_path / "model.onnx", text, "gradient", target)):
            ids = torch.tensor(e.reading.ids())
            at = e.reading.output[k]
            x = net.table(ids).detach().requires_grad_()
            table = net.table.forward
            net.table.forward = lambda _, x=x: x
            scores = net(ids)[0, at - 1]
            net.table.forward = table
            due = torch.log_softmax(scores, -1)[ids[0, at]] if log else scores[ids[0, at]] - scores.mean()
            due.backward()
            assert e.score == pytest.approx(float(due.detach()), rel=1e-4)
            close(e.values, x.grad)
            assert not x.grad[0, at:].any()
            assert not e.values[at:].any()


class Pieces:
    """A tokenizer as Captum asks for it: words between spaces."""

    pad_token_id, bos_token_id, sep_token_id, cls_token_id = 0, None, None, None

    def __init__(self, vocab: dict[str, int]) -> None:
        self.vocab, self.names = vocab, {code: name for name, code in vocab.items()}

    def __call__(self, text: str, return_offsets_mapping: bool = False, **_: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"input_ids": [self.vocab[word] for word in text.split()]}
        if return_offsets_mapping:
            found["offset_mapping"] = [match.span() for match in re.finditer(r"\S+", text)]
        return found

    def encode(self, text: str, return_tensors: str | None = None, **_: Any) -> Any:
        ids = self(text)["input_ids"]
        return torch.tensor([ids]) if return_tensors else ids

    def convert_ids_to_tokens(self, ids: Any) -> list[str]:
        return [self.names[int(code)] for code in ids]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        return [self.vocab[t] for t in tokens] if isinstance(tokens, list) else self.vocab[tokens]

    def decode(self, ids: Any, **_: Any) -> str:
        return " ".join(self.convert_ids_to_tokens(ids))


class Answering(torch.nn.Module):
    """A language model as Captum asks for it."""

    device = torch.device("cpu")

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Any, attention_mask: Any = None, **_: Any) -> Any:
        return types.SimpleNamespace(logits=self.net(input_ids))


def test_ablation_of_a_prompt_is_captums_of_language_models(tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = Causal().eval()
    words = ["[PAD]", *(f"w{n}" for n in range(1, COUNT))]
    vocab = {word: number for number, word in enumerate(words)}
    prompt, said = words[3:9], words[11:14]
    pieces, wrapped = Pieces(vocab), Answering(net)
    judge = attr.LLMAttribution(attr.FeatureAblation(wrapped), pieces)
    given = attr.TextTokenInput(" ".join(prompt), pieces, baselines=0)
    due = judge.attribute(given, target=" ".join(said), use_cached_outputs=False).token_attr.detach().numpy()
    path, ids = tmp_path / "model.onnx", torch.tensor([[vocab[word] for word in prompt + said]])
    exported(net, ids, path)
    model = onnxray.load(path, tokenizer={"kind": "words", "vocab": vocab, "lower": False})
    text = onnxray.Text(" ".join(prompt), continuation=" " + " ".join(said))
    parts = onnxray.explain(model, text, "ablation", "token-log:all", fill="pad")
    found = np.array([[word.value for word in e.words[: len(prompt)]] for e in parts])
    np.testing.assert_allclose(found, due, atol=1e-5 * np.abs(due).max())


def exported(net: Any, ids: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (ids,),
            path,
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_axes={"input_ids": {0: "n", 1: "t"}, "logits": {0: "n", 1: "t"}},
            opset_version=17,
            dynamo=False,
        )
