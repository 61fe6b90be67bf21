"""Plots are well-formed, say what they show, and put things where they belong."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from qairt.stages.pictures import svg

NAMESPACE = {"s": "http://www.w3.org/2000/svg"}


def parsed(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    return root


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_bars_are_as_long_as_their_values():
    root = parsed(svg.bars("Time <of> & ops", [("a::b<c>", 10.0, "10 ms"), ("other", 5.0, "5 ms"), ("none", 0.0, "0")]))
    long = [float(bar.get("width")) for bar in root.findall("s:rect", NAMESPACE)]
    assert long[0] == 2 * long[1]
    assert 0 < long[2] < 2
    assert texts(root)[0] == "Time <of> & ops"
    assert "a::b<c>: 10 ms" in root.get("aria-label")


def test_no_rows_and_only_zeros_are_drawn_too():
    parsed(svg.bars("Nothing", []))
    parsed(svg.lines("Nothing", [("a", [])], x_label="s", y_label="MB"))
    parsed(svg.lines("Flat", [("a", [(0.0, 0.0), (1.0, 0.0)])], x_label="s", y_label="MB"))


def test_lines_stay_inside_and_rise_upwards():
    found = svg.lines(
        "Memory",
        [("RAM", [(0.0, 0.0), (1.0, 150.0), (2.0, 300.0)]), ("GPU", [(0.0, 10.0), (2.0, 20.0)])],
        x_label="seconds",
        y_label="MB",
        bands=[("loading", 0.0, 1.0), ("timed", 1.0, 2.0)],
    )
    root = parsed(found)
    ram, gpu = root.findall("s:polyline", NAMESPACE)
    points = [tuple(map(float, pair.split(","))) for pair in ram.get("points").split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    assert all(0 <= x <= svg.WIDTH and 0 <= y <= 300 for x, y in points)
    assert {"loading", "timed", "RAM", "GPU", "seconds", "MB"} <= set(texts(root))
    assert "400" in texts(root), "the axis ends at a round number"


def test_a_roofline_bends_where_compute_becomes_the_limit():
    root = parsed(svg.roofline("Roof", 1e11, 1e10, [("prefill", (30.0, 5e10)), ("decode", (0.5, 4e9))]))
    (roof,) = root.findall("s:polyline", NAMESPACE)
    (x1, y1), (x2, y2), (x3, y3) = [tuple(map(float, pair.split(","))) for pair in roof.get("points").split()]
    assert x1 < x2 < x3
    assert y1 > y2 == y3
    prefill, decode = root.findall("s:circle", NAMESPACE)
    assert float(prefill.get("cx")) > x2 > float(decode.get("cx"))
    assert all(float(dot.get("cy")) > y2 for dot in (prefill, decode)), "nothing lies above the roof"
    assert any("prefill: 50 GFLOP/s" in text for text in texts(root))


def test_a_plot_needs_nothing_from_outside():
    text = svg.bars("A", [("b", 1.0, "1")])
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert "<script" not in text
