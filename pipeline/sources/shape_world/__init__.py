"""Shape world: small pictures of one coloured shape, each computed from its name; an offline stand-in for ImageNet."""

from __future__ import annotations
