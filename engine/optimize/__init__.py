"""Optimisation of images: feature visualization by gradient ascent through `vjp`.

    picture = parametrisation(values)            parametrisations/   (N, C, H, W) in 0..1
    seen    = transforms(picture)                transforms/         one affine warp a step, and noise
    score   = objective(network(seen))           objectives/         emitted into the network's graph: one run a step
    values += optimiser(gradient)                optimisers/, with what regularisers/ take away

Each of the five is a registry: a new one is a new file with a frozen dataclass, whose fields are its options.
"""
