"""A figure as SVG that stands in a page beside others: ids of its own, no prologue, no style for the whole page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
_FONT = "'DejaVu Sans'"  # matplotlib's; few machines have it, and Verdana is as wide
_NUMBERS = ("d", "x", "y", "width", "height")
"""Attributes that hold lengths of the drawing; a transform may hold a scale, whose every digit counts."""
_FAR_DIGITS = re.compile(r"(\.\d\d)\d+")  # a hundredth of a point is no longer seen
_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def inline_svg(image: bytes, name: str, label: str) -> str:
    """Return an SVG that matplotlib wrote as an element of an HTML page.

    `name` goes before every id, `label` says what it shows to those who do not see it. Text stays text.
    """
    root = ElementTree.fromstring(_NO_TEXT.sub("\ufffd", image.decode()))
    for element in list(root):
        if element.tag == f"{{{_SVG}}}metadata":  # names matplotlib's home page
            root.remove(element)
        for style in element.findall(f"{{{_SVG}}}style"):  # would hold for the whole page
            element.remove(style)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        _rewrite(element.attrib, name)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)  # as wide as the page has room
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title", "style": "stroke-linejoin: round"}
    title = ElementTree.Element("title", {"id": f"{name}-title"})
    title.text = _NO_TEXT.sub("\ufffd", label)
    root.insert(0, title)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _rewrite(attributes: dict[str, str], name: str) -> None:
    if (target := attributes.pop(_HREF, None)) is not None:
        attributes["href"] = target
    for key, value in attributes.items():
        if key == "id":
            attributes[key] = f"{name}-{value}"
        elif key == "href" and value.startswith("#"):
            attributes[key] = f"#{name}-{value[1:]}"
        elif key in _NUMBERS:
            attributes[key] = _FAR_DIGITS.sub(r"\1", " ".join(value.split()))
        else:  # a hatch is named in a style
            attributes[key] = value.replace("url(#", f"url(#{name}-").replace(_FONT, f"{_FONT}, Verdana, sans-serif")
