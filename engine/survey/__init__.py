"""What a data set says about a model: the strongest images of every unit, statistics of units, similarity of layers.

Everything is gathered in one pass over any number of images, in memory that does not grow with them, and two parts of a
data set merge to what the whole would have given.
"""
