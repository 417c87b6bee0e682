"""The words that the sample data is made of, and what is particular to each of the two organizations."""

from dataclasses import dataclass
from decimal import Decimal

__all__ = ["FIRST_NAMES", "LAST_NAMES", "ORGANIZATIONS", "SUBJECTS", "TITLES", "Profile"]


@dataclass(frozen=True, eq=False)
class Profile:
    """One organization of the demo.

    Args:
        slug, name: of the organization.
        user_email, user_name: of its user.
        customers: how many it has at scale 1.
        places: the first words of its customers' names.
        trades: their middle words.
        suffixes: their legal forms.
        products: by category: names, the lowest and the highest price.
        models: what is appended to a product's name.
        warehouses: where its goods lie.
        cities: with the start of their postcodes and their countries.
        managers: who looks after customers.
        currency: of its orders.
        tax_percent: on all of them.
    """

    slug: str
    name: str
    user_email: str
    user_name: str
    customers: int
    places: tuple[str, ...]
    trades: tuple[str, ...]
    suffixes: tuple[str, ...]
    products: dict[str, tuple[tuple[str, ...], int, int]]
    models: tuple[str, ...]
    warehouses: tuple[str, ...]
    cities: tuple[tuple[str, str, str], ...]
    managers: tuple[str, ...]
    currency: str
    tax_percent: Decimal


AURORA = Profile(
    slug="aurora",
    name="Aurora Batteries",
    user_email="ada@aurora.example",
    user_name="Ada Lindqvist",
    customers=220,
    places=(
        "Bright", "Southern", "Coastal", "Blue Gum", "Kookaburra", "Harvest", "Sunline", "Redback", "Summit", "Tidal",
        "Wattle", "Ironbark", "Cooper", "Desert Sky", "Great Ocean", "Banksia", "Swan River", "Gold Leaf", "Murray",
    ),
    trades=("Solar", "Energy", "Electrical", "Renewables", "Power", "Storage", "Homes", "Farms", "Installations"),
    suffixes=("Pty Ltd", "Group", "& Sons", "Co-operative", "Services"),
    products={
        "battery": (("LiFePO4 battery", "Wall battery", "Rack battery", "Modular battery"), 900, 9_500),
        "inverter": (("Hybrid inverter", "String inverter", "Off-grid inverter"), 600, 4_200),
        "panel": (("Mono panel", "Bifacial panel"), 120, 420),
        "mounting": (("Roof mount kit", "Ground mount kit"), 40, 380),
        "monitoring": (("Smart meter", "Gateway"), 60, 540),
    },
    models=("3", "5", "8", "10", "13"),
    warehouses=("brisbane", "perth"),
    cities=(
        ("Brisbane", "40", "AU"), ("Perth", "60", "AU"), ("Adelaide", "50", "AU"), ("Hobart", "70", "AU"),
        ("Newcastle", "23", "AU"), ("Auckland", "10", "NZ"), ("Geelong", "32", "AU"),
    ),
    managers=("Mia Harper", "Noah Okafor", "Zoë Marchetti", "Liam Nguyen"),
    currency="AUD",
    tax_percent=Decimal(10),
)  # fmt: skip

HARBOUR = Profile(
    slug="harbour",
    name="Harbour Supply",
    user_email="ben@harbour.example",
    user_name="Ben Årdal",
    customers=215,
    places=(
        "North Sea", "Elbe", "Frisian", "Skagen", "Lighthouse", "Anchor", "Seagull", "Baltic", "Østersund", "Zeeland",
        "Hansa", "Fjord", "Île-de-Ré", "Compass", "Spinnaker", "Granite", "Old Quay",
    ),
    trades=("Marine", "Boatyard", "Chandlery", "Fisheries", "Shipping", "Yachts", "Offshore", "Ferries", "Diving"),
    suffixes=("GmbH", "B.V.", "A/S", "SARL", "KG"),
    products={
        "rope": (("Mooring line", "Halyard", "Anchor rode"), 25, 320),
        "deck": (("Winch", "Capstan", "Cleat set", "Hatch"), 80, 2_900),
        "safety": (("Life raft", "Life jacket", "Flare kit"), 45, 2_400),
        "navigation": (("Chart plotter", "Radar dome", "AIS transponder"), 300, 5_600),
        "paint": (("Antifouling", "Primer"), 30, 190),
    },
    models=("S", "M", "L", "XL"),
    warehouses=("hamburg", "rotterdam"),
    cities=(
        ("Hamburg", "20", "DE"), ("Kiel", "24", "DE"), ("Rotterdam", "30", "NL"), ("Aarhus", "80", "DK"),
        ("Göteborg", "41", "SE"), ("Saint-Malo", "35", "FR"), ("Bergen", "50", "NO"),
    ),
    managers=("Jörg Petersen", "Ingrid Dahl", "Chloé Besson"),
    currency="EUR",
    tax_percent=Decimal(19),
)  # fmt: skip

ORGANIZATIONS = (AURORA, HARBOUR)

FIRST_NAMES = (
    "Amara", "Ben", "Camille", "Dmitri", "Elif", "Émile", "Fatima", "George", "Hana", "Ines", "Jonas", "Kiri", "Lars",
    "Mei", "Nadia", "Oscar", "Priya", "Quentin", "Rosa", "Søren", "Tomás", "Uma", "Viktor", "Willa", "Yusuf", "Zoë",
)  # fmt: skip
LAST_NAMES = (
    "Abbott", "Bianchi", "Castro", "Dubois", "Eriksen", "Fischer", "García", "Haddad", "Ivanov", "Jansen", "Kowalski",
    "Larsen", "Müller", "Nakamura", "O'Brien", "Patel", "Rossi", "Schmidt", "Tanaka", "Usman", "Vogel", "Weber", "Young",
)  # fmt: skip
TITLES = {
    "decision_maker": ("Managing Director", "Owner", "Head of Purchasing"),
    "influencer": ("Project Manager", "Consultant"),
    "technical": ("Chief Engineer", "Technician"),
    "billing": ("Accountant", "Bookkeeper"),
    "other": ("Office Manager", "Assistant"),
}
SUBJECTS = {
    "call": ("Quarterly check-in", "Asked about delivery times", "Reminder of an open invoice", "Warranty question"),
    "email": ("Sent the new price list", "Quote for the next project", "Confirmed the delivery date"),
    "meeting": ("Site visit", "Annual review", "Product demonstration"),
    "note": ("Prefers deliveries before noon", "Expanding to a second site", "Compared us with a competitor"),
    "task": ("Prepare a quote", "Call back", "Send certificates", "Check the credit limit"),
}
