"""The kernels of ONNX Runtime's CUDA provider for the operators of ai.onnx, by operator set and element type.

From docs/OperatorKernels.md of ONNX Runtime, which its build writes from the kernels that are registered, at its commit
001d12d2623f (spring 2026, before version 1.31). Later versions register newer operator sets: that a form of 19 or newer
has no kernel is true of that commit, and has to be seen in the placement log of the version that is installed, which
`bench/device.py` reads. Which types there are kernels for changes rarely.

    Op first-last:types first+:types ...

types of the value that decides (`kernels.py: DECIDES`), one letter each: b bool, h float16, B bfloat16, f float32,
d float64, c C int8 uint8, s S int16 uint16, i I int32 uint32, l L int64 uint64; * for all of these.
"""

from __future__ import annotations

CUDA = """
Abs 6-12:hfdcCsSiIlL 13+:hBfdcCsSiIlL
Add 7-12:hfdiIlL 13-13:hBfdiIlL 14+:hBfdcCsSiIlL
And 7+:b
ArgMax 1-11:hfd 12-12:hfd 13+:hfd
ArgMin 1-11:hfd 12-12:hfd 13+:hfd
Attention 23-23:hBf 24+:hBf
AveragePool 7-9:hfd 10-10:hfd 11-18:hfd 19-21:hfd 22+:hBfd
BatchNormalization 7-8:hfd 9-13:hfd 14-14:hfd 15+:hfd
Cast 6-8:bhfdcCsSiIlL 9-12:bhfdcCsSiIlL 13-18:* 19-20:* 21-22:* 23+:*
Ceil 6-12:hfd 13+:hfd
Clip 6-10:f 11-11:f 12-12:hfdcClL 13+:hfdcClL
Compress 9-10:* 11+:*
Concat 4-10:* 11-12:* 13+:*
ConcatFromSequence 11+:*
ConstantOfShape 9+:*
Conv 1-10:hfd 11-21:hfd 22+:hBfd
ConvTranspose 1-10:hfd 11+:hfd
Cos 7+:hfd
CumSum 11-13:fdiIlL 14+:hfdiIlL
DepthToSpace 1-10:hfd 11-12:hfd 13+:hfd
DequantizeLinear 10-12:cC 13-18:cC 19-20:cC 21+:cC
Div 7-12:hfdiIlL 13-13:hBfdiIlL 14+:hBfdcCsSiIlL
Dropout 7-9:hfd 10-11:hfd 12-12:hfd 13+:hBfd
Einsum 12+:hfd
Elu 6+:hfd
Equal 7-10:bil 11-12:bhfdiIlL 13+:bhfdiIlL
Erf 9-12:hfd 13+:hBfd
Exp 6-12:hfd 13+:hBfd
Expand 8-12:* 13+:*
EyeLike 9+:fdilL
Flatten 1-8:* 9-10:* 11-12:* 13+:*
Floor 6-12:hfd 13+:hfd
GRU 7-13:hfd 14+:hfd
Gather 1-10:* 11-12:* 13+:*
GatherElements 11-12:* 13+:*
GatherND 11-11:bhfdl 12-12:bhfdl 13+:bhBfdl
Gelu 20+:hBfd
Gemm 7-8:hfd 9-10:hfd 11-12:hfd 13+:hBfd
GlobalAveragePool 1+:hfd
GlobalMaxPool 1+:hfd
Greater 7-8:hfd 9-12:hfdiIlL 13+:hfdiIlL
GreaterOrEqual 12-15:hfdiIlL 16+:hfdiIlL
GridSample 16-19:f 20-21:f 22+:f
HardSigmoid 6-21:hfd 22+:hBfd
HardSwish 14-21:hfd 22+:hBfd
Identity 1-12:* 13-13:* 14-18:* 19+:*
If 1-10:* 11-12:* 13-18:* 19+:*
InstanceNormalization 6+:hfd
IsInf 10-19:fd 20+:hBfd
IsNaN 9-12:hfd 13-19:hBfd 20+:hBfd
LRN 1-12:hfd 13+:hfd
LSTM 7-13:hfd 14+:hfd
LayerNormalization 1-16:hBfd 17+:hBfd
LeakyRelu 6-15:hfd 16+:hfd
Less 7-8:hfd 9-12:hfdiIlL 13+:hfdiIlL
LessOrEqual 12-15:hfdiIlL 16+:hfdiIlL
Log 6-12:hfd 13+:hfd
LogSoftmax 1-10:hfd 11-12:hfd 13+:hfd
Loop 1-10:* 11-12:* 13-18:* 19+:*
MatMul 1-8:hfd 9-12:hfd 13+:hBfd
MatMulInteger 10+:c
Max 6-11:hBfd 12-12:hBfdiIlL 13+:hBfdiIlL
MaxPool 1-7:hfd 8-9:hfd 10-10:hfd 11-11:hfd 12+:hfdcC
Min 6-11:hBfd 12-12:hBfdiIlL 13+:hBfdiIlL
Mod 10-12:hfdiIlL 13+:hBfdiIlL
Mul 7-12:hfdiIlL 13-13:hBfdiIlL 14+:hBfdcCsSiIlL
Neg 6-12:hfdcsil 13+:hBfdcsil
NonZero 9-12:bhfCil 13+:bhfCil
Not 1+:b
OneHot 11+:hfl
Or 7+:b
PRelu 7-8:hfd 9-15:hfd 16+:hfd
Pad 2-10:hfd 11-12:hfd 13-17:bhfd 18+:bhfd
Pow 7-11:hfd 12-12:hfdil 13-14:hBfdil 15+:hBfdil
QuantizeLinear 10-12:f 13-18:f 19-20:hf 21+:hf
RMSNormalization 23+:hBfd
RNN 7-13:hfd 14+:hfd
RandomNormal 1+:*
RandomNormalLike 1+:*
RandomUniform 1+:*
RandomUniformLike 1+:*
Range 11+:fdsil
Reciprocal 6-12:hfd 13+:hfd
ReduceL1 1-17:hfdi 18+:hfdi
ReduceL2 1-17:hfdi 18+:hfdi
ReduceLogSum 1-17:hfd 18+:hfd
ReduceLogSumExp 1-17:hfd 18+:hfd
ReduceMax 1-17:hfdil 18+:hfdil
ReduceMean 1-17:hfdi 18+:hfdi
ReduceMin 1-17:hfdcCil 18+:hfdcCil
ReduceProd 1-17:hfdi 18+:hfdi
ReduceSum 1-12:hfdil 13+:hBfdil
ReduceSumSquare 1-17:hfd 18+:hfd
Relu 6-12:hfd 13-13:hBfd 14+:hBfd
Reshape 1-4:* 5-12:* 13-13:* 14-18:* 19-20:* 21-22:* 23+:*
Resize 10-10:hfdCi 11-12:hfdCi 13-17:hfdCi 18-18:hfdCi 19+:hfdCi
ReverseSequence 10+:*
RoiAlign 10+:fd
RotaryEmbedding 23+:hBf
Round 11+:hfd
Scan 8-8:* 9-10:* 11-15:* 16-18:* 19+:*
Scatter 9-10:*
ScatterElements 11-12:* 13-15:* 16-17:* 18+:*
ScatterND 11-12:* 13-15:* 16-17:* 18+:*
Selu 6+:hfd
SequenceAt 11+:*
SequenceConstruct 11+:*
SequenceEmpty 11+:*
SequenceErase 11+:*
SequenceInsert 11+:*
SequenceLength 11+:*
Shape 1-12:* 13-14:* 15-18:* 19-20:* 21-22:* 23+:*
Shrink 9+:hfdcCsSiIlL
Sigmoid 6-12:hfd 13+:hBfd
Sign 13+:hBfdcCsSiIlL
Sin 7+:hfd
Size 1-12:* 13+:*
Slice 1-9:* 10-10:* 11-12:* 13+:*
Softmax 1-10:hfd 11-12:hfd 13+:hBfd
Softplus 1+:hfd
Softsign 1+:hfd
SpaceToDepth 1-12:hfd 13+:hfd
Split 2-10:* 11-12:* 13-17:* 18+:*
Sqrt 6-12:hfd 13+:hBfd
Squeeze 1-10:* 11-12:* 13-20:* 21-22:* 23+:*
Sub 7-12:hfdiIlL 13-13:hBfdiIlL 14+:hBfdcCsSiIlL
Sum 6-7:hBfd 8-12:hBfd 13+:hBfd
Tanh 6-12:hfd 13+:hBfd
TensorScatter 24+:*
ThresholdedRelu 10+:hfd
Tile 6-12:hfdil 13+:hBfdil
TopK 1-9:hfdil 10-10:hfdil 11+:hfdil
Transpose 1-12:* 13-20:* 21-22:* 23+:*
Trilu 14+:*
Unsqueeze 1-10:* 11-12:* 13-20:* 21-22:* 23+:*
Upsample 7-8:hfdCi 9-9:hfdCi
Where 9-15:hfdilC 16+:hBfdilC
Xor 7+:b
"""
