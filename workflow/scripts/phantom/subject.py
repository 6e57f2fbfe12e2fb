"""The invented subjects, and how each of them warps and poses the anatomical template.

The template is a lateral head in millimetres on a film 193.5 mm wide and 240 mm high: x grows to
the front (right), y downwards, and the ear rods of the cephalostat sit at `EAR_ROD`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

EAR_ROD = np.array([60.0, 129.0])  # mm, in the template
CONDYLE = np.array([70.0, 127.0])  # mm, hinge of the mandible
ATLAS = np.array([52.0, 146.0])  # mm, hinge of the neck


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


def draw_subject(rng: np.random.Generator, variety: float = 1) -> Subject:
    """Draw one subject; growth ties head size, vault, jaws, sinuses and teeth together.

    Args:
        rng: What is drawn comes from it.
        variety: Factor of all normal deviations from the mean subject; 1 is as people differ.
    """

    def normal() -> float:
        return variety * rng.normal()

    growth = rng.beta(4, 1.6)  # 0 a child of about seven, 1 an adult
    vertical = normal()  # long-faced against short-faced
    size = 0.90 + 0.12 * growth + 0.03 * normal()
    braces = rng.random() < 0.16
    adult = growth > 0.75
    fillings = 0 if braces else rng.poisson(3 if adult else 1)
    return Subject(
        scale=size,
        vault_height=1 + 0.04 * normal() + 0.04 * (1 - growth),
        vault_length=1 + 0.03 * normal(),
        vault_width=145 + 5 * normal(),
        wall=1.03 + 0.30 * growth + 0.10 * normal(),
        face_height=0.93 + 0.08 * growth + 0.03 * vertical,
        face_forward=2.5 * normal(),
        jaw_angle=3 * vertical + 1.5 * normal(),
        chin=2 * normal() + 2 * growth - 1,
        overjet=1.6 * normal(),
        nose=-4 + 5 * growth + 1.5 * normal(),
        lips=2.0 * normal(),
        sinus=0.75 + 0.3 * growth + 0.1 * normal(),
        frontal_sinus=np.clip(1.4 * growth - 0.3 + 0.3 * normal(), 0.1, 1.6),
        pneumatised=np.clip(0.5 + 0.6 * growth + 0.3 * normal(), 0.2, 1.6),
        neck_angle=6 * normal(),
        shoulder=7 * normal(),
        teeth=7 if growth > 0.45 else 6,
        missing=tuple(rng.choice(28, min(rng.poisson(1.2), 6), replace=False)),
        metal=tuple(rng.choice(28, min(fillings, 12), replace=False)),
        crowned=bool(adult and rng.random() < 0.3),
        brackets=bool(braces),
        tilt=3.5 * normal(),
        ear_rod=(58 + 4 * normal(), 129 + 5 * normal()),
        parallax=0.018 + 0.005 * normal(),
        turn=(1.8 * normal(), 1.3 * normal()),
        exposure=0.14 * normal(),
        gamma=2.55 * np.exp(0.12 * normal()),
        fog=np.clip(0.02 + 0.015 * normal(), 0, 0.1),
        blur=0.50 + 0.10 * rng.random(),
        wedge=0.98 * np.exp(0.25 * normal()),
        wedge_edge=rng.uniform(10, 45),
        chamber=rng.uniform(0, 2.5),
        holder=(2 * normal(), 2 * normal()),
        film_shift=(0.6 * normal(), 1.5 * normal()),
        film_tilt=np.clip(0.25 * rng.standard_t(2), -4, 4),
    )


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
    points = np.asarray(points, float).reshape(-1, 2)
    x, y = points.T
    if part == "neck":
        below = np.maximum((y - ATLAS[1]) / 60, 0)
        x = x + np.tan(np.radians(subject.neck_angle)) * 60 * below * (0.6 + 0.4 * below)
    else:
        if part == "jaw":
            # The teeth stay in occlusion: the lower border turns, the alveolar process less.
            turned = rotated(points, CONDYLE, subject.jaw_angle)
            x, y = (points + ramp((y - 158 - 0.3 * (x - 97)) / 25)[:, None] * (turned - points)).T
            x = x + subject.chin * (ramp((y - 175) / 25) * ramp((x - 90) / 30))
        x = x + subject.face_forward * (ramp((y - 95) / 50) * ramp((x - 72) / 40))
        above, below = np.minimum(y - 115, 0), np.maximum(y - 115, 0)
        y = 115 + above * subject.vault_height + below * subject.face_height
        x = x + (x - 72) * (subject.vault_length - 1) * ramp((115 - y) / 40)
    p = np.stack([x, y], axis=1) - EAR_ROD
    p = p * (1 + side * subject.parallax) + side * np.array(subject.turn)
    return rotated(subject.scale * p, (0, 0), subject.tilt) + subject.ear_rod


def ramp(values: Array) -> Array:
    """Return `values` limited to [0, 1]; for short arrays faster than `np.clip`."""
    return np.minimum(np.maximum(values, 0), 1)
