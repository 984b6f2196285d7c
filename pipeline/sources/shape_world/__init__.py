"""Shape world: small pictures of one coloured shape, computed from a scene's name; the offline stand-in for ImageNet."""

from __future__ import annotations
