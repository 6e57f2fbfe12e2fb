"""The parts of the machine that the beam passes beside the subject."""

import numpy as np

from phantom.rays import Rays
from phantom.subject import EAR_ROD, Subject, place


def add_cephalostat(rays: Rays, subject: Subject) -> None:
    """Add all parts of the machine."""
    ear_rods(rays, subject)
    nasion_holder(rays, subject)
    wedge(rays, subject)
    chamber(rays, subject)


def ear_rods(rays: Rays, subject: Subject) -> None:
    """The rings of the two ear rods, seen end-on."""
    ring = 4.5 * np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 17)])
    for side in (-1, 1):
        rays.sheet("aluminium", place(subject, EAR_ROD, side=side) + ring, 1.5, 15)


def nasion_holder(rays: Rays, subject: Subject) -> None:
    """Two walls, a rod and a foot that touches the skin at the nasion."""
    shift = place(subject, (138, 98))[0] - (138, 99) + subject.holder
    for wall in ([(151, -5), (151, 48), (157, 49)], [(163, -5), (163, 48), (157, 49)]):
        rays.sheet("aluminium", np.add(wall, (shift[0], 0)), 2.0, 7)
    rays.sheet("aluminium", np.array([(157, 4), (157, 94)]) + shift, 2.4, 12)
    rays.sheet("aluminium", np.array([(157, 74), (157, 94)]) + shift, 2.8, 12)
    foot = [(140, 97), (155, 97), (155, 81), (164, 81), (164, 105), (140, 105)]
    rays.slab(np.array(foot) + shift, 14, 1.5, "acrylic")


def wedge(rays: Rays, subject: Subject) -> None:
    """The soft-tissue filter: it begins in front of the face and thickens outwards like a cone."""
    away = np.maximum(np.hypot(np.maximum(rays.x - 70, 0), (rays.y - 150) / 1.5) - 64, 0)
    cone = 0.5 + 0.022 * away + 0.00032 * away**2
    cone += 0.3 / (1 + np.exp((subject.wedge_edge - away) / 1.2))  # its rim
    rays.path["aluminium"] += subject.wedge * cone / (1 + np.exp((116 - rays.x) / 9))


def chamber(rays: Rays, subject: Subject) -> None:
    """The chamber of the exposure control, a faint bar behind the neck."""
    edge = np.clip((rays.x - 44) / 1.5, 0, 1) * np.clip((75 - rays.x) / 1.5, 0, 1)
    rays.path["aluminium"] += subject.chamber / 10 * edge * np.clip((150 - rays.y) / 60, 0, 1)
