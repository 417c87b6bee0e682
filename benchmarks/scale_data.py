"""The data of the scale benchmark: 50 organizations, one with half of all customers, made in SQL by arithmetic alone.

A chunk is some customers of one organization with all that belongs to them, in one transaction. So it is there or it is
not, and a load that was interrupted goes on with the chunks that are missing. Everything is inserted by the application's
role in a context of the organization: policies, triggers, foreign keys, log and search are at work.
"""

from dataclasses import dataclass
from uuid import UUID

from examples.renoz.vocabulary import FIRST_NAMES, LAST_NAMES

__all__ = [
    "ARRAYS",
    "BEGINNINGS",
    "CITIES",
    "CUSTOMERS",
    "ENDINGS",
    "LETTERS",
    "MIDDLES",
    "ORGANIZATIONS",
    "STATEMENTS",
    "STOCK",
    "TRADES",
    "Chunk",
    "chunks",
    "customer_id",
    "number",
    "sizes",
]

CUSTOMERS = 1_000_000
ORGANIZATIONS = 50
CHUNK = 1_000
"""Customers of one transaction."""
PRODUCTS = 200
"""Of each organization."""
LETTERS = "ABCDEFGHIJK"
"""First letters of the numbers of loaded customers; those that the benchmark creates begin with others."""
_MOMENT = 1_672_531_200_000
"""When the first customers came: 2023 begins, in milliseconds."""
_MINUTE = 60_000

BEGINNINGS = (
    "Bar",
    "Cor",
    "Del",
    "Fen",
    "Gal",
    "Har",
    "Jun",
    "Kel",
    "Lor",
    "Mar",
    "Nor",
    "Oak",
    "Pel",
    "Quin",
    "Ros",
    "Sal",
)
MIDDLES = ("a", "be", "di", "el", "i", "lo", "mi", "no", "o", "ri")
ENDINGS = ("burg", "dale", "field", "ford", "gate", "holm", "land", "mont", "nova", "stad", "vale", "wick")
TRADES = ("Solar", "Energy", "Electric", "Power", "Storage", "Homes", "Farms", "Heating", "Roofing", "Engineering")
CITIES = ("London", "Utrecht", "Köln", "Lyon", "Málaga", "Oslo", "Perth", "Porto", "Graz", "Gent", "Turku", "Brno")
SUBJECTS = ("Quote sent", "Site visit", "Question about the invoice", "Delivery date", "Renewal of the contract")
ARRAYS = (BEGINNINGS, MIDDLES, ENDINGS, TRADES, CITIES, FIRST_NAMES, LAST_NAMES, SUBJECTS)
"""The parameters of the statements from $5 on: a name is a word of three parts, a trade and a city."""


@dataclass(frozen=True)
class Chunk:
    """Customers of an organization, by their ordinals: `first` up to and not including `end`."""

    organization: int
    first: int
    end: int


def sizes(customers: int) -> list[int]:
    """Customers of each organization: half of them in the first; the others are from small to 50 times that."""
    half = customers // 2
    weights = range(1, ORGANIZATIONS)
    others = [max(1, half * weight // sum(weights)) for weight in reversed(weights)]
    return [customers - sum(others), *others]


def chunks(customers: int) -> list[Chunk]:
    """All of the load, in an order in which the large organization grows beside the others."""
    found = [
        (first / size, Chunk(organization, first, min(first + CHUNK, size)))
        for organization, size in enumerate(sizes(customers))
        for first in range(0, size, CHUNK)
    ]
    return [chunk for _, chunk in sorted(found, key=lambda pair: (pair[0], pair[1].organization))]


def number(ordinal: int) -> str:
    """A loaded customer's number; they sort like the ordinals."""
    return f"{LETTERS[ordinal // 100_000]}-{ordinal % 100_000:05d}"


def customer_id(organization: int, ordinal: int) -> UUID:
    """A loaded customer's id, as the statements make it."""
    return UUID(f"{_MOMENT + ordinal * _MINUTE:012x}70018{organization:03x}{ordinal:012x}")


# -- the statements. $1: the organization's id, $2: its ordinal in three hex digits, $3 and $4: the chunk, $5..: ARRAYS.


def _id(kind: int, ordinal: str, per_customer: int = 1) -> str:
    """A UUIDv7 made of an ordinal: customers come a minute apart, and what is theirs lies beside them."""
    moment = f"lpad(to_hex({_MOMENT} + ({ordinal}) * {_MINUTE // per_customer}), 12, '0')"
    return f"({moment} || '7{kind:03x}8' || $2::text || lpad(to_hex({ordinal}), 12, '0'))::uuid"


def _of(array: int, value: str) -> str:
    """An element of one of ARRAYS."""
    return f"(${array + 5}::text[])[1 + ({value}) % {len(ARRAYS[array])}]"


def _one_of(value: str, *choices: str) -> str:
    return f"(array[{', '.join(choices)}])[1 + ({value}) % {len(choices)}]"


_CREATED = "timestamptz '2023-01-01 00:00:00+00' + i * interval '1 minute'"
# A well mixed number for each customer; what depends on it looks random and is the same every time.
_CUSTOMERS = "select i, i * 2654435761 % 4294967291 as h from generate_series($3::bigint, $4::bigint - 1) as i"
_WORD = f"{_of(0, 'h')} || {_of(1, 'h / 16')} || {_of(2, 'h / 160')}"
_NAME = f"{_WORD} || ' ' || {_of(3, 'h / 1920')} || ' ' || {_of(4, 'h / 19200')}"
_STATUS = _one_of("h / 5", "'active'", "'prospect'", "'active'", "'inactive'", "'active'", "'active'", "'blocked'")
_DOMAIN = f"lower({_WORD}) || '-' || i || '.example'"

# Names every parameter once: PostgreSQL wants to know the types of those that a statement does not use.
_TYPED = f"with typed as (select {', '.join(f'${place}::text[]' for place in range(5, 5 + len(ARRAYS)))})"

CUSTOMER_ROWS = f"""{_TYPED}
insert into app.customers (organization_id, id, number, name, legal_name, email, phone, website, status, segment, size,
    account_manager, customer_since, credit_limit, health, tax_number, tags, created_at, updated_at)
select $1::uuid, {_id(1, "i")}, chr((65 + i / 100000)::integer) || '-' || lpad((i % 100000)::text, 5, '0'), name,
    case when h % 5 = 0 then name || ' (Holding)' end, 'office@' || {_DOMAIN},
    '+49 30 ' || (1000000 + h % 8999999), 'https://' || {_DOMAIN}, status,
    {_one_of("h / 3", "'installer'", "'retailer'", "'developer'", "'public'")},
    {_one_of("h / 11", "'micro'", "'small'", "'medium'", "'large'")},
    {_of(5, "h / 7 % 20")}, case when h % 9 > 0 then date '2026-06-14' - (h / 13 % 2000)::integer end,
    case status when 'blocked' then 0 else 500 * (1 + h / 17 % 100) end, h % 101, (h % 1000000000)::text,
    case h / 19 % 3 when 0 then array['export'] when 1 then array['fleet', 'seasonal'] else '{{}}' end, {_CREATED}, {_CREATED}
from (select *, {_NAME} as name, {_STATUS} as status from ({_CUSTOMERS}) as numbers) as customers"""

CONTACT_ROWS = f"""{_TYPED}
insert into app.contacts (organization_id, id, customer_id, first_name, last_name, email, role, is_primary, created_at, updated_at)
select $1::uuid, {_id(2, "i * 2 + j", 2)}, {_id(1, "i")}, {_of(5, "h / 3 + j * 5")}, {_of(6, "h / 29 + j")}, 'c' || j || '@' || {_DOMAIN},
    {_one_of("h / 23 + j", "'decision_maker'", "'technical'", "'billing'", "'other'")}, j = 0 and h % 20 > 0, {_CREATED}, {_CREATED}
from ({_CUSTOMERS}) as customers cross join lateral generate_series(0, (h / 31 % 3 / 2)::integer) as j"""

ORDERS = f"({_CUSTOMERS}) as customers cross join lateral generate_series(1, ({_one_of('h / 37', '0', '1', '1', '2')})::integer) as j"
_PLACED = "date '2026-06-14' - (h / 41 % 700 + j)::integer"
_SUBTOTAL = "(100 + h / 43 % 900000)::numeric / 100"
ORDER_ROWS = f"""{_TYPED}
insert into app.orders (organization_id, id, customer_id, contact_id, number, status, placed_on, due_on, paid_on, subtotal, tax, total,
    created_at, updated_at)
select $1::uuid, {_id(3, "i * 2 + j", 2)}, {_id(1, "i")}, {_id(2, "i * 2", 2)}, 'SO-' || lpad((i * 2 + j)::text, 8, '0'), status, placed,
    placed + 30, case when status = 'delivered' and h % 9 > 0 then placed + 20 end, subtotal, round(subtotal / 10, 2),
    subtotal + round(subtotal / 10, 2), {_CREATED}, {_CREATED}
from (select *, {_PLACED} as placed, {_SUBTOTAL} as subtotal, case when h / 41 % 700 > 40
    then {_one_of("h / 47 + j", *["'delivered'"] * 17, "'cancelled'", "'shipped'")}
    else {_one_of("h / 47 + j", "'draft'", "'confirmed'", "'picked'", "'shipped'")} end as status from {ORDERS}) as orders"""

LINE_ROWS = f"""{_TYPED}
insert into app.order_lines (organization_id, id, order_id, product_id, position, quantity, unit_price, amount, created_at, updated_at)
select $1::uuid, {_id(4, "i * 2 + j", 2)}, {_id(3, "i * 2 + j", 2)}, {_id(6, f"h / 53 % {PRODUCTS}")},
    1, 1, {_SUBTOTAL}, {_SUBTOTAL}, {_CREATED}, {_CREATED}
from {ORDERS}"""

ACTIVITY_ROWS = f"""{_TYPED}
insert into app.activities (organization_id, id, customer_id, contact_id, kind, subject, at, done, source_key, created_at, updated_at)
select $1::uuid, {_id(5, "i * 2 + j", 2)}, {_id(1, "i")}, {_id(2, "i * 2", 2)}, kind, {_of(7, "h / 61 + j")},
    timestamptz '2026-06-14 08:00:00+00' - (h / 67 % 500000) * interval '1 minute', kind <> 'task' or h % 10 > 0, 'crm-' || (i * 2 + j),
    {_CREATED}, {_CREATED}
from (select *, {_one_of("h / 71 + j", "'call'", "'email'", "'meeting'", "'note'", "'task'")} as kind from ({_CUSTOMERS}) as customers
    cross join lateral generate_series(0, ({_one_of("h / 73", "-1", "0", "0", "1")})::integer) as j) as activities"""

STATEMENTS = (CUSTOMER_ROWS, CONTACT_ROWS, ORDER_ROWS, LINE_ROWS, ACTIVITY_ROWS)
"""What a chunk consists of, in order."""

_PRODUCTS = f"generate_series(0, {PRODUCTS} - 1) as i"
STOCK = (
    f"""
insert into app.products (organization_id, id, sku, name, category, price, reorder_level)
select $1::uuid, {_id(6, "i")}, 'SKU-' || i, {_one_of("i", "'Battery'", "'Inverter'", "'Panel'", "'Cable'")} || ' ' || i,
    {_one_of("i", "'battery'", "'inverter'", "'panel'", "'cable'")}, 10 + i, 5 + i % 20
from {_PRODUCTS}""",
    f"""
insert into app.inventory_items (organization_id, id, product_id, warehouse, on_hand, reserved)
select $1::uuid, {_id(7, "i")}, {_id(6, "i")}, 'Main', i * 7 % 90, i * 7 % 90 / 3 from {_PRODUCTS}""",
)
"""What each organization has besides; of the parameters only $1 and $2."""
