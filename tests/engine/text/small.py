"""Small models of texts, and tokenizers of six families, made here: nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WORDS = (
    "the a film movie plot cast story scene was is it this that of and but not really quite very long short old new "
    "blue table friend evening river music city paper window garden wonderful terrible good bad un ##forget ##table "
    "##s was ##n ' t - , . ! ?"
).split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CORPUS = [
    "the film was wonderful",
    "naïve café résumé",
    "日本語 テキスト",
    "emoji 😀 👩‍👩‍👧",
    "it wasn't the co-star's plot",
]


def wordpiece(words: list[str] | tuple[str, ...] = tuple(WORDS), lower: bool = True) -> Tokenizer:
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys([*SPECIAL, *words]))}
    made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lower)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    made.add_special_tokens(SPECIAL)
    return made


def byte_bpe() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|endoftext|>"],
    )  # fmt: skip
    made.train_from_iterator(CORPUS, trainer)
    return made


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<pad>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    return made


def word_level() -> Tokenizer:
    words = "[UNK] [PAD] the film was wonderful it".split()
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def cjk() -> Tokenizer:
    chars = [*SPECIAL, *"日本語文字漢東京都のはです", "the", "film"]
    return wordpiece(tuple(chars[5:]))


def weights(rows: int, width: int = 8, classes: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "table": draw.normal(size=(rows, width)).astype(np.float32),
        "segment_table": draw.normal(size=(2, width)).astype(np.float32) * 0.1,
        "query": draw.normal(size=(width, width)).astype(np.float32) * 0.3,
        "key": draw.normal(size=(width, width)).astype(np.float32) * 0.3,
        "dense": draw.normal(size=(width, width)).astype(np.float32) * 0.5,
        "head": draw.normal(size=(width, classes)).astype(np.float32),
    }


def encoder(
    folder: Path,
    tokenizer: Tokenizer | None,
    w: dict[str, np.ndarray],
    *,
    per_token: bool = False,
    segments: bool = False,
    length: int | str = "t",
    labels: list[str] | None = None,
    rank: int = 2,
) -> Path:
    """A transformer's layer over embeddings, masked, with a class of the text, or of every token. Saved with its
    tokenizer; returns the path."""
    axes = ["n", "c", length] if rank == 3 else ["n", length]
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in names]
    nodes = []

    def node(op: str, ins: list[str], out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, ins, [out], **attributes))
        return out

    ids, mask = "input_ids", "attention_mask"
    constants: dict[str, np.ndarray] = dict(w)
    if rank == 3:
        constants["flat"] = np.array([-1, 0], np.int64)
        node("Shape", ["input_ids"], "sizes")
        constants["two"] = np.array([2], np.int64)
        node("Gather", ["sizes", "two"], "last")
        constants["minus"] = np.array([-1], np.int64)
        node("Concat", ["minus", "last"], "rows", axis=0)
        ids, mask = node("Reshape", [ids, "rows"], "ids_flat"), node("Reshape", [mask, "rows"], "mask_flat")
    x = node("Gather", ["table", ids], "embedded")
    if segments:
        node("Gather", ["segment_table", "token_type_ids"], "segment")
        x = node("Add", [x, "segment"], "both")
    node("Cast", [mask], "mask_f", to=TensorProto.FLOAT)
    q, k = node("MatMul", [x, "query"], "q"), node("MatMul", [x, "key"], "k")
    node("Transpose", [k], "kt", perm=[0, 2, 1])
    node("MatMul", [q, "kt"], "raw")
    constants |= {
        "one": np.float32(1),
        "far": np.float32(-1e4),
        "axis1": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
    }
    node("Sub", ["one", "mask_f"], "hidden")
    node("Mul", ["hidden", "far"], "bias0")
    node("Unsqueeze", ["bias0", "axis1"], "bias")
    node("Add", ["raw", "bias"], "masked")
    node("Softmax", ["masked"], "attention", axis=-1)
    node("MatMul", ["attention", x], "mixed")
    node("Add", ["mixed", x], "residual")
    node("MatMul", ["residual", "dense"], "dense_out")
    h = node("Tanh", ["dense_out"], "h")
    if not per_token:
        node("Unsqueeze", ["mask_f", "axis2"], "mask_3")
        node("Mul", [h, "mask_3"], "kept")
        node("ReduceSum", ["kept", "axis1"], "summed", keepdims=0)
        node("ReduceSum", ["mask_f", "axis1"], "count", keepdims=1)
        h = node("Div", ["summed", "count"], "pooled")
    if rank == 3:
        constants["of_choices"] = np.array([1, -1], np.int64)
        node("MatMul", [h, "head"], "scores")
        node("Reshape", ["scores", "of_choices"], "logits")
    else:
        node("MatMul", [h, "head"], "logits")
    classes = w["head"].shape[1]
    out = ["n", "t", classes] if per_token else ["n", "c"] if rank == 3 else ["n", classes]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, out)
    initializers = [
        numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items() if any(n in k.input for k in nodes)
    ]
    graph = helper.make_graph(nodes, "encoder", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    if labels is not None:
        (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(labels))}))
    return folder / "model.onnx"


def planted(seed: int = 0, width: int = 8) -> dict[str, np.ndarray]:
    """Weights of a classifier that "wonderful" speaks for and "terrible" against, the other words a little either way."""
    vocab = list(dict.fromkeys([*SPECIAL, *WORDS]))
    w = weights(len(vocab), width, seed=seed)
    w["table"] = w["table"] * 0.3
    w["table"][0] = 0
    w["table"][:, 0] = 0.05 * w["table"][:, 0]
    w["table"][vocab.index("wonderful"), 0], w["table"][vocab.index("terrible"), 0] = 3, -3
    w["dense"], w["head"] = np.eye(width, dtype=np.float32) * 0.5, np.zeros((width, 2), np.float32)
    w["head"][0] = -2, 2
    return w


def embeddings_of(w: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    return w["table"][ids]


def forward(w: dict[str, np.ndarray], ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What `encoder` computes for ids (n, t), in NumPy and float64."""
    x = w["table"].astype(np.float64)[ids]
    scores = (x @ w["query"]) @ np.swapaxes(x @ w["key"], 1, 2) + (1 - mask[:, None]) * -1e4
    attention = np.exp(scores - scores.max(-1, keepdims=True))
    attention /= attention.sum(-1, keepdims=True)
    h = np.tanh((attention @ x + x) @ w["dense"])
    return (h * mask[..., None]).sum(1) / mask.sum(1, keepdims=True) @ w["head"]


def copying(
    folder: Path, words: list[str], length: int | str = "t", noise: float = 0.05, seed: int = 0, opset: int = 17
) -> Path:
    """A language model of two attentions, whose weights are made to copy: behind a word that stood before, it says the
    word that followed it then (an induction head), as transformers learn to. Saved with its tokenizer."""
    vocab = {word: number for number, word in enumerate(["<unk>", "<pad>", *words])}
    count, longest = len(vocab), 64
    draw = np.random.default_rng(seed)
    # Parts of a token's vector: its word, the word before it (filled in by the first layer), its position.
    width = 2 * count + longest
    table = np.zeros((count, width), np.float32)
    table[:, :count] = np.eye(count)
    table += draw.normal(size=table.shape).astype(np.float32) * noise * 0.1
    position = np.zeros((longest, width), np.float32)
    position[:, 2 * count :] = np.eye(longest)
    before = np.zeros((width, width), np.float32)  # scores: query at t looks for position t - 1
    before[2 * count + 1 :, 2 * count : -1] = np.eye(longest - 1)
    move = np.zeros((width, width), np.float32)  # values: the word becomes the word before
    move[:count, count : 2 * count] = np.eye(count)
    match = np.zeros((width, width), np.float32)  # scores: query's word against the word before of every key
    match[:count, count : 2 * count] = np.eye(count)
    keep = np.zeros((width, count), np.float32)  # values: the word itself
    keep[:count] = np.eye(count)
    w = {"table": table, "position": position, "q1": before * 30, "v1": move, "q2": match * 12, "v2": keep * 8}
    nodes: list[Any] = []

    def node(op: str, ins: list[str], out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, ins, [out], **attributes))
        return out

    constants: dict[str, np.ndarray] = {
        **w, "zero": np.array(0), "one": np.array(1), "one_f": np.float32(1), "far": np.float32(-1e4),
        "axis0": np.array([0], np.int64), "axis1": np.array([1], np.int64),
    }  # fmt: skip
    node("Gather", ["table", "input_ids"], "words")
    node("Shape", ["input_ids"], "sizes")
    node("Gather", ["sizes", "one"], "t")
    node("Range", ["zero", "t", "one"], "steps")
    node("Gather", ["position", "steps"], "places")
    node("Add", ["words", "places"], "x")
    node("Unsqueeze", ["steps", "axis0"], "row")
    node("Unsqueeze", ["steps", "axis1"], "column")
    node("Greater", ["row", "column"], "later")
    node("Cast", ["later"], "later_f", to=TensorProto.FLOAT)
    node("Mul", ["later_f", "far"], "bias")
    x = "x"
    for k in ("1", "2"):
        node("MatMul", [x, f"q{k}"], f"query{k}")
        node("Transpose", [x], f"key{k}", perm=[0, 2, 1])
        node("MatMul", [f"query{k}", f"key{k}"], f"raw{k}")
        node("Add", [f"raw{k}", "bias"], f"masked{k}")
        node("Softmax", [f"masked{k}"], f"weights{k}", axis=-1)
        node("MatMul", [f"weights{k}", x], f"mixed{k}")
        out = node("MatMul", [f"mixed{k}", f"v{k}"], f"out{k}")
        x = node("Add", [x, out], "x2") if k == "1" else out
    node("Identity", [x], "logits")
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", length])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", length, count])]
    kept = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "copying", inputs, outputs, kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    made = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(folder / "tokenizer.json"))
    return folder / "model.onnx"


def translator(folder: Path, words: list[str], width: int = 6, seed: int = 0, merged: bool = False) -> Path:
    """An encoder and a decoder in two files, as Optimum writes them, with random weights, their tokenizer and
    config.json. merged: the decoder as the branch without a cache of `decoder_model_merged.onnx`. Returns the folder."""
    vocab = {word: number for number, word in enumerate(["<pad>", "<unk>", "</s>", *words])}
    w = translator_weights(len(vocab), width, seed)
    axes = {"axis1": np.array([1], np.int64), "one": np.float32(1), "far": np.float32(-1e4)}

    def masked(nodes: list[Any], mask: str) -> str:
        nodes += [
            helper.make_node("Cast", [mask], ["mask_f"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["one", "mask_f"], ["hidden_f"]),
            helper.make_node("Mul", ["hidden_f", "far"], ["bias0"]),
            helper.make_node("Unsqueeze", ["bias0", "axis1"], ["bias"]),
        ]
        return "bias"

    def attention(nodes: list[Any], stem: str, query: str, keys: str, bias: str) -> str:
        nodes += [
            helper.make_node("MatMul", [query, f"{stem}_q"], [f"{stem}_query"]),
            helper.make_node("Transpose", [keys], [f"{stem}_keys"], perm=[0, 2, 1]),
            helper.make_node("MatMul", [f"{stem}_query", f"{stem}_keys"], [f"{stem}_raw"]),
            helper.make_node("Add", [f"{stem}_raw", bias], [f"{stem}_masked"]),
            helper.make_node("Softmax", [f"{stem}_masked"], [f"{stem}_weights"], axis=-1),
            helper.make_node("MatMul", [f"{stem}_weights", keys], [f"{stem}_mixed"]),
            helper.make_node("MatMul", [f"{stem}_mixed", f"{stem}_v"], [f"{stem}_value"]),
            helper.make_node("Add", [f"{stem}_value", query], [f"{stem}_sum"]),
            helper.make_node("Tanh", [f"{stem}_sum"], [f"{stem}_out"]),
        ]
        return f"{stem}_out"

    def saved(name: str, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any]) -> None:
        used = {n for node in nodes for n in node.input}
        used |= {n for node in nodes for a in node.attribute for inner in a.g.node for n in inner.input}
        kept = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items() if n in used]
        graph = helper.make_graph(nodes, name, inputs, outputs, kept)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (folder / name).write_bytes(made.SerializeToString())

    def tensor(name: str, kind: int, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    folder.mkdir(parents=True, exist_ok=True)
    nodes: list[Any] = [helper.make_node("Gather", ["table", "input_ids"], ["words"])]
    masked(nodes, "attention_mask")
    out = attention(nodes, "own", "words", "words", "bias")
    nodes.append(helper.make_node("Identity", [out], ["last_hidden_state"]))
    ids = [tensor(name, TensorProto.INT64, "n", "s") for name in ("input_ids", "attention_mask")]
    saved("encoder_model.onnx", nodes, ids, [tensor("last_hidden_state", TensorProto.FLOAT, "n", "s", width)], w | axes)

    nodes = [
        helper.make_node("Gather", ["said_table", "input_ids"], ["words"]),
        helper.make_node("Shape", ["input_ids"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "at1"], ["t"]),
        helper.make_node("Range", ["at0", "t", "at1"], ["steps"]),
        helper.make_node("Unsqueeze", ["steps", "axis0"], ["row"]),
        helper.make_node("Unsqueeze", ["steps", "axis1"], ["column"]),
        helper.make_node("Greater", ["row", "column"], ["later"]),
        helper.make_node("Cast", ["later"], ["later_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["later_f", "far"], ["causal"]),
    ]
    x = attention(nodes, "said", "words", "words", "causal")
    masked(nodes, "encoder_attention_mask")
    x = attention(nodes, "cross", x, "encoder_hidden_states", "bias")
    nodes.append(helper.make_node("MatMul", [x, "head"], ["logits"]))
    constants = w | axes | {"axis0": np.array([0], np.int64), "at0": np.array(0), "at1": np.array(1)}
    inputs = [
        tensor("encoder_attention_mask", TensorProto.INT64, "n", "s"),
        tensor("input_ids", TensorProto.INT64, "n", "t"),
        tensor("encoder_hidden_states", TensorProto.FLOAT, "n", "s", width),
    ]
    answer = tensor("logits", TensorProto.FLOAT, "n", "t", len(vocab))
    if merged:
        without = helper.make_graph(nodes, "without", [], [helper.make_tensor_value_info("logits", 1, None)])
        cached = [helper.make_node("MatMul", ["past_key_values.0.key", "head"], ["logits_of_cache"])]
        of_cache = helper.make_graph(cached, "with", [], [helper.make_tensor_value_info("logits_of_cache", 1, None)])
        for node in without.node:
            node.output[:] = ["branch_logits" if name == "logits" else name for name in node.output]
        without.output[0].name = "branch_logits"
        chosen = helper.make_node("If", ["use_cache_branch"], ["logits"], then_branch=of_cache, else_branch=without)
        inputs += [
            tensor("past_key_values.0.key", TensorProto.FLOAT, "n", "p", width),
            tensor("use_cache_branch", TensorProto.BOOL, 1),
        ]
        saved("decoder_model_merged.onnx", [chosen], inputs, [answer], constants)
    else:
        saved("decoder_model.onnx", nodes, inputs, [answer], constants)
    made = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", vocab["</s>"])])
    made.save(str(folder / "tokenizer.json"))
    said = {"decoder_start_token_id": 0, "pad_token": "<pad>", "eos_token": "</s>"}
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def translator_weights(rows: int, width: int, seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    sizes = {
        "table": rows,
        "said_table": rows,
        **{f"{stem}_{k}": width for stem in ("own", "said", "cross") for k in "qv"},
    }
    found = {name: draw.normal(size=(n, width)).astype(np.float32) * 0.7 for name, n in sizes.items()}
    return found | {"head": draw.normal(size=(width, rows)).astype(np.float32)}


def translated(w: dict[str, np.ndarray], source: np.ndarray, said: np.ndarray) -> np.ndarray:
    """What `translator` computes for embeddings (S, D) and (T, D), in NumPy and float64: logits (T, V)."""

    def attention(stem: str, query: np.ndarray, keys: np.ndarray, bias: np.ndarray | float) -> np.ndarray:
        raw = query @ w[f"{stem}_q"] @ keys.T + bias
        shares = np.exp(raw - raw.max(-1, keepdims=True))
        return np.tanh(shares / shares.sum(-1, keepdims=True) @ keys @ w[f"{stem}_v"] + query)

    hidden = attention("own", source, source, 0.0)
    later = np.triu(np.full((len(said), len(said)), -1e4), 1)
    return attention("cross", attention("said", said, said, later), hidden, 0.0) @ w["head"]
