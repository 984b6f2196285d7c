"""Shape world: small pictures of one coloured shape or of several alike, each computed from its name.

An offline stand-in for ImageNet.
"""

from __future__ import annotations
