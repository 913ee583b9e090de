"""What a user says to a language model, in the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..errors import RuntimeUnavailable, TextError
from .encoded import Encoded, Token
from .reader import Reader

# The tokens that templates name.
_NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")
# Stands in for the text to find its place: characters for private use, which no template has.
_SENTINEL = "\ue0f1\ue0f2\ue0f3"


def chat_row(reader: Reader, text: str, continuation: str | None, most: int | None) -> Encoded:
    """The tokens of a chat in which a user says `text`, up to where the model answers, and of what it answers.

    Tokens of the template are of no text, those of `text` of side 0, those of the continuation of side 1. Raises
    TextError for a tokenizer without a template, one that fails, or changes the text.
    """
    prompt, start = _rendered(reader, text)
    begin = start - (len(text) - len(text.lstrip()))
    end, behind = start + len(text.strip()), len(prompt)
    row = reader.encode_bare(prompt + (continuation or ""), most)
    tokens = tuple(_placed(token, begin, start, end, behind) for token in row.tokens)
    if row.cut or (continuation is not None and not any(t.side == 1 for t in tokens)):
        raise TextError(f"the model reads {most} tokens, which leaves no room for the chat: shorten the text")
    return replace(row, tokens=tokens)


def _placed(token: Token, begin: int, start: int, end: int, behind: int) -> Token:
    """A token of the whole chat as one of the text, of what stands behind it, or of the template."""
    if token.special or token.end <= token.start:
        return replace(token, side=-1, start=0, end=0)
    if token.end > behind:
        return replace(token, side=1, start=max(0, token.start - behind), end=token.end - behind)
    if token.start < end and token.end > start:
        return replace(token, side=0, start=max(token.start, start) - begin, end=min(token.end, end) - begin)
    return replace(token, side=-1, start=0, end=0)


def _rendered(reader: Reader, text: str) -> tuple[str, int]:
    """The chat, and where the text, without white space around it, begins in it."""
    template = template_of(reader.said)
    if template is None:
        raise TextError(
            f"the tokenizer {reader.where} has no chat template (chat_template in tokenizer_config.json, or "
            "chat_template.jinja next to it): write the chat out as the text"
        )
    whole, marked = _chats(reader, template, [text, _SENTINEL])
    before, *behind = marked.split(_SENTINEL)
    for said in (text, text.strip(), text.lstrip(), text.rstrip()):
        if len(behind) == 1 and whole == before + said + behind[0]:
            return whole, len(before) + len(said) - len(said.lstrip())
    raise TextError(
        f"the chat template of {reader.where} changes the text, or has it more than once: write the chat out as the "
        "text"
    )


def _chats(reader: Reader, template: str, texts: Sequence[str]) -> list[str]:
    """The chats in which a user says each of the texts. A template is anybody's program: it runs in a sandbox."""
    try:
        from jinja2 import TemplateError
        from jinja2.ext import Extension
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise RuntimeUnavailable(
            "chat templates are read by jinja2, which is not installed: pip install jinja2"
        ) from None

    class Generation(Extension):
        """`{% generation %}`, which marks what the model says for training: what stands in it is kept as it is."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refused(message: str) -> None:
        raise TextError(f"the chat template of {reader.where} refuses the text: {message}")

    now = datetime.now()  # once: all the chats are of one time
    house = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    house.globals |= {"raise_exception": refused, "strftime_now": lambda form: now.strftime(form)}
    named = {name: found for name in _NAMED if (found := _text_of(reader.said.get(name))) is not None}
    try:
        made = house.from_string(template)
        chats = [[{"role": "user", "content": text}] for text in texts]
        return [made.render(messages=chat, add_generation_prompt=True, **named) for chat in chats]
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise TextError(
            f"the chat template of {reader.where} fails: {' '.join(str(error).split())[:200]}: write the chat out as "
            "the text"
        ) from None


def template_of(said: Mapping[str, Any]) -> str | None:
    """The template that a configuration says: one, or the one called "default" of several."""
    found = said.get("chat_template")
    if isinstance(found, list):
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, Mapping)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _text_of(token: Any) -> str | None:
    found = token.get("content") if isinstance(token, Mapping) else token
    return found if isinstance(found, str) else None
