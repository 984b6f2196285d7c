"""Captions of pictures: from a class name or a text beside it, or by a model; and what makes one unusable."""
