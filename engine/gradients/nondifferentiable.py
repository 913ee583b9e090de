"""Operators declared to have no useful derivative, with the reason: a path through them ends there."""

from __future__ import annotations

from .registry import constant, refuse

constant(
    *"Shape Size NonZero ArgMax ArgMin NonMaxSuppression StringSplit SequenceLength".split(),
    reason="its output is an integer: a size, an index or a count",
)
constant(
    *"And Or Xor Not Equal Greater GreaterOrEqual Less LessOrEqual IsNaN IsInf OptionalHasElement".split(),
    reason="its output is a truth value",
)
constant(
    "Ceil", "Floor", "Round", "Sign", "Hardmax", reason="it is a step function: its derivative is 0 almost everywhere"
)
constant(*"BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BitCast".split(), reason="it works on bits")
constant(
    *"Constant ConstantOfShape EyeLike MelWeightMatrix HannWindow HammingWindow BlackmanWindow".split(),
    reason="its output depends on no value, at most on a size",
)
constant(
    *"RandomNormal RandomUniform RandomNormalLike RandomUniformLike Multinomial Bernoulli".split(),
    reason="its output is random",
)
constant(*"StringNormalizer StringConcat RegexFullMatch TfIdfVectorizer".split(), reason="it works on strings")
constant("ImageDecoder", reason="it decodes a file")
refuse(
    *"""ConcatFromSequence Optional OptionalGetElement SequenceAt SequenceConstruct SequenceEmpty SequenceErase
    SequenceInsert SequenceMap SplitToSequence""".split(),
    reason="it works on sequences or optionals, which have no gradients here: export the model without them",
)
