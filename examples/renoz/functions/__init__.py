"""What the CRM can do beyond reading and writing records: queries and commands, declared with the application.

Importing this package declares them. `figures` and `feed` read, `customers` and `orders` write; `stock` is what orders do to
inventory, under locks.
"""

from examples.renoz.functions import customers, feed, figures, finding, inventory, orders

__all__ = ["customers", "feed", "figures", "finding", "inventory", "orders"]
