"""Render lateral cephalograms of invented subjects from a digital phantom.

The anatomy is a template of a lateral head in millimetres on a film 193.5 mm wide and 240 mm high:
x grows to the front (right), y downwards, and the ear rods of the cephalostat sit at `EAR_ROD`.
A `Subject` warps and poses the template. Each structure adds its thickness along the ray, in
centimetres, to a map of its material; Beer-Lambert turns the maps into exposure, and the film's
characteristic curve turns exposure into grey (bone is bright, air is dark).
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.transform import resize

from common.files import replacing
from common.job import Progress, run
from common.seeds import generator

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

Array = NDArray[np.float64]

FILM = np.array([193.5, 240.0])  # mm, width and height
EAR_ROD = np.array([60.0, 129.0])  # mm, in the template
CONDYLE = np.array([70.0, 127.0])  # mm, hinge of the mandible
ATLAS = np.array([52.0, 146.0])  # mm, hinge of the neck
VAULT_CENTRE = np.array([50.0, 75.0])  # mm, sees the whole outline of the vault

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

VEIL = 0.010  # scatter that reaches the whole film, as a share of the unattenuated beam
GLOW = 0.04  # scatter from nearby, as a share of the primary beam around a place
GLOW_RADIUS = 25.0  # mm, standard deviation of that neighbourhood
SPEED = 3.27  # logarithm of the attenuation at which the characteristic curve bends
TOE = 0.5  # below 1 the dense end of the characteristic curve is longer than its clear end


@dataclass(frozen=True)
class Subject:
    """Anatomy, pose and exposure of one subject; the template has the values in the comments."""

    scale: float  # 1; head size times magnification
    vault_height: float  # 1
    vault_length: float  # 1
    vault_width: float  # 145 mm, across
    wall: float  # 1.25; thickness of the vault's bone
    face_height: float  # 1; below the orbit
    face_forward: float  # 0 mm; maxilla and mandible against the cranial base
    jaw_angle: float  # 0 degrees; positive opens the mandibular plane
    chin: float  # 0 mm; pogonion to the front
    overjet: float  # 0 mm; upper incisors to the front
    nose: float  # 0 mm
    lips: float  # 0 mm
    sinus: float  # 1; maxillary, sphenoid and ethmoid
    frontal_sinus: float  # 1
    pneumatised: float  # 1; mastoid
    neck_angle: float  # 0 degrees; positive brings the lower neck forward
    shoulder: float  # 0 mm; positive lowers it
    teeth: int  # 7; on each side of each jaw
    missing: tuple[int, ...]  # places, counted over both jaws and sides
    metal: tuple[int, ...]  # places with a filling
    crowned: bool  # fillings are whole crowns
    brackets: bool
    tilt: float  # 0 degrees
    ear_rod: tuple[float, float]  # mm, on the film
    parallax: float  # 0.018; half the difference in magnification of left and right
    turn: tuple[float, float]  # 0 mm; half the displacement of left against right
    exposure: float  # 0; natural logarithm
    gamma: float  # film's contrast
    fog: float  # grey of the most exposed film
    blur: float  # mm, standard deviation of the detector's point spread
    wedge: float  # 1; soft-tissue filter in front of the face
    wedge_edge: float  # mm, radius of the wedge's rim
    chamber: float  # mm of aluminium, chamber of the exposure control
    holder: tuple[float, float]  # 0 mm; of the nasion holder from the skin
    film_shift: tuple[float, float]  # mm, of the film in its frame
    film_tilt: float  # 0 degrees


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw one subject; growth ties head size, vault, jaws, sinuses and teeth together."""
    growth = rng.beta(4, 1.6)  # 0 a child of about seven, 1 an adult
    vertical = rng.normal()  # long-faced against short-faced
    size = 0.90 + 0.12 * growth + 0.03 * rng.normal()
    braces = rng.random() < 0.16
    adult = growth > 0.75
    fillings = 0 if braces else rng.poisson(3 if adult else 1)
    return Subject(
        scale=size,
        vault_height=1 + 0.04 * rng.normal() + 0.04 * (1 - growth),
        vault_length=1 + 0.03 * rng.normal(),
        vault_width=145 + 5 * rng.normal(),
        wall=1.03 + 0.30 * growth + 0.10 * rng.normal(),
        face_height=0.93 + 0.08 * growth + 0.03 * vertical,
        face_forward=2.5 * rng.normal(),
        jaw_angle=3 * vertical + 1.5 * rng.normal(),
        chin=2 * rng.normal() + 2 * growth - 1,
        overjet=1.6 * rng.normal(),
        nose=-4 + 5 * growth + 1.5 * rng.normal(),
        lips=2.0 * rng.normal(),
        sinus=0.75 + 0.3 * growth + 0.1 * rng.normal(),
        frontal_sinus=np.clip(1.4 * growth - 0.3 + 0.3 * rng.normal(), 0.1, 1.6),
        pneumatised=np.clip(0.5 + 0.6 * growth + 0.3 * rng.normal(), 0.2, 1.6),
        neck_angle=6 * rng.normal(),
        shoulder=7 * rng.normal(),
        teeth=7 if growth > 0.45 else 6,
        missing=tuple(rng.choice(28, min(rng.poisson(1.2), 6), replace=False)),
        metal=tuple(rng.choice(28, min(fillings, 12), replace=False)),
        crowned=bool(adult and rng.random() < 0.3),
        brackets=bool(braces),
        tilt=3.5 * rng.normal(),
        ear_rod=(58 + 4 * rng.normal(), 129 + 5 * rng.normal()),
        parallax=0.018 + 0.005 * rng.normal(),
        turn=(1.8 * rng.normal(), 1.3 * rng.normal()),
        exposure=0.14 * rng.normal(),
        gamma=2.45 * np.exp(0.12 * rng.normal()),
        fog=np.clip(0.02 + 0.015 * rng.normal(), 0, 0.1),
        blur=0.50 + 0.10 * rng.random(),
        wedge=0.98 * np.exp(0.25 * rng.normal()),
        wedge_edge=rng.uniform(10, 45),
        chamber=rng.uniform(0, 2.5),
        holder=(2 * rng.normal(), 2 * rng.normal()),
        film_shift=(0.6 * rng.normal(), 1.5 * rng.normal()),
        film_tilt=np.clip(0.25 * rng.standard_t(2), -4, 4),
    )


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


def rotated(points: Array, centre: ArrayLike, degrees: float) -> Array:
    """Return `points` (n, 2) turned about `centre`; positive turns the front downwards."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (points - centre) @ np.array([[c, s], [-s, c]]) + centre


def place(subject: Subject, points: ArrayLike, part: str = "head", side: int = 0) -> Array:
    """Return template `points` (n, 2) where the subject has them on the film, in mm.

    Args:
        subject: Whose warp and pose to apply.
        points: Template coordinates in mm.
        part: "head", "jaw" (moves with the mandible) or "neck" (moves with the spine).
        side: -1 left, 1 right, 0 in the midline.
    """
    p = np.array(points, float).reshape(-1, 2)
    if part == "neck":
        below = np.clip((p[:, 1] - ATLAS[1]) / 60, 0, None)
        p[:, 0] += np.tan(np.radians(subject.neck_angle)) * 60 * below * (0.6 + 0.4 * below)
    else:
        if part == "jaw":
            # The teeth stay in occlusion: the lower border turns, the alveolar process follows less.
            turned = rotated(p, CONDYLE, subject.jaw_angle)
            below = np.clip((p[:, 1] - 158 - 0.3 * (p[:, 0] - 97)) / 25, 0, 1)[:, None]
            p += below * (turned - p)
            low = np.clip((p[:, 1] - 175) / 25, 0, 1) * np.clip((p[:, 0] - 90) / 30, 0, 1)
            p[:, 0] += subject.chin * low
        face = np.clip((p[:, 1] - 95) / 50, 0, 1) * np.clip((p[:, 0] - 72) / 40, 0, 1)
        p[:, 0] += subject.face_forward * face
        above, below = np.minimum(p[:, 1] - 115, 0), np.maximum(p[:, 1] - 115, 0)
        p[:, 1] = 115 + above * subject.vault_height + below * subject.face_height
        crown = np.clip((115 - p[:, 1]) / 40, 0, 1)
        p[:, 0] += (p[:, 0] - 72) * (subject.vault_length - 1) * crown
    p = p - EAR_ROD
    p = p * (1 + side * subject.parallax) + side * np.array(subject.turn)
    return rotated(subject.scale * p, (0, 0), subject.tilt) + subject.ear_rod


class Rays:
    """Thickness of every material along the ray of every pixel of a fine grid.

    Attributes:
        path: Maps (height, width) in cm, one a material.
        x, y: Pixel centres in mm.
        pixel: Width and height of a pixel in mm.
    """

    def __init__(self, size: int) -> None:
        self.pixel = FILM / size
        self.x = (np.arange(size) + 0.5) * self.pixel[0]
        self.y = (np.arange(size) + 0.5) * self.pixel[1]
        self.path = {material: np.zeros((size, size)) for material in ATTENUATION}

    def window(self, points: Array, margin: float) -> tuple[slice, slice]:
        """Return the rows and columns within `margin` mm of the box around `points`."""
        low, high = points.min(0) - margin, points.max(0) + margin
        columns = np.searchsorted(self.x, [low[0], high[0]])
        rows = np.searchsorted(self.y, [low[1], high[1]])
        return slice(*rows), slice(*columns)

    def grid(self, at: tuple[slice, slice]) -> tuple[Array, Array]:
        """Return x as a row and y as a column, in mm, for a window."""
        return self.x[None, at[1]], self.y[at[0], None]

    def ellipsoid(
        self, material: str, centre: Array, axes: ArrayLike, depth: float, degrees: float = 0
    ) -> None:
        """Add an ellipsoid with half-axes `axes` on the film and `depth` mm across in its middle."""
        centre = np.reshape(centre, (1, 2))
        at = self.window(centre, max(axes))
        x, y = self.grid(at)
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        dx, dy = x - centre[0, 0], y - centre[0, 1]
        u, v = (c * dx + s * dy) / axes[0], (c * dy - s * dx) / axes[1]
        self.path[material][at] += depth / 10 * np.sqrt(np.maximum(1 - u**2 - v**2, 0))

    def spheres(self, material: str, centres: Array, radii: Array, depths: Array) -> None:
        """Add small round bodies at `centres` (n, 2), each `depths` mm across in its middle."""
        if not len(centres):
            return
        at = self.window(centres, radii.max())
        x, y = self.grid(at)
        ratio = (
            (x[..., None] - centres[:, 0]) ** 2 + (y[..., None] - centres[:, 1]) ** 2
        ) / radii**2
        self.path[material][at] += np.sqrt(np.maximum(1 - ratio, 0)) @ depths / 10

    def distance(self, line: Array, margin: float) -> tuple[tuple[slice, slice], Array]:
        """Return the window around a polyline and the distance of its pixels to it, in mm."""
        at = self.window(line, margin)
        x, y = self.grid(at)
        (ax, ay), (bx, by) = line[:-1].T, np.diff(line, axis=0).T
        dx, dy = x[..., None] - ax, y[..., None] - ay
        along = np.clip((dx * bx + dy * by) / (bx**2 + by**2 + 1e-12), 0, 1)
        squared = (dx - along * bx) ** 2 + (dy - along * by) ** 2
        return at, np.sqrt(squared.min(axis=-1))

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
        at = self.window(outline, 2 * self.pixel.max())
        rows, columns = (s.stop - s.start for s in at)
        if rows <= 0 or columns <= 0:
            return
        origin = np.array([at[1].start, at[0].start])
        corners = outline / self.pixel - 0.5 - origin
        mask = Image.new("1", (columns, rows))
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


def rounded(inside: Array, depth: float, radius: float) -> Array:
    """Return the thickness in cm of a slab at `inside` mm from its edge."""
    return depth / 10 * np.sqrt(1 - (1 - np.minimum(inside / radius, 1)) ** 2)


VAULT = [
    (137, 73), (136, 58), (130, 41), (118, 25), (101, 14), (74, 7), (45, 5), (20, 10), (-1, 26),
    (-18, 50), (-27, 75), (-22, 98), (-8, 115), (3, 124), (22, 137), (42, 140), (56, 137),
    (66, 122), (74, 109), (95, 100), (115, 94), (131, 86),
]  # fmt: skip


def cranial_vault(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Outer table, diploe and inner table as nested shells, brain inside, scalp outside."""
    centre = place(subject, VAULT_CENTRE)[0]
    outline = place(subject, curve(VAULT, closed=True)) - centre
    angles = np.arctan2(outline[:, 1], outline[:, 0])
    dx, dy = rays.x - centre[0], (rays.y - centre[1])[:, None]
    towards, away = np.arctan2(dy, dx), np.hypot(dx, dy)
    radius = np.interp(
        towards, *zip(*sorted(zip(angles, np.hypot(*outline.T), strict=True)), strict=True),
        period=2 * np.pi,
    )  # fmt: skip
    # The calvaria is thicker in front and behind than at the temples; the base is thin.
    upper = 1 / (1 + np.exp((dy - 18) / 6))
    floor = 2.6 - 2.1 / (1 + np.exp(-dx / 6))  # mm; thin above the orbits
    wall = subject.wall * (floor + upper * (5.0 + 1.6 * np.cos(2 * towards) + 2 * np.cos(towards)))
    half = subject.scale * subject.vault_width / 2
    half = half * (1 - 0.27 * np.clip(dx / 85, 0, 1) ** 1.3)  # the forehead is narrower
    steep = 2.7 + 1.5 * (1 - upper)  # the sides are steeper at the base than at the crown

    def within(shrink: ArrayLike, flat: float) -> Array:
        ratio = np.minimum(away / (radius - shrink), 1)
        return (half - flat) / 5 * np.sqrt(1 - ratio**steep)

    scalp, outer = within(-5.0, -5.0), within(0.0, 0.0)
    diploe = within(0.3 * wall, 0.3 * 4 * subject.wall)
    inner = within(0.72 * wall, 0.72 * 4 * subject.wall)
    brain = within(wall, 4 * subject.wall)
    rays.path["cortical"] += (outer - diploe) + (inner - brain)
    rays.path["cancellous"] += diploe - inner
    rays.path["soft"] = np.maximum(rays.path["soft"], scalp)
    vault_relief(rays, subject, rng)


def vault_relief(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Sutures, grooves of the meningeal vessels and the gyral impressions thin the bone."""
    jag = rng.normal(0, 1.2, (9, 2))
    for side in (-1, 1):
        suture = np.linspace((84 + 4 * side, 13), (92, 84), 9) + jag * (1, 0.3)
        rays.rod("cortical", place(subject, suture, side=side), 1.1, fill=-0.6)
        lambdoid = np.linspace((-4, 36), (22, 112), 9) + jag[::-1]
        rays.rod("cortical", place(subject, lambdoid, side=side), 1.1, fill=-0.6)
        stem = [(88, 92), (82, 74), (74, 52), (62, 28)]
        branch = [(82, 74), (62, 62), (36, 50)]
        for vessel in (stem, branch):
            line = curve(np.array(vessel) + rng.normal(0, 3, (len(vessel), 2)))
            rays.rod("cortical", place(subject, line, side=side), 1.0, fill=-0.5)
        squama = curve([(30, 106), (34, 92), (50, 84), (68, 88), (80, 100)])
        rays.rod("cortical", place(subject, squama, side=side), 1.4, fill=-0.6)
        sinus = curve([(-16, 112), (4, 110), (26, 108), (38, 116), (42, 130)])
        rays.rod("cortical", place(subject, sinus, side=side), 4.0, fill=-0.35)
        temple = curve([(128, 76), (112, 60), (84, 48), (50, 50), (24, 72)])
        rays.rod("cortical", place(subject, temple, side=side), 1.6, fill=0.5)
        # Where the gyri of the brain press on the inner table it is thinner.
        impressions = VAULT_CENTRE - (0, 2) + rng.uniform(-1, 1, (32, 2)) * (68, 50)
        for where in place(subject, impressions, side=side):
            axes, depth = rng.uniform(5, 12, 2), -rng.uniform(0.7, 3.0)
            rays.ellipsoid("cortical", where, axes, depth, rng.uniform(0, 180))


def soft_profile(rays: Rays, subject: Subject) -> None:
    """Forehead, nose, lips, chin and neck in one outline, thinner towards the profile."""
    nose, lips = subject.nose, subject.lips
    face = place(
        subject,
        [(60, 60), (120, 50), (138, 63), (142, 78), (141, 90), (138, 98), (144 + nose / 2, 118),
         (153 + nose, 132), (157 + nose, 140), (154 + nose, 146), (146 + nose / 3, 148),
         (149 + lips, 157), (153 + lips, 163), (147 + lips / 2, 168)],
    )  # fmt: skip
    jaw = place(
        subject,
        [(151 + lips, 174), (150 + lips, 180), (142, 188), (144, 197),
         (140, 208), (124, 214), (106, 212)],
        part="jaw",
    )  # fmt: skip
    neck = place(
        subject,
        [(99, 217), (99, 231), (112, 262), (-40, 262), (6, 205),
         (13, 185), (8, 160), (-6, 140), (-14, 118)],
        part="neck",
    )  # fmt: skip
    skin = curve(np.vstack([face, jaw, neck]), closed=True)
    rays.slab(skin, 100 * subject.scale, 34 * subject.scale, "soft")


def auricles(rays: Rays, subject: Subject) -> None:
    """The ears, which show through the skull as a paler oval with a rolled rim."""
    for side in (-1, 1):
        rays.ellipsoid("soft", place(subject, (42, 122), side=side)[0], (18, 31), 5, -14)
        helix = curve([(54, 104), (44, 93), (30, 100), (26, 118), (36, 140), (46, 150)])
        rays.rod("soft", place(subject, helix, side=side), 4.0, fill=0.5)
        rays.rod("air", place(subject, [(50, 122), (48, 132)], side=side), 5)


def shoulder(rays: Rays, subject: Subject) -> None:
    """The near shoulder, so thick that the film behind it stays unexposed."""
    centre = np.array([[-10 + 0.5 * subject.neck_angle, 287 + subject.shoulder]])
    rays.ellipsoid("soft", centre, (105, 68), 250, 8)


def airway(rays: Rays, subject: Subject) -> None:
    """Nasal cavity, nasopharynx and the column of air down to the trachea."""
    nasal = curve(
        [(136, 134), (120, 122), (100, 122), (88, 131), (91, 142), (120, 141)], closed=True
    )
    rays.slab(place(subject, nasal), 14, 6, "air")
    for y in (128, 135, 140):  # the turbinates lie in the air
        turbinate = place(subject, curve([(98, y), (110, y - 1.5), (124, y + 1)]))
        rays.rod("soft", turbinate, 1.8)
        rays.sheet("cortical", turbinate, 0.7, 10)
    upper = curve([(90, 133), (80, 134), (73, 142), (70, 155)])
    rays.rod("air", place(subject, upper), 6.5, fill=2)
    pharynx = curve([(70, 152), (72, 168), (76, 184), (76, 200)])
    rays.rod("air", place(subject, pharynx, "neck"), 6.5, fill=2.2)
    trachea = curve([(75, 198), (77, 212), (74, 228), (68, 246)])
    rays.rod("air", place(subject, trachea, "neck"), 4, fill=1.4)
    oral = curve([(100, 155), (115, 155), (128, 161)])
    rays.rod("air", place(subject, oral), 2.0, fill=4)
    palate = curve([(91, 145), (83, 150), (77, 158), (75, 166)])
    rays.rod("soft", place(subject, palate), 3.5, fill=4)
    epiglottis = curve([(75, 206), (79, 196), (77, 188)])
    rays.rod("soft", place(subject, epiglottis, "neck"), 1.5, fill=5)


def skull_base(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Sella and clivus, sphenoid wings, fossae, petrous pyramids, condyles and mastoid cells."""

    def mid(points: ArrayLike, thickness: float, depth: float, side: int = 0) -> None:
        rays.sheet("cortical", place(subject, curve(points), side=side), thickness, depth)

    sella = [(108, 99), (96, 101), (86, 102), (82, 104), (80, 109), (75, 111), (71, 109), (69, 103)]
    mid(sella, 1.2, 15)
    mid([(69, 103), (68, 112), (62, 126), (56, 138)], 1.6, 13)  # back of the clivus
    mid([(82, 112), (78, 122), (66, 130), (56, 138)], 1.4, 14)  # its front, sphenoid floor
    mid([(104, 102), (118, 99), (131, 98)], 1.2, 8)  # cribriform plate
    clivus = curve([(70, 106), (76, 113), (68, 126), (57, 139), (54, 136), (62, 120)], closed=True)
    rays.slab(place(subject, clivus), 14, 4, cortex=0.8)
    for side in (-1, 1):
        mid([(92, 101), (104, 95), (116, 89), (126, 84), (134, 82)], 1.2, 9, side)  # orbital roof
        mid([(92, 101), (97, 94), (100, 86), (98, 78)], 1.2, 10, side)  # lesser wing
        mid([(92, 101), (93, 108), (89, 118), (82, 125)], 1.2, 12, side)  # greater wing
        mid([(84, 122), (76, 124), (66, 127)], 2.0, 12, side)  # articular tubercle
        mid([(62, 112), (46, 116), (28, 124), (10, 122)], 1.5, 6, side)  # petrous ridge, tentorium
        middle_fossa = place(subject, (83, 109), side=side)[0]
        rays.ellipsoid("cortical", middle_fossa, (19, 14), 5.5, 15)
        rays.ellipsoid("cortical", middle_fossa, (17.5, 12.5), -2.5, 15)
        petrous = place(subject, (57, 121), side=side)[0]
        rays.ellipsoid("cortical", petrous, (18, 9), 5, -28 + subject.tilt)
        rays.ellipsoid("cancellous", place(subject, (44, 130), side=side)[0], (15, 12), 14, 60)
        rays.ellipsoid("cortical", place(subject, (50, 139), side=side)[0], (8, 4.5), 9, 12)
        rays.rod("air", place(subject, [(57, 127), (61, 129)], side=side), 2.4, fill=3)
        rays.ellipsoid("air", place(subject, (70, 129), side=side)[0], (5, 2.2), 8, 10)
        cells = (42, 124) + rng.normal(0, 1, (int(60 * subject.pneumatised), 2)) * (7.5, 7.5)
        radius = rng.uniform(0.8, 2.2, len(cells))
        cells = place(subject, cells, side=side)
        rays.spheres("air", cells, radius, 3.5 * radius)
        rays.spheres("cortical", cells, radius + 0.7, 1.2 * radius)
        rays.spheres("cortical", cells, radius, -1.2 * radius)
    rays.sheet(
        "cortical", place(subject, curve([(-8, 112), (6, 124), (22, 136), (46, 139)])), 2.4, 16
    )


def orbit_and_sinuses(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Orbital and zygomatic rims, ethmoid cells, frontal, sphenoid and maxillary sinuses."""
    big = subject.sinus
    sphenoid = place(subject, (87, 113))[0]
    rays.ellipsoid("air", sphenoid, (8.5 * big, 7 * big), 14 * big)
    frontal = curve(
        [(132, 92), (135, 84), (136, 74), (134, 70), (132.5, 77), (129, 87)], closed=True
    )
    frontal = np.array([132, 88]) + (frontal - (132, 88)) * (1, subject.frontal_sinus)
    rays.slab(place(subject, frontal), 26 * subject.frontal_sinus, 2, "air")
    rays.sheet(
        "cortical", place(subject, curve([(137, 72), (138.5, 82), (134, 92), (139, 106)])), 2.2, 16
    )
    for side in (-1, 1):

        def plate(points: ArrayLike, thickness: float, depth: float, side: int = side) -> None:
            rays.sheet("cortical", place(subject, curve(points), side=side), thickness, depth)

        centre = place(subject, (110, 130), side=side)[0]
        rays.ellipsoid("air", centre, (14 * big, 11 * big), 30 * big, 8)
        plate(
            [(130, 84), (124, 94), (121, 105), (122, 117), (127, 124)], 2.2, 8
        )  # lateral orbital rim
        plate([(127, 124), (118, 122), (108, 119), (98, 112)], 1.1, 9)  # orbital floor
        plate([(122, 117), (114, 126), (111, 138), (116, 145)], 1.8, 8)  # key ridge
        plate([(95, 114), (93, 126), (94, 140), (97, 148)], 1.2, 10)  # back of the maxillary sinus
        plate([(89, 116), (88, 130), (91, 146)], 1.3, 8)  # pterygoid plate
        plate([(128, 124), (127, 136), (128, 146)], 1.2, 8)  # piriform rim
        arch = curve([(114, 123), (98, 122), (82, 122), (70, 125)])
        rays.rod("cortical", place(subject, arch, side=side), 2.0)
        cells = rng.uniform((97, 101), (124, 119), (13, 2))
        for where in place(subject, cells, side=side):
            axes = rng.uniform(2.5, 5.0, 2) * big
            rays.ellipsoid("air", where, axes, 14 * big)
            rays.ellipsoid("cortical", where, axes + 0.8, 2.4)
            rays.ellipsoid("cortical", where, axes, -2.1)


def jaws(rays: Rays, subject: Subject) -> None:
    """Hard palate and alveolar process; mandible with ramus, body, canal and symphysis."""
    palate = curve([(90, 144), (104, 144), (120, 144.5), (129, 146)])
    rays.sheet("cortical", place(subject, palate), 1.8, 20)
    alveolus = [(128, 146), (126, 152), (131, 161), (114, 158), (97, 154), (91, 146), (108, 145)]
    symphysis = [(132, 176), (127.5, 186), (129, 197), (126, 205),
                 (119, 206), (118, 196), (121, 184), (126, 175)]  # fmt: skip
    mandible = [
        (123, 204), (107, 196), (91, 183), (80, 174), (73, 167), (69, 158), (67, 147), (67, 136), (67, 127),
        (72, 124), (75, 130), (79, 135), (83, 130), (86, 126), (88, 136), (91, 148), (95, 162),
        (108, 171), (126, 177), (127, 190),
    ]  # fmt: skip
    rays.slab(place(subject, curve(symphysis, closed=True), "jaw"), 22, 6, cortex=2.4)
    for side in (-1, 1):
        rays.slab(place(subject, curve(alveolus, closed=True), side=side), 15, 4, cortex=1.5)
        rays.slab(place(subject, curve(mandible, closed=True), "jaw", side), 13, 4, cortex=3.0)
        canal = curve([(78, 143), (82, 160), (94, 176), (112, 188)])
        rays.rod("cancellous", place(subject, canal, "jaw", side), 1.6, fill=-1)
        oblique = curve([(88, 148), (93, 164), (104, 177)])
        rays.sheet("cortical", place(subject, oblique, "jaw", side), 2, 5)


# Template place (mm) of the occlusal end, width (mm), and roots of the seven teeth from the incisor
# back. Front teeth of the arch overlap in the lateral view.
TEETH = (
    (133.0, 4.5, 1), (130.5, 4.5, 1), (127.0, 5.5, 1), (121.5, 6.0, 1), (115.0, 6.5, 1),
    (106.5, 9.5, 2), (97.5, 9.5, 2),
)  # fmt: skip


def teeth(rays: Rays, subject: Subject) -> None:
    """Enamel, dentine and pulp of both jaws and sides, with fillings, crowns or brackets."""
    for side in (-1, 1):  # third molars, still in the jaw
        for where in (
            place(subject, (88.5, 147), side=side)[0],
            place(subject, (89, 163), "jaw", side)[0],
        ):
            rays.ellipsoid("enamel", where, (4.5, 4), 3.5 * (subject.teeth == 7))
            rays.ellipsoid("cancellous", where, (6, 5.5), -4)
    for index in range(28):
        number, upper, side = index % 7, index < 14, (-1, 1)[index // 7 % 2]
        if number >= subject.teeth or (index in subject.missing and not subject.brackets):
            continue
        x, width, roots = TEETH[number]
        part, up = ("head", -1) if upper else ("jaw", 1)
        front = max(0.0, x - 124) / 9
        crown = np.array([x + (subject.overjet if upper else -2.0) * front, 0.0])
        crown[1] = 157.5 + 0.30 * (x - 97) + (1.5 * front if upper else -0.5 * front) + 4 * up
        lean = np.array([-0.33 * front - 0.07, up])  # the root of a front tooth leans back
        where = place(subject, crown, part, side)[0]
        angle = subject.tilt
        rays.ellipsoid("dentine", where, (width / 2 + 0.5, 4), 8, angle)
        rays.ellipsoid("enamel", where, (width / 2 + 0.7, 4.2), 2.6, angle)
        for root in range(roots):
            shift = np.array([(root - (roots - 1) / 2) * 4.5, 0])
            line = place(subject, [crown + shift + 2 * lean, crown + shift + 13 * lean], part, side)
            rays.rod("dentine", line, 2.2, fill=1.3)
            rays.rod("dentine", line, 0.7, fill=-1.3)
        if index in subject.metal and number > 2:
            axes = (width / 2, 4.2) if subject.crowned else (width / 3.2, 1.8)
            rays.ellipsoid("metal", where - (0, 0 if subject.crowned else 1.5 * up), axes, 3, angle)
        if subject.brackets:
            rays.ellipsoid("metal", where, (1.9, 1.7), 2.4)
            if number < 6:
                following = (TEETH[number + 1][0], crown[1] - 0.3 * (x - TEETH[number + 1][0]))
                rays.rod("metal", np.vstack([where, place(subject, following, part, side)]), 0.35)


def cervical_spine(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Atlas, axis with its odontoid, and C3 to C7 with pillars, laminae and spinous processes."""

    def at(points: ArrayLike, side: int = 0) -> Array:
        return place(subject, points, "neck", side)

    rays.slab(
        at(curve([(62, 142), (63, 147), (60, 151), (57.5, 147)], closed=True)), 14, 3, cortex=1
    )
    rays.rod("cortical", at(curve([(52, 148), (44, 148), (36, 150)])), 2.6, fill=2.2)
    rays.ellipsoid("cancellous", at((34, 151))[0], (5, 4.5), 22)
    odontoid = [(53, 144), (57, 145), (58, 156), (60, 166), (47, 168), (49, 157)]
    rays.slab(at(curve(odontoid, closed=True)), 14, 4, cortex=1.2)
    for side in (-1, 1):
        rays.ellipsoid("cancellous", at((52, 149), side)[0], (8, 6.5), 14)
        rays.ellipsoid("cortical", at((52, 149), side)[0], (8, 6.5), 2)
    for level in range(6):
        centre = np.array([53 - 0.6 * level - 0.35 * level**2, 165 + 12.6 * level])
        wide, high = 7.4 + 0.25 * level, 4.9
        box = [(-wide, -high), (0, -high + 0.8), (wide, -high + 1.2), (wide - 0.8, 0),
               (wide, high + 0.8), (0, high - 0.6), (-wide, high), (-wide + 0.8, 0)]  # fmt: skip
        body = centre + rotated(np.array(box), (0, 0), rng.normal(4, 3))
        rays.slab(at(curve(body + rng.normal(0, 0.35, body.shape), closed=True)), 25, 4, cortex=1.1)
        for side in (-1, 1):
            pillar = np.array([(-6, -6), (-15, -2), (-18, 7), (-8, 4)]) + centre
            pillar += rng.normal(0, 0.6, pillar.shape)
            rays.slab(at(curve(pillar, closed=True), side), 10, 3, cortex=1.2)
        length = (31, 22, 23, 25, 29, 34)[level]
        spinous = centre + np.array([(-14, 1), (-0.7 * length, 3), (-length, 6)])
        rays.rod("cortical", at(curve(spinous)), 2.4, fill=1.8)
        rays.rod("cancellous", at(curve(spinous)), 4.0, fill=1.4)
        rays.ellipsoid("cancellous", at(spinous[-1])[0], (4.5, 3.5), 10)
    for side in (-1, 1):
        rays.rod("cortical", at(curve([(86, 196), (93, 193), (80, 189)]), side), 1.3)
    rays.ellipsoid("cancellous", at((91, 195))[0], (4, 5), 12, 30)


def cephalostat(rays: Rays, subject: Subject) -> None:
    """Ear rods, nasion holder, soft-tissue wedge, and the chamber of the exposure control."""
    for side in (-1, 1):
        ring = place(subject, EAR_ROD, side=side) + 4.5 * np.array(
            [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 17)]
        )
        rays.sheet("aluminium", ring, 1.5, 15)
    # The foot of the holder touches the skin at the nasion.
    shift = place(subject, (138, 98))[0] - (138, 99) + subject.holder
    right = np.array([shift[0], 0])
    for wall in ([(151, -5), (151, 48), (157, 49)], [(163, -5), (163, 48), (157, 49)]):
        rays.sheet("aluminium", np.array(wall) + right, 2.0, 7)
    rays.sheet("aluminium", np.array([(157, 4), (157, 94)]) + right + (0, shift[1]), 2.4, 12)
    rays.sheet("aluminium", np.array([(157, 74), (157, 94)]) + right + (0, shift[1]), 2.8, 12)
    foot = [(140, 97), (155, 97), (155, 81), (164, 81), (164, 105), (140, 105)]
    rays.slab(np.array(foot) + shift, 14, 1.5, "acrylic")
    x, y = rays.x[None, :], rays.y[:, None]
    # The wedge begins in front of the face and thickens, like a cone, towards the film's corners.
    away = np.maximum(np.hypot(np.maximum(x - 70, 0), (y - 150) / 1.5) - 64, 0)
    cone = 0.5 + 0.022 * away + 0.00032 * away**2
    cone += 0.3 / (1 + np.exp((subject.wedge_edge - away) / 1.2))  # its rim
    rays.path["aluminium"] += subject.wedge * cone / (1 + np.exp((116 - x) / 9))
    edge = np.clip((x - 44) / 1.5, 0, 1) * np.clip((75 - x) / 1.5, 0, 1)
    rays.path["aluminium"] += subject.chamber / 10 * edge * np.clip((150 - y) / 60, 0, 1)


def film_frame(rays: Rays, subject: Subject) -> Array:
    """Return how much of the beam reaches each pixel: none on the frame and its notches."""
    x, y = np.broadcast_arrays(rays.x[None, :], rays.y[:, None])
    turned = rotated(np.stack([x.ravel(), y.ravel()], 1), FILM / 2, subject.film_tilt)
    x, y = (turned - subject.film_shift).T.reshape(2, *x.shape)

    def step(value: Array) -> Array:
        return np.clip(value / rays.pixel.max() + 0.5, 0, 1)

    inside = step(x - 1.6) * step(FILM[0] + 1 - x) * step(y - 2.8) * step(FILM[1] + 0.6 - y)
    for left in (46.5, 92.5, 138.5):
        notch = step(x - left) * step(left + 12.5 - x)
        inside = inside * (1 - notch * (1 - step(y - 9.5) * step(FILM[1] - 4.6 - y)))
    # The stamp of the film number lets light through the frame, letter by letter.
    letters = step(x - 2) * step(26 - x) * step(y - 0.6) * step(4.2 - y)
    return np.maximum(inside, 0.55 * letters * (np.sin(2.1 * x) > -0.2))


def transmission(path: dict[str, Array]) -> Array:
    """Return the share of the beam that passes (Beer-Lambert), for thicknesses `path` in cm."""
    shares = [
        share * np.exp(-sum(ATTENUATION[m][energy] * t for m, t in path.items()))
        for energy, share in enumerate(BEAM)
    ]
    return np.sum(shares, axis=0)


def thicknesses(subject: Subject, size: int, rng: np.random.Generator) -> Rays:
    """Trace the subject and the cephalostat on a grid of `size` x `size` rays."""
    rays = Rays(size)
    soft_profile(rays, subject)
    cranial_vault(rays, subject, rng)
    airway(rays, subject)
    skull_base(rays, subject, rng)
    orbit_and_sinuses(rays, subject, rng)
    jaws(rays, subject)
    teeth(rays, subject)
    cervical_spine(rays, subject, rng)
    auricles(rays, subject)
    shoulder(rays, subject)
    cephalostat(rays, subject)
    path = {material: np.maximum(t, 0) for material, t in rays.path.items()}
    # Bone, teeth and air take the place of soft tissue: the outline of the body stays.
    taken = sum(t for m, t in path.items() if m != "soft" and m not in OUTSIDE)
    path["soft"] = np.maximum(path["soft"] - taken, 0)
    rays.path = path
    return rays


def expose(rays: Rays, subject: Subject) -> Array:
    """Return the film's grey in [0, 1] for traced rays: scatter, point spread, film, display."""
    primary = transmission(rays.path)
    frame = film_frame(rays, subject)
    coarse = max(1, len(primary) // 64)
    blocks = primary[::coarse, ::coarse]  # the glow is so wide that a coarse grid holds it
    glow = gaussian_filter(blocks, GLOW_RADIUS / (coarse * rays.pixel[::-1]))
    scatter = VEIL + GLOW * resize(glow, primary.shape)
    beam = gaussian_filter((primary + scatter) * frame, subject.blur / rays.pixel[::-1])
    # Characteristic curve: density saturates where much light falls and vanishes where none does.
    exposure = beam * np.exp(SPEED + subject.exposure)
    density = 1 - (1 + exposure**subject.gamma) ** -TOE
    return np.clip(1 - (1 - subject.fog) * density, 0, 1)


def render(subject: int, size: int, seed: int) -> Array:
    """Return the cephalogram (size, size) of one subject, in [0, 1].

    Args:
        subject: Number of the subject, from 1.
        size: Pixels on each side; the film's 193.5 mm x 240 mm are squeezed into a square.
        seed: The configuration's seed. The image depends on these three numbers alone.
    """
    rng = generator(seed, "phantom", subject)
    person = draw_subject(rng)
    fine = max(2, -(-256 // size))
    grey = expose(thicknesses(person, size * fine, rng), person)
    return grey.reshape(size, fine, size, fine).mean(axis=(1, 3))


def render_all(subjects: int, size: int, seed: int, threads: int) -> Array:
    """Return the cephalograms (subjects, size, size) of subjects 1, 2, ..., in [0, 1]."""
    progress = Progress("phantom", subjects)
    images = np.empty((subjects, size, size))
    every = range(1, subjects + 1)
    if threads > 1:
        with ProcessPoolExecutor(threads, mp_context=get_context("forkserver")) as pool:
            parts = pool.map(render, every, [size] * subjects, [seed] * subjects, chunksize=8)
            for index, image in enumerate(parts):
                images[index] = image
                progress.advance()
    else:
        for index, subject in enumerate(every):
            images[index] = render(subject, size, seed)
            progress.advance()
    return images


def main(snakemake: "snakemake") -> None:
    """Render the subjects and write the images and their ids."""
    subjects, size = snakemake.params.subjects, snakemake.params.size
    images = render_all(subjects, size, snakemake.params.seed, snakemake.threads)
    with replacing(snakemake.output.images) as path:
        np.save(path, images)
    with replacing(snakemake.output.ids) as path:
        path.write_text("\n".join(["id", *(f"{n:03d}" for n in range(1, subjects + 1))]) + "\n")


if __name__ == "__main__":
    run(main, snakemake)
