"""The structures of the head and neck, each added to the rays that pass through it.

Coordinates are those of the template, in mm; `place` brings them to where the subject has them.
"""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from phantom.rays import Array, Rays, curve
from phantom.subject import Subject, place, rotated


def add_head(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Add all structures of a subject; `rng` places air cells and other small parts."""
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


def soft_profile(rays: Rays, subject: Subject) -> None:
    """Forehead, nose, lips, chin and neck in one outline, thinner towards the profile."""
    nose, lips = subject.nose, subject.lips
    face = [(60, 60), (120, 50), (138, 63), (142, 78), (141, 90), (138, 98), (144 + nose / 2, 118),
            (153 + nose, 132), (157 + nose, 140), (154 + nose, 146), (146 + nose / 3, 148),
            (149 + lips, 157), (153 + lips, 163), (147 + lips / 2, 168)]  # fmt: skip
    jaw = [(151 + lips, 174), (150 + lips, 180), (142, 188), (144, 197),
           (140, 208), (124, 214), (106, 212)]  # fmt: skip
    neck = [(99, 217), (99, 231), (112, 262), (-40, 262), (6, 205),
            (13, 185), (8, 160), (-6, 140), (-14, 118)]  # fmt: skip
    outline = place(subject, face), place(subject, jaw, "jaw"), place(subject, neck, "neck")
    skin = curve(np.vstack(outline), closed=True)
    rays.slab(skin, 100 * subject.scale, 34 * subject.scale, "soft")


def auricles(rays: Rays, subject: Subject) -> None:
    """The ears, which show through the skull as a paler oval with a rolled rim."""
    for side in (-1, 1):
        at = partial(place, subject, side=side)
        rays.ellipsoid("soft", at((42, 122)), (18, 31), 5, -14)
        helix = curve([(54, 104), (44, 93), (30, 100), (26, 118), (36, 140), (46, 150)])
        rays.rod("soft", at(helix), 4.0, 0.5)
        rays.rod("air", at([(50, 122), (48, 132)]), 5)


def shoulder(rays: Rays, subject: Subject) -> None:
    """The near shoulder, so thick that the film behind it stays unexposed."""
    centre = np.array([-10 + 0.5 * subject.neck_angle, 287 + subject.shoulder])
    rays.ellipsoid("soft", centre, (105, 68), 250, 8)


VAULT = [
    (137, 73), (136, 58), (130, 41), (118, 25), (101, 14), (74, 7), (45, 5), (20, 10), (-1, 26),
    (-18, 50), (-27, 75), (-22, 98), (-8, 115), (3, 124), (22, 137), (42, 140), (56, 137),
    (66, 122), (74, 109), (95, 100), (115, 94), (131, 86),
]  # fmt: skip
VAULT_CENTRE = np.array([50.0, 75.0])  # mm, sees the whole outline of the vault


def cranial_vault(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Outer table, diploe and inner table as nested shells, brain inside, scalp outside."""
    centre = place(subject, VAULT_CENTRE)[0]
    outline = place(subject, curve(VAULT, closed=True))
    at, x, y = rays.window(outline, 8)  # the scalp reaches 5 mm beyond the bone
    outline = outline - centre
    angles = np.arctan2(outline[:, 1], outline[:, 0])
    dx, dy = x - centre[0], y - centre[1]
    towards, away = np.arctan2(dy, dx), np.hypot(dx, dy)
    radius = np.interp(towards, angles, np.hypot(*outline.T), period=2 * np.pi)
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

    outer, diploe, inner, brain = (
        within(share * wall, share * 4 * subject.wall) for share in (0, 0.3, 0.72, 1)
    )
    rays.path["cortical"][at] += (outer - diploe) + (inner - brain)
    rays.path["cancellous"][at] += diploe - inner
    rays.path["soft"][at] = np.maximum(rays.path["soft"][at], within(-5.0, -5.0))  # scalp
    vault_relief(rays, subject, rng)


def vault_relief(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Sutures, grooves of vessels and gyral impressions thin the bone; a ridge thickens it."""
    rod = partial(rays.rod, "cortical")
    jag = rng.normal(0, 1.2, (9, 2))
    for side in (-1, 1):
        at = partial(place, subject, side=side)
        rod(at(np.linspace((84 + 4 * side, 13), (92, 84), 9) + jag * (1, 0.3)), 1.1, -0.6)  # suture
        rod(at(np.linspace((-4, 36), (22, 112), 9) + jag[::-1]), 1.1, -0.6)  # lambdoid suture
        for vessel in ([(88, 92), (82, 74), (74, 52), (62, 28)], [(82, 74), (62, 62), (36, 50)]):
            rod(at(curve(vessel + rng.normal(0, 3, (len(vessel), 2)))), 1.0, -0.5)
        rod(at(curve([(30, 106), (34, 92), (50, 84), (68, 88), (80, 100)])), 1.4, -0.6)  # squama
        rod(at(curve([(-16, 112), (4, 110), (26, 108), (38, 116), (42, 130)])), 4.0, -0.35)  # sinus
        rod(at(curve([(128, 76), (112, 60), (84, 48), (50, 50), (24, 72)])), 1.6, 0.5)  # temple
        # Where the gyri of the brain press on the inner table it is thinner.
        for where in at(VAULT_CENTRE - (0, 2) + rng.uniform(-1, 1, (32, 2)) * (68, 50)):
            axes, depth = rng.uniform(5, 12, 2), -rng.uniform(0.7, 3.0)
            rays.ellipsoid("cortical", where, axes, depth, rng.uniform(0, 180))


def airway(rays: Rays, subject: Subject) -> None:
    """Nasal cavity, nasopharynx and the column of air down to the trachea."""
    head, neck = partial(place, subject), partial(place, subject, part="neck")
    nasal = [(136, 134), (120, 122), (100, 122), (88, 131), (91, 142), (120, 141)]
    rays.slab(head(curve(nasal, closed=True)), 14, 6, "air")
    for y in (128, 135, 140):  # the turbinates lie in the air
        turbinate = head(curve([(98, y), (110, y - 1.5), (124, y + 1)]))
        rays.rod("soft", turbinate, 1.8)
        rays.sheet("cortical", turbinate, 0.7, 10)
    rays.rod("air", head(curve([(90, 133), (80, 134), (73, 142), (70, 155)])), 6.5, 2)  # its back
    rays.rod("air", neck(curve([(70, 152), (72, 168), (76, 184), (76, 200)])), 6.5, 2.2)  # pharynx
    rays.rod("air", neck(curve([(75, 198), (77, 212), (74, 228), (68, 246)])), 4, 1.4)  # trachea
    rays.rod("air", head(curve([(100, 155), (115, 155), (128, 161)])), 2.0, 4)  # mouth
    rays.rod("soft", head(curve([(91, 145), (83, 150), (77, 158), (75, 166)])), 3.5, 4)  # palate
    rays.rod("soft", neck(curve([(75, 206), (79, 196), (77, 188)])), 1.5, 5)  # epiglottis


def bony_plate(
    rays: Rays, subject: Subject, points: ArrayLike, thickness: float, depth: float, side: int = 0
) -> None:
    """Add cortical bone seen edge-on along the curve through template `points`."""
    rays.sheet("cortical", place(subject, curve(points), side=side), thickness, depth)


def skull_base(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Sella and clivus, sphenoid wings, fossae, temporal bones and the squama of the occiput."""
    plate = partial(bony_plate, rays, subject)
    sella = [(108, 99), (96, 101), (86, 102), (82, 104), (80, 109), (75, 111), (71, 109), (69, 103)]
    plate(sella, 1.2, 15)
    plate([(69, 103), (68, 112), (62, 126), (56, 138)], 1.6, 13)  # back of the clivus
    plate([(82, 112), (78, 122), (66, 130), (56, 138)], 1.4, 14)  # its front, sphenoid floor
    plate([(104, 102), (118, 99), (131, 98)], 1.2, 8)  # cribriform plate
    clivus = curve([(70, 106), (76, 113), (68, 126), (57, 139), (54, 136), (62, 120)], closed=True)
    rays.slab(place(subject, clivus), 14, 4, cortex=0.8)
    for side in (-1, 1):
        plate([(92, 101), (104, 95), (116, 89), (126, 84), (134, 82)], 1.2, 9, side)  # orbital roof
        plate([(92, 101), (97, 94), (100, 86), (98, 78)], 1.2, 10, side)  # lesser wing
        plate([(92, 101), (93, 108), (89, 118), (82, 125)], 1.2, 12, side)  # greater wing
        plate([(84, 122), (76, 124), (66, 127)], 2.0, 12, side)  # articular tubercle
        tentorium = [(62, 112), (46, 116), (28, 124), (10, 122)]  # and petrous ridge
        plate(tentorium, 1.5, 6, side)
        middle_fossa = place(subject, (83, 109), side=side)
        rays.ellipsoid("cortical", middle_fossa, (19, 14), 5.5, 15)
        rays.ellipsoid("cortical", middle_fossa, (17.5, 12.5), -2.5, 15)
        temporal_bone(rays, subject, rng, side)
    plate([(-8, 112), (6, 124), (22, 136), (46, 139)], 2.4, 16)  # occiput


def temporal_bone(rays: Rays, subject: Subject, rng: np.random.Generator, side: int) -> None:
    """Petrous pyramid, mastoid with its air cells, occipital condyle, ear canal and joint."""
    at = partial(place, subject, side=side)
    rays.ellipsoid("cortical", at((57, 121)), (18, 9), 5, -28 + subject.tilt)
    rays.ellipsoid("cancellous", at((44, 130)), (15, 12), 14, 60)
    rays.ellipsoid("cortical", at((50, 139)), (8, 4.5), 9, 12)
    rays.rod("air", at([(57, 127), (61, 129)]), 2.4, 3)
    rays.ellipsoid("air", at((70, 129)), (5, 2.2), 8, 10)
    cells = at((42, 124) + rng.normal(0, 1, (int(60 * subject.pneumatised), 2)) * (7.5, 7.5))
    radius = rng.uniform(0.8, 2.2, len(cells))
    rays.spheres("air", cells, radius, 3.5 * radius)
    rays.spheres("cortical", cells, radius + 0.7, 1.2 * radius)
    rays.spheres("cortical", cells, radius, -1.2 * radius)


def orbit_and_sinuses(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Orbital and zygomatic rims, ethmoid cells, frontal, sphenoid and maxillary sinuses."""
    big = subject.sinus
    rays.ellipsoid("air", place(subject, (87, 113)), (8.5 * big, 7 * big), 14 * big)  # sphenoid
    frontal = [(132, 92), (135, 84), (136, 74), (134, 70), (132.5, 77), (129, 87)]
    frontal = (132, 88) + (curve(frontal, closed=True) - (132, 88)) * (1, subject.frontal_sinus)
    rays.slab(place(subject, frontal), 26 * subject.frontal_sinus, 2, "air")
    plate = partial(bony_plate, rays, subject)
    plate([(137, 72), (138.5, 82), (134, 92), (139, 106)], 2.2, 16)  # forehead to nasal bone
    for side in (-1, 1):
        at = partial(place, subject, side=side)
        rays.ellipsoid("air", at((110, 130)), (14 * big, 11 * big), 30 * big, 8)  # maxillary
        rim = [(130, 84), (124, 94), (121, 105), (122, 117), (127, 124)]  # of the orbit, lateral
        plate(rim, 2.2, 8, side)
        plate([(127, 124), (118, 122), (108, 119), (98, 112)], 1.1, 9, side)  # orbital floor
        plate([(122, 117), (114, 126), (111, 138), (116, 145)], 1.8, 8, side)  # key ridge
        plate([(95, 114), (93, 126), (94, 140), (97, 148)], 1.2, 10, side)  # back of the sinus
        plate([(89, 116), (88, 130), (91, 146)], 1.3, 8, side)  # pterygoid plate
        plate([(128, 124), (127, 136), (128, 146)], 1.2, 8, side)  # piriform rim
        arch = curve([(114, 123), (98, 122), (82, 122), (70, 125)])  # zygomatic
        rays.rod("cortical", at(arch), 2.0)
        # The ethmoid's cells lie between the orbits and have walls of bone.
        for where in at(rng.uniform((97, 101), (124, 119), (13, 2))):
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
        (123, 204), (107, 196), (91, 183), (80, 174), (73, 167), (69, 158), (67, 147), (67, 136),
        (67, 127), (72, 124), (75, 130), (79, 135), (83, 130), (86, 126), (88, 136), (91, 148),
        (95, 162), (108, 171), (126, 177), (127, 190),
    ]  # fmt: skip
    rays.slab(place(subject, curve(symphysis, closed=True), "jaw"), 22, 6, cortex=2.4)
    for side in (-1, 1):
        at = partial(place, subject, part="jaw", side=side)
        rays.slab(place(subject, curve(alveolus, closed=True), side=side), 15, 4, cortex=1.5)
        rays.slab(at(curve(mandible, closed=True)), 13, 4, cortex=3.0)
        canal = curve([(78, 143), (82, 160), (94, 176), (112, 188)])
        rays.rod("cancellous", at(canal), 1.6, -1)
        oblique = curve([(88, 148), (93, 164), (104, 177)])
        rays.sheet("cortical", at(oblique), 2, 5)


# Template place (mm) of the occlusal end, width (mm), and roots of the seven teeth from the incisor
# back. Front teeth of the arch overlap in the lateral view.
TEETH = ((133.0, 4.5, 1), (130.5, 4.5, 1), (127.0, 5.5, 1), (121.5, 6.0, 1), (115.0, 6.5, 1),
         (106.5, 9.5, 2), (97.5, 9.5, 2))  # fmt: skip


def teeth(rays: Rays, subject: Subject) -> None:
    """Upper left, upper right, lower left and lower right teeth, each from the incisor back."""
    # The crowns of the third molars are still in the jaw; a child has empty crypts.
    for side in (-1, 1):
        for where, part in (((88.5, 147), "head"), ((89, 163), "jaw")):
            where = place(subject, where, part, side)
            rays.ellipsoid("enamel", where, (4.5, 4), 3.5 * (subject.teeth == 7))
            rays.ellipsoid("cancellous", where, (6, 5.5), -4)
    for index in range(28):
        if index % 7 < subject.teeth and (index not in subject.missing or subject.brackets):
            tooth(rays, subject, index)


def tooth(rays: Rays, subject: Subject, index: int) -> None:
    """Enamel, dentine and pulp of one tooth, with its filling, crown or bracket."""
    number, upper, side = index % 7, index < 14, (-1, 1)[index // 7 % 2]
    x, width, roots = TEETH[number]
    part, up = ("head", -1) if upper else ("jaw", 1)
    at = partial(place, subject, part=part, side=side)
    front = max(0.0, x - 124) / 9
    crown = np.array([x + (subject.overjet if upper else -2.0) * front, 0.0])
    crown[1] = 157.5 + 0.30 * (x - 97) + (1.5 * front if upper else -0.5 * front) + 4 * up
    lean = np.array([-0.33 * front - 0.07, up])  # the root of a front tooth leans back
    where = at(crown)
    angle = subject.tilt
    rays.ellipsoid("dentine", where, (width / 2 + 0.5, 4), 8, angle)
    rays.ellipsoid("enamel", where, (width / 2 + 0.7, 4.2), 2.6, angle)
    for root in range(roots):
        start = crown + np.array([(root - (roots - 1) / 2) * 4.5, 0])
        line = at([start + 2 * lean, start + 13 * lean])
        rays.rod("dentine", line, 2.2, 1.3)
        rays.rod("dentine", line, 0.7, -1.3)
    if index in subject.metal and number > 2:
        axes = (width / 2, 4.2) if subject.crowned else (width / 3.2, 1.8)
        rays.ellipsoid("metal", where - (0, 0 if subject.crowned else 1.5 * up), axes, 3, angle)
    if subject.brackets:
        rays.ellipsoid("metal", where, (1.9, 1.7), 2.4)
        if number < 6:
            following = TEETH[number + 1][0]
            wire = [where, at((following, crown[1] - 0.3 * (x - following)))]
            rays.rod("metal", np.vstack(wire), 0.35)


def cervical_spine(rays: Rays, subject: Subject, rng: np.random.Generator) -> None:
    """Atlas with the odontoid of C2 between its masses, C2 to C7, and the hyoid before them."""
    at = partial(place, subject, part="neck")
    arch = [(62, 142), (63, 147), (60, 151), (57.5, 147)]
    rays.slab(at(curve(arch, closed=True)), 14, 3, cortex=1)  # front of the atlas
    rays.rod("cortical", at(curve([(52, 148), (44, 148), (36, 150)])), 2.6, 2.2)
    rays.ellipsoid("cancellous", at((34, 151)), (5, 4.5), 22)
    odontoid = [(53, 144), (57, 145), (58, 156), (60, 166), (47, 168), (49, 157)]
    rays.slab(at(curve(odontoid, closed=True)), 14, 4, cortex=1.2)
    for side in (-1, 1):  # the lateral masses of the atlas
        rays.ellipsoid("cancellous", at((52, 149), side=side), (8, 6.5), 14)
        rays.ellipsoid("cortical", at((52, 149), side=side), (8, 6.5), 2)
    for level in range(6):
        vertebra(rays, subject, rng, level)
    for side in (-1, 1):  # the horns of the hyoid, and then its body
        rays.rod("cortical", at(curve([(86, 196), (93, 193), (80, 189)]), side=side), 1.3)
    rays.ellipsoid("cancellous", at((91, 195)), (4, 5), 12, 30)


def vertebra(rays: Rays, subject: Subject, rng: np.random.Generator, level: int) -> None:
    """Body, pillars, lamina and spinous process of C2 (level 0) to C7."""
    at = partial(place, subject, part="neck")
    centre = np.array([53 - 0.6 * level - 0.35 * level**2, 165 + 12.6 * level])
    wide, high = 7.4 + 0.25 * level, 4.9
    box = [(-wide, -high), (0, -high + 0.8), (wide, -high + 1.2), (wide - 0.8, 0),
           (wide, high + 0.8), (0, high - 0.6), (-wide, high), (-wide + 0.8, 0)]  # fmt: skip
    body = centre + rotated(np.array(box), (0, 0), rng.normal(4, 3))
    rays.slab(at(curve(body + rng.normal(0, 0.35, body.shape), closed=True)), 25, 4, cortex=1.1)
    for side in (-1, 1):
        pillar = np.array([(-6, -6), (-15, -2), (-18, 7), (-8, 4)]) + centre
        pillar += rng.normal(0, 0.6, pillar.shape)
        rays.slab(at(curve(pillar, closed=True), side=side), 10, 3, cortex=1.2)
    length = (31, 22, 23, 25, 29, 34)[level]
    spinous = centre + np.array([(-14, 1), (-0.7 * length, 3), (-length, 6)])
    rays.rod("cortical", at(curve(spinous)), 2.4, 1.8)
    rays.rod("cancellous", at(curve(spinous)), 4.0, 1.4)
    rays.ellipsoid("cancellous", at(spinous[-1]), (4.5, 3.5), 10)
