"""How many centimetres of every material lie along the ray of every pixel, and its attenuation."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt

Array = NDArray[np.float64]

FILM = np.array([193.5, 240.0])  # mm, width and height

# Linear attenuation coefficients in 1/cm at 40 and at 60 keV: mass coefficients of NIST's XCOM and
# X-ray attenuation tables times density. A 75 kVp dental beam lies between these two energies, and
# mixing them lets thick parts harden the beam.
BEAM = np.array([0.45, 0.55])  # share of the exposure at 40 and at 60 keV
SOFT = np.array([0.285, 0.217])  # ICRU-44 soft tissue, 1.06 g/cm3
CORTICAL = np.array([1.278, 0.604])  # ICRU-44 cortical bone, 1.92 g/cm3
ATTENUATION = {
    "soft": SOFT,
    "cortical": CORTICAL,
    "cancellous": 0.25 * CORTICAL + 0.75 * SOFT,  # a quarter of the volume is trabeculae
    "dentine": np.array([1.62, 0.73]),  # 70 % hydroxyapatite, 2.14 g/cm3
    "enamel": np.array([2.86, 1.18]),  # hydroxyapatite, 2.95 g/cm3
    "acrylic": np.array([0.280, 0.229]),  # PMMA, 1.19 g/cm3
    "aluminium": np.array([1.535, 0.750]),  # 2.70 g/cm3
    "metal": np.array([28.6, 9.48]),  # iron, for steel and amalgam
    "air": np.array([0.0, 0.0]),
}
OUTSIDE = ("acrylic", "aluminium")  # parts of the machine: they displace no tissue


class Rays:
    """Thickness of every material along the ray of every pixel of a fine grid.

    Attributes:
        path: Maps (height, width) in cm, one a material.
        x, y: Pixel centres in mm, as a row and a column.
        pixel: Width and height of a pixel in mm.
    """

    def __init__(self, size: int) -> None:
        self.pixel = FILM / size
        self.x = (np.arange(size)[None, :] + 0.5) * self.pixel[0]
        self.y = (np.arange(size)[:, None] + 0.5) * self.pixel[1]
        self.path = {material: np.zeros((size, size)) for material in ATTENUATION}

    def window(self, points: Array, margin: float) -> tuple[tuple[slice, slice], Array, Array]:
        """Return rows and columns within `margin` mm of the box around `points`, and x and y."""
        low, high = points.min(0) - margin, points.max(0) + margin
        rows = slice(*self.y[:, 0].searchsorted((low[1], high[1])))
        columns = slice(*self.x[0].searchsorted((low[0], high[0])))
        return (rows, columns), self.x[:, columns], self.y[rows]

    def ellipsoid(
        self, material: str, centre: Array, axes: ArrayLike, depth: float, degrees: float = 0
    ) -> None:
        """Add an ellipsoid with half-axes `axes` on the film, `depth` mm across in its middle."""
        centre = np.reshape(centre, (1, 2))
        at, x, y = self.window(centre, max(axes))
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        dx, dy = x - centre[0, 0], y - centre[0, 1]
        u, v = (c * dx + s * dy) / axes[0], (c * dy - s * dx) / axes[1]
        self.path[material][at] += depth / 10 * np.sqrt(np.maximum(1 - u**2 - v**2, 0))

    def spheres(self, material: str, centres: Array, radii: Array, depths: Array) -> None:
        """Add small round bodies at `centres` (n, 2), each `depths` mm across in its middle."""
        at, x, y = self.window(centres, radii.max())
        dx, dy = x[..., None] - centres[:, 0], y[..., None] - centres[:, 1]
        ratio = (dx**2 + dy**2) / radii**2
        self.path[material][at] += np.sqrt(np.maximum(1 - ratio, 0)) @ depths / 10

    def distance(self, line: Array, margin: float) -> tuple[tuple[slice, slice], Array]:
        """Return the window around a polyline and the distance of its pixels to it, in mm."""
        at, x, y = self.window(line, margin)
        # One layer (height, width) a segment of the line.
        (ax, ay), (bx, by) = line[:-1].T[..., None, None], (line[1:] - line[:-1]).T[..., None, None]
        dx, dy = x - ax, y - ay
        along = np.clip((dx * bx + dy * by) / (bx**2 + by**2 + 1e-12), 0, 1)
        squared = (dx - along * bx) ** 2 + (dy - along * by) ** 2
        return at, np.sqrt(squared.min(axis=0))

    def rod(self, material: str, line: Array, radius: float, fill: float = 1) -> None:
        """Add a round rod about a polyline; a rod thinner than a pixel is spread over one."""
        wide = max(radius, self.pixel.max())
        at, distance = self.distance(line, wide)
        chord = 2 * np.sqrt(np.maximum(wide**2 - distance**2, 0))
        self.path[material][at] += fill * chord / 10 * (radius / wide) ** 2

    def sheet(self, material: str, line: Array, thickness: float, depth: float) -> None:
        """Add a curved plate seen edge-on along a polyline, `depth` mm along the tangent ray.

        Beside the tangent the chord through a plate falls as it does through a thin round shell.
        """
        wide, reach = max(thickness, self.pixel.max() / 2), 9.0
        at, distance = self.distance(line, reach)
        beyond = np.maximum(distance - wide / 2, 0) / wide
        chord = np.sqrt(beyond + 1) - np.sqrt(beyond)
        fade = np.clip(1 - distance / reach, 0, 1)
        self.path[material][at] += depth / 10 * (thickness / wide) * chord * fade

    def slab(
        self, outline: Array, depth: float, radius: float, material: str = "", cortex: float = 0
    ) -> None:
        """Add an extruded polygon with edges rounded over `radius` mm.

        With a `cortex` (mm) and no `material` it is bone: a cortical shell around cancellous bone.
        """
        at, x, y = self.window(outline, 2 * self.pixel.max())
        if not x.size or not y.size:
            return
        corners = outline / self.pixel - 0.5 - (at[1].start, at[0].start)
        mask = Image.new("1", (x.size, y.size))
        ImageDraw.Draw(mask).polygon([tuple(corner) for corner in corners], fill=1)
        # Where the film cuts the polygon, the window's edge is not the polygon's edge.
        far = np.pad(np.array(mask), 1, mode="edge")
        inside = distance_transform_edt(far, sampling=self.pixel[::-1])[1:-1, 1:-1]
        inside = np.maximum(inside - self.pixel.mean() / 2, 0)
        whole = rounded(inside, depth, radius)
        if material:
            self.path[material][at] += whole
            return
        core = rounded(np.maximum(inside - cortex, 0), max(depth - 2 * cortex, 0), radius)
        self.path["cortical"][at] += whole - core
        self.path["cancellous"][at] += core

    def displace(self) -> None:
        """Let bone, teeth and air take the place of soft tissue; the outline of the body stays."""
        self.path = {material: np.maximum(t, 0) for material, t in self.path.items()}
        taken = sum(t for m, t in self.path.items() if m != "soft" and m not in OUTSIDE)
        self.path["soft"] = np.maximum(self.path["soft"] - taken, 0)


def rounded(inside: Array, depth: float, radius: float) -> Array:
    """Return the thickness in cm of a slab at `inside` mm from its edge."""
    return depth / 10 * np.sqrt(1 - (1 - np.minimum(inside / radius, 1)) ** 2)


def curve(points: ArrayLike, closed: bool = False) -> Array:
    """Return a smooth polyline (m, 2) through `points` (n, 2)."""
    return _spline(tuple(map(tuple, points)), closed)


@lru_cache(maxsize=512)  # most curves belong to the template: they are the same for every subject
def _spline(points: tuple[tuple[float, float], ...], closed: bool) -> Array:
    knots = np.array([*points, points[0]] if closed else points, float)
    spline = CubicSpline(np.arange(len(knots)), knots, bc_type="periodic" if closed else "natural")
    line = spline(np.linspace(0, len(knots) - 1, 3 * (len(knots) - 1) + 1))
    line.flags.writeable = False
    return line
