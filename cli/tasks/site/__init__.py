"""What a site of `onnxray microscope` is made of: the plan, its pieces of work, the sheets they write, and how they are
read back. Pages are made of what lies in the folder alone.
"""
