"""DeepDream: a picture is changed until a layer, a class or a guide's features are seen in it, octave by octave.

octaves.py  sizes from small to large, and what each step does to the picture
slope.py    the objective's gradient for a picture of any size, whole or in tiles
start.py    photographs and noise as pictures
guide.py    features of a second image
zoom.py     the endless zoom
balance.py  several objectives that pull equally
"""
