"""What a user says to a language model, in the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import RuntimeUnavailable, TextError
from .encoded import Encoded, Token
from .reader import Reader

# The tokens that templates name.
_NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")


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
    """The chat, and where the text begins in it. A template is anybody's program: it runs in a sandbox."""
    template = template_of(reader.said)
    if template is None:
        raise TextError(
            f"the tokenizer {reader.where} has no chat template (chat_template in tokenizer_config.json, or "
            "chat_template.jinja next to it): write the chat out as the text"
        )
    try:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise RuntimeUnavailable(
            "chat templates are read by jinja2, which is not installed: pip install jinja2"
        ) from None

    def refused(message: str) -> None:
        raise TextError(f"the chat template of {reader.where} refuses the text: {message}")

    house = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    house.globals["raise_exception"] = refused
    named = {name: found for name in _NAMED if (found := _text_of(reader.said.get(name))) is not None}
    messages = [{"role": "user", "content": text}]
    try:
        whole = house.from_string(template).render(messages=messages, add_generation_prompt=True, **named)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise TextError(f"the chat template of {reader.where} fails: {' '.join(str(error).split())[:200]}") from None
    at = whole.rfind(text.strip())
    if at < 0:
        raise TextError(f"the chat template of {reader.where} changes the text: write the chat out as the text")
    return whole, at


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
