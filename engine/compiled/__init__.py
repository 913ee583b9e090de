"""What `onnxray.compile` puts into a graph: targets, passes on batches, maps, pictures in and out.

A method says in its own file how it is compiled: `emit(build)` (`methods/`) asks a `Build` for gradients and values by
name, as its `__call__` asks a `Problem` for arrays, and returns an `Emitted`.
"""
