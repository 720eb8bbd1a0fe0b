"""The sample board's layout: where its parts, pads, traces and print are, in canvas pixels."""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from defectflow.samples.common import CANVAS_PX, ByteImage, FloatImage, blur, layer

EDGE_PX = 24  # bare table round the board
SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Component:
    """A component: its body ("chip", "resistor", "capacitor", "can", "crystal" or "led") and place.

    width_px and height_px are those of the body before it is turned.
    """

    name: str
    body: str
    x_px: int
    y_px: int
    width_px: int
    height_px: int
    turn_deg: int = 0

    @property
    def area_px2(self) -> int:
        return self.width_px * self.height_px


COMPONENTS: tuple[Component, ...] = (
    Component("U1", "chip", 190, 196, 118, 76),
    Component("U2", "chip", 372, 318, 66, 50),
    Component("U3", "chip", 140, 346, 58, 46, 90),
    Component("Y1", "crystal", 318, 206, 62, 26, 90),
    Component("C1", "can", 404, 124, 62, 62),
    Component("C2", "can", 404, 212, 46, 46),
    Component("R1", "resistor", 84, 118, 34, 17),
    Component("R2", "resistor", 84, 146, 34, 17),
    Component("R3", "resistor", 84, 174, 34, 17),
    Component("R4", "resistor", 84, 202, 34, 17),
    Component("R5", "resistor", 226, 322, 26, 13, 90),
    Component("R6", "resistor", 256, 322, 26, 13, 90),
    Component("R7", "resistor", 286, 322, 26, 13, 90),
    Component("C3", "capacitor", 160, 96, 32, 17),
    Component("C4", "capacitor", 220, 96, 32, 17),
    Component("C5", "capacitor", 270, 140, 24, 13, 90),
    Component("C6", "capacitor", 318, 120, 24, 13),
    Component("C7", "capacitor", 230, 374, 20, 11),
    Component("C8", "capacitor", 278, 374, 20, 11),
    Component("C9", "capacitor", 84, 262, 24, 13),
    Component("D1", "led", 436, 386, 26, 17, 90),
    Component("D2", "led", 404, 386, 26, 17, 90),
)


@dataclass(frozen=True, slots=True, eq=False)
class BareBoard:
    """The board before assembly; layers (S, S) in 0..1, heights in canvas pixels."""

    outline: FloatImage
    copper: FloatImage
    pads: FloatImage
    drills: FloatImage
    silk: FloatImage
    copper_height_px: FloatImage
    pad_height_px: FloatImage


@lru_cache(maxsize=1)
def bare_board() -> BareBoard:
    """Copper, pads, drills and print of the layout, drawn once for all boards."""
    outline, copper, pads, drills, silk = (np.zeros((CANVAS_PX, CANVAS_PX), np.uint8) for _ in range(5))
    far = CANVAS_PX - EDGE_PX
    cv2.rectangle(outline, (EDGE_PX, EDGE_PX), (far, far), 255, -1)
    header = [(112 + 28 * k, 448) for k in range(10)]
    _draw_traces(copper, drills, pads, header)
    for component in COMPONENTS:
        for x, y, width, height in _terminals(component):
            _rectangle(pads, component, x, y, width + 3, height + 8)
        _draw_print(silk, component)
    for x, y in header:
        cv2.circle(pads, (x, y), 10, 255, -1, cv2.LINE_AA)
        cv2.circle(drills, (x, y), 5, 255, -1, cv2.LINE_AA)
    cv2.rectangle(silk, (94, 432), (382, 464), 255, 2)
    _text(silk, "J1", (66, 456), 0.55)
    _text(silk, "DF-256 REV B", (250, 66), 0.6)
    for x in (52, CANVAS_PX - 52):
        for y in (52, CANVAS_PX - 52):
            cv2.circle(pads, (x, y), 20, 255, -1, cv2.LINE_AA)
            cv2.circle(drills, (x, y), 12, 255, -1, cv2.LINE_AA)
    copper_layer, pad_layer = layer(copper), layer(pads)
    return BareBoard(
        outline=layer(outline),
        copper=copper_layer,
        pads=pad_layer,
        drills=layer(drills),
        silk=layer(silk) * (1 - pad_layer),
        copper_height_px=0.9 * blur(copper_layer, 1.0),
        pad_height_px=2.5 * blur(pad_layer, 2.0) * pad_layer,
    )


@lru_cache(maxsize=64)
def component_patch(component: Component) -> FloatImage:
    """The component, not turned, in a square window (P, P, 5): see `board._placed`."""
    reach = math.hypot(component.width_px + 14, component.height_px + 22)
    size = 2 * math.ceil(reach / 2 + 18) + 1
    colour = np.zeros((size, size, 3), np.uint8)
    covered, height = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    middle = size // 2
    left, top = middle - component.width_px // 2, middle - component.height_px // 2
    right, bottom = left + component.width_px, top + component.height_px
    for x, y, width, tall in _terminals(component):
        corner = (round(middle + x - width / 2), round(middle + y - tall / 2))
        opposite = (round(middle + x + width / 2), round(middle + y + tall / 2))
        cv2.rectangle(colour, corner, opposite, (176, 176, 170), -1)
        cv2.rectangle(covered, corner, opposite, 255, -1)
        cv2.rectangle(height, corner, opposite, 40, -1)
    match component.body:
        case "can":
            radius = component.width_px // 2
            for image, value in ((covered, 255), (height, 140)):
                cv2.circle(image, (middle, middle), radius, value, -1, cv2.LINE_AA)
            cv2.circle(colour, (middle, middle), radius + 1, (120, 122, 126), -1)
            cv2.circle(colour, (middle, middle), radius - 4, (168, 170, 174), -1, cv2.LINE_AA)
            cv2.ellipse(colour, (middle, middle), (radius - 4, radius - 4), 0, 130, 230, (38, 38, 44), -1)
            cv2.putText(colour, "47", (middle - 6, middle + 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (50, 50, 56), 1)
        case "chip":
            _box(colour, covered, height, (left, top, right, bottom), (38, 39, 42), 110)
            cv2.circle(colour, (left + 10, bottom - 10), 4, (72, 72, 74), -1, cv2.LINE_AA)
            _text_rgb(colour, f"DF{component.width_px}", (left + 14, middle + 1), (132, 132, 128))
            _text_rgb(colour, "2419", (left + 14, middle + 14), (120, 120, 116))
        case "crystal":
            _box(colour, covered, height, (left, top, right, bottom), (172, 170, 164), 120)
            _text_rgb(colour, "16.0", (middle - 16, middle + 5), (84, 84, 82))
        case "led":
            _box(colour, covered, height, (left + 3, top, right - 3, bottom), (214, 208, 186), 70)
            cv2.circle(colour, (middle, middle), 5, (226, 196, 92), -1, cv2.LINE_AA)
        case "resistor":
            _box(colour, covered, height, (left + 5, top, right - 5, bottom), (34, 33, 36), 60)
            if component.width_px > 30:
                _text_rgb(colour, "103", (left + 8, middle + 4), (186, 186, 182))
        case _:
            _box(colour, covered, height, (left + 5, top, right - 5, bottom), (148, 114, 78), 60)
    coverage = layer(covered)[..., None]
    relief_px = blur(layer(height), 1.2)[..., None] * 14
    return np.concatenate([layer(colour) * coverage, coverage, relief_px * coverage], axis=2)


def _box(
    colour: ByteImage,
    covered: ByteImage,
    height: ByteImage,
    corners_px: tuple[int, int, int, int],
    rgb: tuple[int, int, int],
    rise: int,
) -> None:
    """Draw one box-shaped body: left, top, right, bottom; its top is slightly lighter than its flanks."""
    left, top, right, bottom = corners_px
    flank = (round(rgb[0] * 0.8), round(rgb[1] * 0.8), round(rgb[2] * 0.8))
    cv2.rectangle(colour, (left, top), (right, bottom), flank, -1)
    cv2.rectangle(colour, (left + 2, top + 2), (right - 2, bottom - 2), rgb, -1)
    cv2.rectangle(covered, (left, top), (right, bottom), 255, -1)
    cv2.rectangle(height, (left, top), (right, bottom), rise, -1)


def _terminals(component: Component) -> list[tuple[float, float, float, float]]:
    """Centre x, y, width and height of each terminal, from the component's centre, before it is turned."""
    width, height = component.width_px, component.height_px
    match component.body:
        case "chip":
            pins = width // 15
            rows = (-(height / 2 + 4), height / 2 + 4)
            return [((k - (pins - 1) / 2) * 14, y, 6, 10) for k in range(pins) for y in rows]
        case "can":
            return []
        case _:
            return [(side * (width / 2 - 2), 0, 8, height) for side in (-1, 1)]


def _rectangle(image: ByteImage, component: Component, x: float, y: float, width: float, height: float) -> None:
    """Fill a rectangle given relative to a component, turned with it."""
    centre_x, centre_y = _on_board(component, x, y)
    corners = cv2.boxPoints(((centre_x, centre_y), (width, height), -component.turn_deg))
    points = np.round(corners * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillConvexPoly(image, points, 255, cv2.LINE_AA, SUBPIXEL_BITS)


def _on_board(component: Component, x: float, y: float) -> tuple[float, float]:
    turn_rad = math.radians(component.turn_deg)
    return (
        component.x_px + x * math.cos(turn_rad) + y * math.sin(turn_rad),
        component.y_px - x * math.sin(turn_rad) + y * math.cos(turn_rad),
    )


def _draw_print(silk: ByteImage, component: Component) -> None:
    """The outline and the name next to a component."""
    if component.body == "can":
        cv2.circle(silk, (component.x_px, component.y_px), component.width_px // 2 + 7, 255, 2, cv2.LINE_AA)
    else:
        frame = np.zeros_like(silk)
        _rectangle(frame, component, 0, 0, component.width_px + 18, component.height_px + 12)
        outline, _ = cv2.findContours(frame, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(silk, outline, -1, 255, 2)
    upright = component.turn_deg == 90
    half_width = (component.height_px if upright else component.width_px) / 2
    half_height = (component.width_px if upright else component.height_px) / 2
    if half_height > 20 or upright:
        place = (component.x_px - 10, round(component.y_px - half_height - 17))
    else:
        place = (round(component.x_px + half_width + 13), component.y_px + 5)
    _text(silk, component.name, place, 0.42)


def _draw_traces(copper: ByteImage, drills: ByteImage, pads: ByteImage, header: list[tuple[int, int]]) -> None:
    """Traces from header and components to vias, drawn from one fixed design for every seed."""
    design = np.random.default_rng(256)
    ends = [*header, *(_on_board(c, x, y) for c in COMPONENTS for x, y, _, _ in _terminals(c))]
    for number, (x, y) in enumerate(ends):
        reach_x, reach_y = (float(v) for v in design.uniform(-95, 95, 2))
        end_x = float(np.clip(x + reach_x, EDGE_PX + 16, CANVAS_PX - EDGE_PX - 16))
        end_y = float(np.clip(y + reach_y, EDGE_PX + 16, CANVAS_PX - EDGE_PX - 16))
        # Layout tools leave a pad straight and turn by 45 degrees.
        slope = min(abs(end_x - x), abs(end_y - y))
        bend_x = end_x - math.copysign(slope, end_x - x)
        bend_y = end_y - math.copysign(slope, end_y - y)
        path = np.round(np.array([(x, y), (bend_x, bend_y), (end_x, end_y)])).astype(np.int32)[:, None]
        cv2.polylines(copper, [path], False, 255, 7 if number % 5 == 0 else 4, cv2.LINE_AA)
        if number % 2 == 0:
            via = (round(end_x), round(end_y))
            cv2.circle(pads, via, 6, 255, -1, cv2.LINE_AA)
            cv2.circle(drills, via, 3, 255, -1, cv2.LINE_AA)


def _text(silk: ByteImage, text: str, place: tuple[int, int], scale: float) -> None:
    cv2.putText(silk, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)


def _text_rgb(colour: ByteImage, text: str, place: tuple[int, int], rgb: tuple[int, int, int]) -> None:
    cv2.putText(colour, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, rgb, 1, cv2.LINE_AA)
