"""The optimisation of an image as one .onnx: a `Loop` of standard operators around the gradient's graph.

graph.py      writing it: from pictures to the network's input, the Loop, the model around it
dream.py      DeepDream: an image of any size that the network takes, and the number of steps
visualize.py  a unit or a class: Fourier coefficients, random affine maps from a table, Adam
"""
