"""Captions of pictures: from a class name, by a vision-language model, and what makes one unusable."""
